//! Replicas of a gateway that share a store: the built program, several times, on a Redis that the test starts, while
//! replicas are killed and the store fails in every way that docs/fleet.md speaks of.
//!
//! `tests/run` installs redis-server; without it these tests fail.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod failover;
mod gateways;
mod legacy;
mod outages;
mod replicas;
mod terminal;
mod wire;
