//! Another policy for a gateway that runs: what changes, what goes on, and what an exchange that has begun keeps.

use syncseal::gateway::ReloadError;
use syncseal::policy::Applied;
use syncseal::seal::Reason;

use crate::http::{post, post_seal};
use crate::syncml::{FIRST, SECOND, XML, accepted};
use crate::terminal::{Terminal, handshake_bytes, parameters};
use crate::world::World;

#[tokio::test]
async fn sealed_sessions_go_on() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    let applied = world.reload("[limits]\nmessage = '1 MiB'", "timeout = '5 s'").unwrap();
    assert_eq!(applied, Applied { generation: 2, kept: Vec::new() });
    terminal.send(&SECOND).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn the_new_policy_judges_what_comes_after_it() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    world.reload("[crypto]\nalgorithms = ['ChaCha20/Poly1305']", "targets = ['/elsewhere']").unwrap();
    let answer = post_seal(world.addr, &handshake_bytes(&parameters(&world.key))).await;
    answer.assert_problem(Reason::AlgorithmUnsupported);
    terminal.send(&FIRST).await.assert_refused(Reason::Malformed);
    world.server.assert_untouched();
    world.reload("", "").unwrap();
    Terminal::new(&world).await.send(&FIRST).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn an_exchange_ends_under_the_policy_that_it_began_with() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let release = world.server.will_hold();
    let (addr, sealed) = (world.addr, terminal.seal_message(&FIRST));
    let exchange = tokio::spawn(async move { post_seal(addr, &sealed).await });
    world.server.has_seen(1).await;
    let mut policy = world.policy("", "");
    policy.message_limit = accepted().len() - 1;
    world.gateway.reload(&policy, false).unwrap();
    drop(release);
    terminal.open(&exchange.await.unwrap()).assert_says(200, &accepted());
    terminal.send(&SECOND).await.assert_refused(Reason::TooLarge);
}

#[tokio::test]
async fn what_only_a_start_can_change_is_named() {
    let world = World::new().await;
    let tables = "[limits]\nin_flight = 7\nbody_timeout = '9 s'\n[sessions]\ntotal = 9\n[early]\nwindow = '9 s'";
    let applied = world.reload(tables, "").unwrap();
    assert_eq!(applied.kept, ["sessions.total", "early.window", "limits.in_flight"]);
    let applied = world.reload("", "").unwrap();
    assert_eq!(applied, Applied { generation: 3, kept: Vec::new() });
}

#[tokio::test]
async fn devices_that_were_not_seen_for_long_do_not_hold_a_reload_up() {
    let permit = "[[rule]]\nname = 'everybody'\nplaintext = 'permit'";
    let world = World::with("[rollout]\nguard_days = 2", permit).await;
    post(world.addr, XML, &FIRST.xml()).await;
    world.clock.advance(2 * 24 * 3600);
    let error = world.reload("", "").unwrap_err();
    assert!(
        matches!(&error, ReloadError::LocksOut(locked) if (locked.seen, locked.devices.len()) == (1, 1)),
        "{error}"
    );
    world.clock.advance(1);
    assert_eq!(world.reload("", "").unwrap().generation, 2);
}

#[tokio::test]
async fn a_forced_reload_passes_the_guard() {
    let world = World::with("", "[[rule]]\nname = 'everybody'\nplaintext = 'permit'").await;
    post(world.addr, XML, &FIRST.xml()).await;
    world.reload("", "").unwrap_err();
    world.gateway.reload(&world.policy("", ""), true).unwrap();
    assert_eq!(post(world.addr, XML, &FIRST.xml()).await.reason(), Reason::EncryptionRequired);
}
