//! What an operator sees of the built program: policies that it starts under, signals, files and sockets around it, and
//! what its clients, its server and its watchers get.
//!
//! A file an area; each test is a scenario, named for behaviour. Terminals, clients and the legacy server are those of
//! `tests/gateway`, which asks the same of the library with a clock of its own.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(dead_code, reason = "of what is shared with tests/gateway, this uses a part")]

mod admin;
#[path = "../common/mod.rs"]
mod common;
mod drain;
mod explain;
mod guard;
#[path = "../gateway/http.rs"]
mod http;
mod limits;
mod listeners;
mod notify;
mod packages;
mod pki;
mod reload;
mod report;
mod rollout;
mod scrape;
#[path = "../gateway/server.rs"]
mod server;
mod site;
#[path = "../gateway/syncml.rs"]
mod syncml;
#[path = "../gateway/terminal.rs"]
mod terminal;
mod upstream;
#[path = "../gateway/world.rs"]
mod world;
