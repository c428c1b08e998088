//! PROTOCOL sections 3.6 and 8.1: when sealed sessions end, and how many there may be.

use super::*;

async fn store<S: Subject>() -> S {
    S::fresh(Limits::default(), UnixTime(0)).await
}

pub(super) async fn idle<S: Subject>() {
    let store: S = store().await;
    let sid = established(&store, 1, T0).await;
    assert!(known(&store, sid, at(600)).await);
    assert!(!known(&store, sid, at(601)).await);
    assert_eq!(send(&store, sid, 2, 2, at(601)).await, Err(Refused::SessionUnknown));
    assert_eq!(send(&store, sid, 1, 1, at(601)).await, Err(Refused::SessionUnknown), "nor a retransmission");
}

pub(super) async fn idle_counts_from_the_answer<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let accepted = accept(&store, sid, 1, 1, T0).await;
    store.complete(accepted, false, at(100), |_, _| response("one")).await;
    assert!(known(&store, sid, at(700)).await);
    assert!(!known(&store, sid, at(701)).await);
}

pub(super) async fn idle_after_end<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    send_ending(&store, sid, 1, 1, true, T0).await.unwrap();
    assert!(matches!(send(&store, sid, 1, 1, at(60)).await, Ok(Said::Again(_))));
    assert!(known(&store, sid, at(60)).await);
    assert!(!known(&store, sid, at(61)).await);
}

pub(super) async fn a_next_number_is_taken_after_end<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    send_ending(&store, sid, 1, 1, true, T0).await.unwrap();
    assert!(matches!(send(&store, sid, 2, 2, at(60)).await, Ok(Said::New(_))));
    assert!(known(&store, sid, at(120)).await);
    assert!(!known(&store, sid, at(121)).await, "the idle time stays short");
}

pub(super) async fn no_second_request<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    assert!(known(&store, sid, at(60)).await);
    assert!(!known(&store, sid, at(61)).await);
    let sid = begin(&store, 2, T0).await;
    send(&store, sid, 1, 1, at(60)).await.unwrap();
    assert!(known(&store, sid, at(660)).await);
}

pub(super) async fn an_early_session_that_ended<S: Subject>() {
    let limits = Limits { second_request: std::time::Duration::from_secs(90), ..Limits::default() };
    let store = S::fresh(limits, UnixTime(0)).await;
    let reserved = store.reserve(facts(1), T0).await.unwrap();
    store.begin(reserved, S::keys(sid(1)), true, T0).await.unwrap();
    assert!(known(&store, sid(1), at(60)).await);
    assert!(!known(&store, sid(1), at(61)).await);
}

pub(super) async fn age<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let day = 24 * 60 * 60;
    for n in 1..=(day / 600) {
        send(&store, sid, n, 1, at(n * 600 - 540)).await.unwrap();
    }
    assert!(known(&store, sid, at(day)).await);
    assert!(!known(&store, sid, at(day + 1)).await, "however busy it is");
}

pub(super) async fn a_request_in_progress_is_not_idle<S: Subject>() {
    let store: S = store().await;
    let sid = established(&store, 1, T0).await;
    let accepted = accept(&store, sid, 2, 2, T0).await;
    assert!(known(&store, sid, at(5_000)).await);
    store.complete(accepted, false, at(5_000), |_, _| response("late")).await;
    assert!(known(&store, sid, at(5_600)).await);
    assert!(!known(&store, sid, at(5_601)).await);

    let sid = established(&store, 2, T0).await;
    drop(accept(&store, sid, 2, 2, T0).await);
    assert!(!known(&store, sid, at(601)).await, "one that is given up is not in progress");
}

pub(super) async fn retransmissions_prolong_nothing<S: Subject>() {
    let store: S = store().await;
    let sid = established(&store, 1, T0).await;
    assert!(matches!(send(&store, sid, 1, 1, at(500)).await, Ok(Said::Again(_))));
    assert!(!known(&store, sid, at(601)).await);
}

pub(super) async fn time_that_goes_back<S: Subject>() {
    let store: S = store().await;
    let sid = established(&store, 1, at(1_000)).await;
    assert!(matches!(send(&store, sid, 2, 2, T0).await, Ok(Said::New(_))));
    assert!(known(&store, sid, at(1_600)).await, "counted from the latest");
    assert!(!known(&store, sid, at(1_601)).await);
}

pub(super) async fn a_reserved_session_is_not_found<S: Subject>() {
    let store: S = store().await;
    let reserved = store.reserve(facts(1), T0).await.unwrap();
    assert!(!known(&store, sid(1), T0).await);
    assert_eq!(store.counts().await.unwrap().sessions, 1);
    // The server of an early message may be slow; the second request is awaited from the answer on.
    store.begin(reserved, S::keys(sid(1)), false, at(100)).await.unwrap();
    assert!(known(&store, sid(1), at(160)).await);
    assert!(!known(&store, sid(1), at(161)).await);
}

pub(super) async fn a_dropped_reservation_leaves_nothing<S: Subject>() {
    let store = S::fresh(Limits { sessions: 1, sessions_per_source: 1, ..Limits::default() }, UnixTime(0)).await;
    drop(store.reserve(facts(1), T0).await.unwrap());
    assert_eq!(store.counts().await.unwrap().sessions, 0);
    assert!(!known(&store, sid(1), T0).await);
    begin(&store, 2, T0).await;
    assert_eq!(store.counts().await.unwrap().sessions, 1);
}

pub(super) async fn new_ones_push_out_pending_ones_only<S: Subject>() {
    let store = S::fresh(Limits { sessions: 3, ..Limits::default() }, UnixTime(0)).await;
    begin(&store, 1, T0).await;
    established(&store, 2, T0).await;
    begin(&store, 3, at(1)).await;
    begin(&store, 4, at(2)).await;
    assert!(!known(&store, sid(1), at(2)).await, "the oldest without a second request");
    assert!(known(&store, sid(2), at(2)).await && known(&store, sid(3), at(2)).await);
    for n in [3, 4] {
        send(&store, sid(n), 1, 1, at(2)).await.unwrap();
    }
    assert_eq!(store.counts().await.unwrap().pending, 0);
    assert_eq!(store.reserve(facts(5), at(2)).await.map(|_| ()), Err(Refused::SessionsFull));
    for n in [2, 3, 4] {
        assert!(known(&store, sid(n), at(2)).await);
    }
}

pub(super) async fn reserved_ones_are_not_pushed_out<S: Subject>() {
    let store = S::fresh(Limits { sessions: 1, ..Limits::default() }, UnixTime(0)).await;
    let reserved = store.reserve(facts(1), T0).await.unwrap();
    assert_eq!(store.reserve(facts(2), T0).await.map(|_| ()), Err(Refused::SessionsFull));
    store.begin(reserved, S::keys(sid(1)), false, T0).await.unwrap();
    assert!(known(&store, sid(1), T0).await);
}

pub(super) async fn cap_for_a_source<S: Subject>() {
    let store = S::fresh(Limits { sessions_per_source: 2, ..Limits::default() }, UnixTime(0)).await;
    let elsewhere = |n| SessionFacts { source: IpAddr::from([192, 0, 2, 2]), ..facts(n) };
    begin(&store, 1, T0).await;
    begin(&store, 2, T0).await;
    assert_eq!(store.reserve(facts(3), T0).await.map(|_| ()), Err(Refused::SourceFull));
    begin_with(&store, elsewhere(4), T0).await;
    assert!(known(&store, sid(1), T0).await && known(&store, sid(2), T0).await);
    begin(&store, 5, at(61)).await;
}

pub(super) async fn sources_are_counted_by_prefix<S: Subject>() {
    let store = S::fresh(Limits { sessions_per_source: 1, ..Limits::default() }, UnixTime(0)).await;
    let from = |n, source: &str| SessionFacts { source: source.parse().unwrap(), ..facts(n) };
    begin_with(&store, from(1, "2001:db8:0:1::1"), T0).await;
    let same = store.reserve(from(2, "2001:db8:0:1:ffff::"), T0).await.map(|_| ());
    assert_eq!(same, Err(Refused::SourceFull), "one /64");
    begin_with(&store, from(3, "2001:db8:0:2::1"), T0).await;
    begin_with(&store, from(4, "192.0.2.9"), T0).await;
    let mapped = store.reserve(from(5, "::ffff:192.0.2.9"), T0).await.map(|_| ());
    assert_eq!(mapped, Err(Refused::SourceFull), "IPv4 in IPv6 is IPv4");
    begin_with(&store, from(6, "::ffff:192.0.2.10"), T0).await;
}

pub(super) async fn cap_for_a_secret<S: Subject>() {
    let store = S::fresh(Limits { sessions_per_secret: 1, ..Limits::default() }, UnixTime(0)).await;
    let named = |n, name: &str| SessionFacts { kid: Kid::Secret(name.parse().unwrap()), ..facts(n) };
    begin_with(&store, named(1, "phone"), T0).await;
    assert_eq!(store.reserve(named(2, "phone"), T0).await.map(|_| ()), Err(Refused::KidFull));
    begin_with(&store, named(3, "tablet"), T0).await;
    begin(&store, 4, T0).await;
    begin(&store, 5, T0).await;
}

pub(super) async fn cap_for_an_rsa_key<S: Subject>() {
    let store = S::fresh(Limits { sessions_per_rsa_key: 1, ..Limits::default() }, UnixTime(0)).await;
    begin(&store, 1, T0).await;
    assert_eq!(store.reserve(facts(2), T0).await.map(|_| ()), Err(Refused::KidFull));
    begin_with(&store, SessionFacts { kid: Kid::Rsa(KeyId([8; 32])), ..facts(3) }, T0).await;
}

pub(super) async fn expired_ones_make_room<S: Subject>() {
    let store = S::fresh(Limits { sessions: 100, sessions_per_source: 100, ..Limits::default() }, UnixTime(0)).await;
    for n in 0..100 {
        established(&store, n, T0).await;
    }
    assert_eq!(store.reserve(facts(100), at(600)).await.map(|_| ()), Err(Refused::SourceFull));
    for n in 100..200 {
        established(&store, n, at(601)).await;
    }
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.sessions, counts.pending), (100, 0));
}

pub(super) async fn an_id_is_not_given_twice<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    send(&store, sid, 1, 1, T0).await.unwrap();
    assert_eq!(store.reserve(facts(1), T0).await.map(|_| ()), Err(Refused::SidTaken));
    assert!(matches!(send(&store, sid, 1, 1, T0).await, Ok(Said::Again(_))));
}

pub(super) async fn an_answer_after_the_end_is_still_given<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let accepted = accept(&store, sid, 1, 1, T0).await;
    let Ok(Probe::Wait(waiter)) = store.probe(sid, number(1), digest(1), T0).await else { panic!("not waiting") };
    let tomorrow = at(2 * 24 * 60 * 60);
    assert!(!known(&store, sid, tomorrow).await);
    let sent = store.complete(accepted, false, tomorrow, |_, _| response("late")).await;
    assert_eq!(waiter.response().await, Ok(sent));
    assert!(!known(&store, sid, tomorrow).await);
}
