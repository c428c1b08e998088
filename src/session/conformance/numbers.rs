//! PROTOCOL section 3.4.

use super::*;

async fn store<S: Subject>() -> S {
    S::fresh(Limits::default(), UnixTime(0)).await
}

pub(super) async fn a_retransmission_is_answered_five_times<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let Ok(Said::New(first)) = send(&store, sid, 1, 1, T0).await else { panic!("not accepted") };
    for _ in 0..5 {
        assert_eq!(send(&store, sid, 1, 1, at(1)).await, Ok(Said::Again(first.clone())));
    }
    assert_eq!(send(&store, sid, 1, 1, at(1)).await, Err(Refused::Replayed));
    assert_eq!(send(&store, sid, 1, 1, at(1)).await, Err(Refused::Replayed));
    assert!(matches!(send(&store, sid, 2, 2, at(1)).await, Ok(Said::New(_))));
}

pub(super) async fn anything_but_the_highest_is_replayed<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    assert_eq!(send(&store, sid, 0, 1, T0).await, Err(Refused::Replayed), "the init request's");
    send(&store, sid, 5, 5, T0).await.unwrap();
    for (n, body) in [(0, 5), (1, 5), (2, 2), (4, 5)] {
        assert_eq!(send(&store, sid, n, body, T0).await, Err(Refused::Replayed));
    }
    send(&store, sid, 6, 6, T0).await.unwrap();
    assert_eq!(send(&store, sid, 5, 5, T0).await, Err(Refused::Replayed), "its response is no longer kept");
}

pub(super) async fn other_bytes_are_replayed<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let accepted = accept(&store, sid, 1, 1, T0).await;
    assert_eq!(send(&store, sid, 1, 2, T0).await, Err(Refused::Replayed), "in progress");
    store.complete(accepted, false, T0, |_, _| response("one")).await;
    assert_eq!(send(&store, sid, 1, 2, T0).await, Err(Refused::Replayed), "answered");
    for _ in 0..5 {
        assert_eq!(send(&store, sid, 1, 1, T0).await, Ok(Said::Again(response("one"))), "others did not count");
    }
}

pub(super) async fn a_probe_changes_nothing<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    // A seal that does not open is judged, and then goes no further.
    for n in [1, 9, Number::MAX.value()] {
        assert!(matches!(store.probe(sid, number(n), digest(66), T0).await, Ok(Probe::Higher)));
    }
    assert!(matches!(send(&store, sid, 1, 1, T0).await, Ok(Said::New(_))));
    assert!(matches!(store.probe(sid, number(2), digest(66), T0).await, Ok(Probe::Higher)));
    assert_eq!(send(&store, sid, 1, 66, T0).await, Err(Refused::Replayed), "tampered, under the accepted number");
    assert!(matches!(send(&store, sid, 1, 1, T0).await, Ok(Said::Again(_))));
}

pub(super) async fn numbers_may_be_skipped<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    for n in [3, 4, 1 << 32, Number::MAX.value()] {
        assert!(matches!(send(&store, sid, n, 1, T0).await, Ok(Said::New(_))));
    }
    assert!(matches!(send(&store, sid, Number::MAX.value(), 1, T0).await, Ok(Said::Again(_))));
}

async fn wait<S: Subject>(store: &S, sid: Sid, n: u64, body: u8) -> super::super::Waiter {
    match store.probe(sid, number(n), digest(body), T0).await {
        Ok(Probe::Wait(waiter)) => waiter,
        other => panic!("does not wait: {other:?}"),
    }
}

pub(super) async fn the_newest_retransmission_waits<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let accepted = accept(&store, sid, 1, 1, T0).await;
    let first = wait(&store, sid, 1, 1).await;
    let second = wait(&store, sid, 1, 1).await;
    assert_eq!(first.response().await, Err(Refused::Overtaken));
    assert_eq!(Refused::Overtaken.reason(), crate::seal::Reason::Overloaded);
    drop(second);
    let third = wait(&store, sid, 1, 1).await;
    let waiting = tokio::spawn(third.response());
    let sent = store.complete(accepted, false, T0, |_, _| response("one")).await;
    assert_eq!(sent, response("one"));
    assert_eq!(waiting.await.unwrap(), Ok(sent));
}

pub(super) async fn waiting_counts<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let accepted = accept(&store, sid, 1, 1, T0).await;
    for _ in 0..3 {
        wait(&store, sid, 1, 1).await;
    }
    store.complete(accepted, false, T0, |_, _| response("one")).await;
    for _ in 0..2 {
        assert!(matches!(send(&store, sid, 1, 1, T0).await, Ok(Said::Again(_))));
    }
    assert_eq!(send(&store, sid, 1, 1, T0).await, Err(Refused::Replayed));

    let accepted = accept(&store, sid, 2, 2, T0).await;
    let mut last = None;
    for _ in 0..5 {
        last = Some(wait(&store, sid, 2, 2).await);
    }
    assert_eq!(send(&store, sid, 2, 2, T0).await, Err(Refused::Replayed), "a sixth does not even wait");
    store.complete(accepted, false, T0, |_, _| response("two")).await;
    assert_eq!(last.unwrap().response().await, Ok(response("two")));
}

pub(super) async fn a_dropped_request_is_never_answered<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let accepted = accept(&store, sid, 1, 1, T0).await;
    let waiter = wait(&store, sid, 1, 1).await;
    drop(accepted);
    assert_eq!(waiter.response().await, Err(Refused::Replayed));
    assert_eq!(send(&store, sid, 1, 1, T0).await, Err(Refused::Replayed));
    assert!(matches!(send(&store, sid, 2, 2, T0).await, Ok(Said::New(_))), "the session goes on");
}

pub(super) async fn a_panic_while_sealing_uses_the_number_up<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let accepted = accept(&store, sid, 1, 1, T0).await;
    let waiter = wait(&store, sid, 1, 1).await;
    let task = {
        let store = store.clone();
        tokio::spawn(async move { store.complete(accepted, false, T0, |_, _| panic!("a fault of the sealer")).await })
    };
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(waiter.response().await, Err(Refused::Replayed));
    assert_eq!(send(&store, sid, 1, 1, T0).await, Err(Refused::Replayed));
    assert!(matches!(send(&store, sid, 2, 2, T0).await, Ok(Said::New(_))));
}

pub(super) async fn a_waiter_gets_its_answer_past_a_higher_number<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    let one = accept(&store, sid, 1, 1, T0).await;
    let waiter = wait(&store, sid, 1, 1).await;
    let two = accept(&store, sid, 2, 2, T0).await;
    assert_eq!(send(&store, sid, 1, 1, T0).await, Err(Refused::Replayed));
    store.complete(one, false, T0, |_, _| response("one")).await;
    assert_eq!(waiter.response().await, Ok(response("one")));
    assert!(matches!(send(&store, sid, 2, 2, T0).await, Ok(Said::Waits)), "the answer to 1 is not that to 2");
    store.complete(two, false, T0, |_, _| response("two")).await;
    assert_eq!(send(&store, sid, 2, 2, T0).await, Ok(Said::Again(response("two"))));
}

pub(super) async fn the_same_request_opened_twice_is_accepted_once<S: Subject>() {
    let store: S = store().await;
    let sid = begin(&store, 1, T0).await;
    // Both were found to be higher before either was accepted.
    let accepted = accept(&store, sid, 1, 1, T0).await;
    let Ok(Outcome::Wait(waiter)) = store.accept(sid, number(1), digest(1), T0).await else { panic!("not waiting") };
    store.complete(accepted, false, T0, |_, _| response("one")).await;
    assert_eq!(waiter.response().await, Ok(response("one")));
    let Ok(Outcome::Repeat(again)) = store.accept(sid, number(1), digest(1), T0).await else { panic!("no repeat") };
    assert_eq!(again, response("one"));
    assert_eq!(store.accept(sid, number(1), digest(2), T0).await.map(|_| ()), Err(Refused::Replayed));
}

pub(super) async fn so_many_requests_and_no_more<S: Subject>() {
    let store = S::fresh(Limits { requests: 3, ..Limits::default() }, UnixTime(0)).await;
    let sid = begin(&store, 1, T0).await;
    for n in [1, 5, 6] {
        assert!(matches!(send(&store, sid, n, 1, T0).await, Ok(Said::New(_))));
    }
    assert_eq!(send(&store, sid, 7, 7, T0).await, Err(Refused::SessionUnknown));
    assert!(matches!(send(&store, sid, 6, 1, T0).await, Ok(Said::Again(_))), "the last can be asked for again");
}

pub(super) async fn stored_responses_keep_to_their_budget<S: Subject>() {
    let budget = 10_000;
    let store = S::fresh(Limits { stored_responses: budget, ..Limits::default() }, UnixTime(0)).await;
    let body = "x".repeat(3_000);
    for n in 1..=5 {
        let sid = begin(&store, n, T0).await;
        let accepted = accept(&store, sid, 1, 1, T0).await;
        store.complete(accepted, false, T0, |_, _| response(&body)).await;
        assert!(store.counts().await.unwrap().stored_responses <= budget);
    }
    for n in 1..=2 {
        assert_eq!(send(&store, sid(n), 1, 1, T0).await, Err(Refused::Replayed), "the oldest were dropped");
        assert!(matches!(send(&store, sid(n), 2, 2, T0).await, Ok(Said::New(_))), "and nothing else");
    }
    for n in 4..=5 {
        assert!(matches!(send(&store, sid(n), 1, 1, T0).await, Ok(Said::Again(_))));
    }
    for n in 1..=5 {
        send(&store, sid(n), 3, 3, T0).await.unwrap();
    }
    assert!(store.counts().await.unwrap().stored_responses < 3_000, "a next request makes room");
    assert!(!known(&store, sid(1), at(601)).await);
    for _ in 0..5 {
        let _ = store.find(sid(1), at(601)).await;
    }
    assert_eq!(store.counts().await.unwrap().stored_responses, 0, "and so does the end");
}

pub(super) async fn a_response_over_the_budget_is_not_stored<S: Subject>() {
    let store = S::fresh(Limits { stored_responses: 1_000, ..Limits::default() }, UnixTime(0)).await;
    let sid = begin(&store, 1, T0).await;
    let accepted = accept(&store, sid, 1, 1, T0).await;
    let waiter = wait(&store, sid, 1, 1).await;
    let body = "x".repeat(2_000);
    store.complete(accepted, false, T0, |_, _| response(&body)).await;
    assert_eq!(waiter.response().await, Ok(response(&body)), "who waited has it");
    assert_eq!(send(&store, sid, 1, 1, T0).await, Err(Refused::Replayed));
    assert_eq!(store.counts().await.unwrap().stored_responses, 0);
}

pub(super) async fn an_unknown_session_is_unknown<S: Subject>() {
    let store: S = store().await;
    begin(&store, 1, T0).await;
    assert!(!known(&store, sid(2), T0).await);
}

pub(super) async fn sessions_do_not_mix<S: Subject>() {
    let store: S = store().await;
    let (a, b) = (begin(&store, 1, T0).await, begin(&store, 2, T0).await);
    let in_a = send(&store, a, 1, 1, T0).await.unwrap();
    let in_b = send(&store, b, 1, 1, T0).await.unwrap();
    assert_eq!(in_a, Said::New(made(a, number(1), 0)));
    assert_eq!(in_b, Said::New(made(b, number(1), 0)));
    assert_eq!(send(&store, b, 1, 1, T0).await, Ok(Said::Again(made(b, number(1), 0))));
}
