//! How a sealed session begins (PROTOCOL sections 3.1 and 8.1, step 3): the init request and its response, each side a
//! chain of values of which each is consumed by the next step.
//!
//! A terminal goes from [`InitRequest`] over [`PendingInit`] to [`Established`]; a gateway from the received
//! [`Encrypt0`](super::Encrypt0) over [`CheckedInit`], [`UnwrappedInit`] and [`OpenedInit`] to [`InitResponse`]. Time, the
//! memory of early messages and what an early message may hold are left to [`crate::session`] and its users.

pub use gateway::{Accepts, CheckedInit, InitResponse, OpenedInit, Recipients, UnwrappedInit};
pub use terminal::{Established, InitParameters, InitRequest, InitResponseError, PendingInit, StartInitError};

mod gateway;
mod terminal;
