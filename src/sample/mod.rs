//! A small real SyncML DS server over a directory of vCard files, and a client for it.
//!
//! Both synchronize with anything that speaks OMA DS 1.1 or 1.2, in XML and in WBXML: slow and two-way sync, items
//! added, replaced and deleted, Map, anchors, basic credentials, packages of several messages, large objects. `demo`
//! puts agent and gateway between them, and tests use the server as the legacy server.
//!
//! This is the one place that builds and writes whole SyncML documents: the proxy never does. Nothing in here knows of
//! seals; documents are read with [`crate::syncml`], and no other module of ours is used.
//!
//! Where things are: `document` elements and both encodings, `message` what the elements of a message mean, `outbox`
//! how commands fit into messages of limited size, `conversation` one side's numbers and answers, `store` the files
//! and what a peer knows of them, `server` and `client` the two roles, each with its HTTP beside.

mod client;
mod conversation;
mod document;
mod message;
mod outbox;
mod server;
mod store;
mod vcard;

pub use client::{Client, ClientConfig, Counts, Exchange, Mode, Report, SyncError};
pub use message::{Incomplete, Version};
pub use server::{Answer, Config, Server};
