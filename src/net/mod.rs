//! HTTP for the gateway, the agent and the sample server, and nothing above HTTP.
//!
//! - [`listener`] is where connections come from: TCP and UNIX sockets, some of them from a service manager
//!   ([`activation`]).
//! - [`server`] serves them: every request of every connection reaches one [`tower::Service`], with
//!   the peer's address as an extension, under limits of size and time.
//! - [`body`] reads a request's body into one buffer of its reader's own, up to a limit.
//! - [`upstream`] sends a request to one server over pooled connections and reads the whole answer, or says in one
//!   of few words why there is none.
//! - [`probe`] finds out whether a server takes connections.
//! - [`fields`] is header hygiene: fields of one hop, media types, answers made here.
//! - [`source`] counts what each address takes up.
//! - [`tls`] holds whom we trust, and who we are, for TLS on either side.
//! - [`drain`] ends all of it in order.
//!
//! It does not know SyncML, seals, routes or policy, chooses no status for a failure of its own but those of HTTP
//! itself (408 is never sent: a connection whose header does not come is closed), follows no redirect, and uses no
//! other module of this crate.

pub mod activation;
pub mod body;
mod connector;
pub mod drain;
pub mod fields;
pub mod listener;
pub mod probe;
mod proxy_protocol;
pub mod server;
pub mod source;
pub mod tls;
pub mod upstream;
mod vigil;
