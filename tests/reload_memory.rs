//! That reloads leave nothing behind: memory, descriptors and threads after ten thousand of them. Alone in its process,
//! because what it measures is the process's.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(dead_code, reason = "of what is shared with tests/gateway, this uses a part")]

#[path = "gateway/http.rs"]
mod http;
#[path = "gateway/server.rs"]
mod server;
#[path = "gateway/syncml.rs"]
mod syncml;
#[path = "gateway/terminal.rs"]
mod terminal;
#[path = "gateway/world.rs"]
mod world;

use std::fs;

use syncml::{Client, FIRST, accepted};
use terminal::Terminal;
use world::World;

const RELOADS: u32 = 10_000;

/// What may come in addition, in KiB: a hundred bytes a reload, of which what a policy makes needs many times more.
const MOST_GROWTH: usize = 1 << 10;

/// What the process has.
#[derive(Debug)]
struct Held {
    /// In KiB.
    resident: usize,
    descriptors: usize,
    threads: usize,
}

impl Held {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")).unwrap();
        Self {
            resident: resident.parse().unwrap(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
        }
    }
}

/// Reloads a gateway so many times, each time by a policy that was read anew and changes the connections to the server,
/// with an exchange now and then.
async fn reload(world: &World, terminal: &mut Terminal, msg_id: &mut u32, times: u32) {
    for n in 0..times {
        let timeout = 5 + n % 2;
        world.reload("", &format!("connect_timeout = '{timeout} s'")).unwrap();
        if n % 100 == 0 {
            *msg_id += 1;
            terminal.send(&Client { msg_id: *msg_id, ..FIRST }).await.assert_says(200, &accepted());
        }
    }
}

#[tokio::test]
async fn ten_thousand_reloads_leave_memory_flat() {
    let world = World::new().await;
    let (mut terminal, mut msg_id) = (Terminal::new(&world).await, 0);
    // Until the allocator has what it wants.
    reload(&world, &mut terminal, &mut msg_id, RELOADS / 10).await;
    let before = Held::now();
    reload(&world, &mut terminal, &mut msg_id, RELOADS).await;
    let after = Held::now();
    assert!(after.resident <= before.resident + MOST_GROWTH, "{before:?} {after:?}");
    assert!(after.descriptors <= before.descriptors, "{before:?} {after:?}");
    assert!(after.threads <= before.threads, "{before:?} {after:?}");
    assert_eq!(world.reload("", "").unwrap().generation, u64::from(RELOADS + RELOADS / 10 + 2));
}
