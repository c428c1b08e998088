//! How a sealed session begins (PROTOCOL sections 3.1 and 8.1, step 3): the init request and its response, each side a
//! chain of values of which each is consumed by the next step.
//!
//! Whom a session key is wrapped for, a terminal says by a [`Recipient`]; a gateway has [`Recipients`].
//!
//! A terminal goes from [`InitRequest`] over [`PendingInit`] to [`Established`]; a gateway from the received
//! [`Encrypt0`](super::Encrypt0) over [`CheckedInit`], [`UnwrappedInit`] and [`OpenedInit`] to [`InitResponse`]. Time, the
//! memory of early messages and what an early message may hold are left to [`crate::session`] and its users.

pub use gateway::{Accepts, CheckedInit, InitResponse, OpenedInit, UnwrappedInit};
pub use recipients::{CurrentRecipients, Kid, Recipients, SecretFingerprint};
pub use terminal::{
    Established, InitParameters, InitRequest, InitResponseError, PendingInit, Recipient, StartInitError,
};

mod gateway;
mod recipients;
mod terminal;
