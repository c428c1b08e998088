//! PROTOCOL section 3.5.

use super::*;

async fn store<S: Subject>() -> S {
    S::fresh(Limits::default(), UnixTime(0)).await
}

pub(super) async fn once<S: Subject>() {
    let store: S = store().await;
    assert_eq!(store.remember_early(digest(1), T0, T0).await, Ok(()));
    assert_eq!(store.remember_early(digest(1), T0, T0).await, Err(Refused::EarlySeen));
    assert_eq!(store.probe_early(digest(1), T0, T0).await, Err(Refused::EarlySeen));
    assert_eq!(store.remember_early(digest(2), T0, T0).await, Ok(()));
    assert_eq!(store.counts().await.unwrap().early_messages, 2);
}

pub(super) async fn the_window_is_inclusive<S: Subject>() {
    let store: S = store().await;
    let cases = [
        (at(700), Ok(())),
        (at(699), Err(Refused::EarlyOutOfWindow)),
        (at(1_300), Ok(())),
        (at(1_301), Err(Refused::EarlyOutOfWindow)),
        (UnixTime(u64::MAX), Err(Refused::EarlyOutOfWindow)),
        (UnixTime(0), Err(Refused::EarlyOutOfWindow)),
    ];
    for (n, (issued, expected)) in (1..).zip(cases) {
        assert_eq!(store.probe_early(digest(n), issued, at(1_000)).await, expected);
        assert_eq!(store.remember_early(digest(n), issued, at(1_000)).await, expected);
    }
}

pub(super) async fn after_the_memory_began<S: Subject>() {
    let store = S::fresh(Limits::default(), at(100)).await;
    assert_eq!(store.remember_early(digest(1), at(99), at(101)).await, Err(Refused::EarlyBeforeMemory));
    assert_eq!(store.remember_early(digest(2), at(100), at(101)).await, Err(Refused::EarlyBeforeMemory));
    assert_eq!(store.remember_early(digest(3), at(101), at(101)).await, Ok(()));
}

pub(super) async fn remembered_for_twice_the_window<S: Subject>() {
    let store: S = store().await;
    // Issued as far ahead as allowed: it stays within the window for twice its length.
    assert_eq!(store.remember_early(digest(1), at(300), T0).await, Ok(()));
    assert_eq!(store.remember_early(digest(1), at(300), at(600)).await, Err(Refused::EarlySeen));
    assert_eq!(store.remember_early(digest(1), at(300), at(601)).await, Err(Refused::EarlyOutOfWindow));
    assert_eq!(store.counts().await.unwrap().early_messages, 0, "and not longer");
}

pub(super) async fn a_full_memory_refuses<S: Subject>() {
    let store = S::fresh(Limits { early_messages: 2, ..Limits::default() }, UnixTime(0)).await;
    for n in [1, 2] {
        assert_eq!(store.remember_early(digest(n), T0, T0).await, Ok(()));
    }
    assert_eq!(store.probe_early(digest(3), T0, T0).await, Err(Refused::EarlyMemoryFull));
    assert_eq!(store.remember_early(digest(3), T0, T0).await, Err(Refused::EarlyMemoryFull));
    assert_eq!(store.remember_early(digest(1), T0, T0).await, Err(Refused::EarlySeen), "nothing was forgotten");
    assert_eq!(store.remember_early(digest(3), at(600), at(600)).await, Err(Refused::EarlyMemoryFull));
    assert_eq!(store.remember_early(digest(3), at(601), at(601)).await, Ok(()));
}

pub(super) async fn a_clock_set_back_lets_nothing_in_again<S: Subject>() {
    let store: S = store().await;
    assert_eq!(store.remember_early(digest(1), T0, T0).await, Ok(()));
    // The clock jumps ahead, the message is forgotten, the clock is set right.
    assert_eq!(store.remember_early(digest(2), at(9_000), at(9_000)).await, Ok(()));
    assert_eq!(store.remember_early(digest(1), T0, at(1)).await, Err(Refused::EarlyOutOfWindow));
    // Set back a little, it forgets nothing before its time.
    assert_eq!(store.remember_early(digest(3), at(8_990), at(8_990)).await, Ok(()));
    assert_eq!(store.remember_early(digest(3), at(8_990), at(9_290)).await, Err(Refused::EarlySeen));
}

pub(super) async fn a_probe_remembers_nothing<S: Subject>() {
    let store: S = store().await;
    for _ in 0..2 {
        assert_eq!(store.probe_early(digest(1), T0, T0).await, Ok(()));
    }
    assert_eq!(store.remember_early(digest(1), T0, T0).await, Ok(()));
}
