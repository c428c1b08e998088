//! What the whole-program tests share: programs that end with the test, ports, taps and balancers that record the wire,
//! and peers.
//!
//! Nothing here knows the protocol; each test file uses its part.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file is a crate of its own and uses its part")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

pub mod peer;
pub mod program;
pub mod redis;
pub mod relay;
pub mod tap;

pub use program::Program;
pub use tap::Tap;

/// A loopback port that was free a moment ago, for programs that cannot be told to choose one and say which.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port()
}
