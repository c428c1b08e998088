//! The gateway over real sockets: terminals made from the public API of `seal`, clients that write bytes, and a legacy
//! server that records what it gets.
//!
//! Every exchange is that of a gateway with a policy from text, on loopback, whose clock stands still until it is moved.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod bindings;
mod bounds;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod early;
mod ends;
mod forwarding;
mod http;
mod keys;
mod logs;
mod numbers;
mod plaintext;
mod program;
mod refusals;
mod reload;
mod secrecy;
mod secrets;
mod server;
mod syncml;
mod targets;
mod terminal;
mod trouble;
mod world;
