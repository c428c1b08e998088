//! A gateway over a store that replicas share: the built program, on a Redis that the test starts, while that fails in
//! every way that docs/fleet.md speaks of.
//!
//! `tests/run` installs redis-server; without it these tests fail.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod checker;
#[path = "../common/mod.rs"]
mod common;
mod failover;
mod gateways;
mod kills;
mod legacy;
mod outages;
mod pki;
mod secrets;
mod sentinels;
mod terminal;
mod tls;
mod trips;
