use std::{collections::HashSet, convert::Infallible};

use super::*;

/// What reads an init response is a word, keys are a number, a response is a text.
type Sessions = SyncSessions<&'static str, u32, String>;
type NextStep = Next<&'static str, u32, String>;
type SentOne = Sent<&'static str, u32, String>;

const T0: UnixTime = UnixTime(1_790_000_000);

fn at(seconds: u64) -> UnixTime {
    UnixTime(T0.0 + seconds)
}

fn sessions() -> Sessions {
    SyncSessions::new(TerminalLimits::default())
}

fn id(session_id: &str) -> SyncSessionId {
    SyncSessionId::new("local".into(), b"dev-1", session_id.as_bytes())
}

fn request(body: &str) -> Fingerprint {
    Fingerprint::of(b"/sync", body.as_bytes())
}

async fn next(sessions: &Sessions, body: &str, first: bool) -> NextStep {
    sessions.turn(id("7"), T0).await.unwrap().next(request(body), first)
}

fn unkeyed(next: NextStep) -> Unkeyed<&'static str, u32, String> {
    let Next::Begin(unkeyed) = next else { panic!("does not begin") };
    unkeyed
}

fn ready(next: NextStep) -> Ready<&'static str, u32, String> {
    let Next::Seal(ready) = next else { panic!("is not to be sealed") };
    ready
}

/// Seals with bytes that tell keys, id and number.
fn seal(ready: Ready<&'static str, u32, String>) -> SentOne {
    let seal = |keys: &u32, sid: Sid, number: Number| {
        Ok::<_, Infallible>(Bytes::from(format!("{keys} {sid} {}", number.value())))
    };
    ready.seal(seal).unwrap()
}

fn answered(response: &str) -> Answered<String> {
    Answered { response: response.to_owned(), success: true, end: false }
}

/// A SyncML session whose first request was sent after a handshake.
async fn sent(sessions: &Sessions) -> SentOne {
    seal(unkeyed(next(sessions, "one", true).await).handshaken(Sid([1; 16]), Arc::new(10)))
}

#[tokio::test]
async fn numbers_count_from_one() {
    let sessions = sessions();
    let one = sent(&sessions).await;
    assert_eq!((one.sid(), one.number().value(), *one.keys()), (Sid([1; 16]), 1, 10));
    one.answered(answered("first"));
    for n in 2..5 {
        let sent = seal(ready(next(&sessions, &format!("body {n}"), false).await));
        assert_eq!((sent.sid(), sent.number().value()), (Sid([1; 16]), n));
        sent.answered(answered("more"));
    }
}

#[tokio::test]
async fn whatever_its_msg_id_it_goes_into_its_sealed_session() {
    let sessions = sessions();
    sent(&sessions).await.answered(answered("first"));
    let sent = seal(ready(next(&sessions, "again from the beginning", true).await));
    assert_eq!(sent.number().value(), 2);
}

#[tokio::test]
async fn without_a_response_the_same_seal_goes_out() {
    let sessions = sessions();
    let first = sent(&sessions).await.seal().clone();
    for _ in 0..3 {
        let Next::Retransmit(sent) = next(&sessions, "one", true).await else { panic!("no retransmission") };
        assert_eq!((sent.seal(), sent.number().value(), *sent.keys()), (&first, 1, 10));
    }
    let Next::Retransmit(sent) = next(&sessions, "one", true).await else { panic!("no retransmission") };
    sent.answered(answered("at last"));
    assert!(matches!(next(&sessions, "one", true).await, Next::Repeat(response) if response == "at last"));
}

#[tokio::test]
async fn after_success_the_same_response_is_given() {
    let sessions = sessions();
    sent(&sessions).await.answered(answered("first"));
    for _ in 0..3 {
        assert!(matches!(next(&sessions, "one", true).await, Next::Repeat(response) if response == "first"));
    }
    seal(ready(next(&sessions, "two", false).await)).answered(answered("second"));
    assert_eq!(seal(ready(next(&sessions, "one", true).await)).number().value(), 3, "it is no longer the last");
}

#[tokio::test]
async fn after_failure_it_is_sealed_anew() {
    let sessions = sessions();
    sent(&sessions).await.answered(Answered { success: false, ..answered("HTTP 500") });
    let sent = seal(ready(next(&sessions, "one", true).await));
    assert_eq!(sent.number().value(), 2);
}

#[tokio::test]
async fn a_resend_has_the_same_body_and_target() {
    assert_ne!(Fingerprint::of(b"/sync", b"one"), Fingerprint::of(b"/sync?", b"one"));
    assert_ne!(Fingerprint::of(b"/sync", b"one"), Fingerprint::of(b"/syncone", b""));
    let sessions = sessions();
    drop(sent(&sessions).await);
    let elsewhere = Fingerprint::of(b"/sync?s=9", b"one");
    let sent = seal(ready(sessions.turn(id("7"), T0).await.unwrap().next(elsewhere, true)));
    assert_eq!(sent.number().value(), 2);
}

#[tokio::test]
async fn a_number_that_was_given_is_used() {
    let sessions = sessions();
    sent(&sessions).await.answered(answered("first"));
    let failed = ready(next(&sessions, "two", false).await).seal(|_, _, number| Err::<Bytes, _>(number));
    assert_eq!(failed.err().map(Number::value), Some(2));
    let three = ready(next(&sessions, "two", false).await);
    let panics = move || three.seal(|_, _, _| -> Result<Bytes, Infallible> { panic!("a fault of the sealer") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert_eq!(seal(ready(next(&sessions, "two", false).await)).number().value(), 4);
}

#[tokio::test]
async fn a_turn_that_is_dropped_changes_nothing() {
    let sessions = sessions();
    drop(unkeyed(next(&sessions, "one", true).await));
    sent(&sessions).await.answered(answered("first"));
    drop(ready(next(&sessions, "two", false).await));
    assert!(matches!(next(&sessions, "one", true).await, Next::Repeat(_)));
    assert_eq!(seal(ready(next(&sessions, "two", false).await)).number().value(), 2);
}

#[tokio::test]
async fn after_end_a_first_message_starts_another() {
    let sessions = sessions();
    sent(&sessions).await.answered(Answered { end: true, ..answered("last") });
    assert!(matches!(next(&sessions, "one", true).await, Next::Repeat(_)), "a resend is a resend");
    let still = seal(ready(next(&sessions, "two", false).await));
    assert_eq!((still.sid(), still.number().value()), (Sid([1; 16]), 2), "others go into the old one");
    still.answered(answered("more"));
    drop(unkeyed(next(&sessions, "three", true).await));
    let anew = seal(unkeyed(next(&sessions, "three", true).await).handshaken(Sid([2; 16]), Arc::new(20)));
    assert_eq!((anew.sid(), anew.number().value(), *anew.keys()), (Sid([2; 16]), 1, 20));
    anew.answered(answered("first"));
    assert_eq!(seal(ready(next(&sessions, "four", true).await)).number().value(), 2, "it was not told to end");
}

#[tokio::test]
async fn an_unknown_session_is_forgotten() {
    let sessions = sessions();
    sent(&sessions).await.forget();
    let anew = seal(unkeyed(next(&sessions, "one", true).await).handshaken(Sid([2; 16]), Arc::new(20)));
    assert_eq!((anew.sid(), anew.number().value()), (Sid([2; 16]), 1));
}

#[tokio::test]
async fn an_early_message_that_was_answered() {
    let sessions = sessions();
    let early = unkeyed(next(&sessions, "one", true).await).early(Bytes::from_static(b"init"), "secret");
    assert_eq!(early.seal(), "init");
    let (init, replied) = early.reply().unwrap();
    assert_eq!(init, "secret");
    replied.answered(Sid([1; 16]), Arc::new(10), answered("first"));
    assert!(matches!(next(&sessions, "one", true).await, Next::Repeat(response) if response == "first"));
    let two = seal(ready(next(&sessions, "two", false).await));
    assert_eq!((two.sid(), two.number().value()), (Sid([1; 16]), 1));
}

#[tokio::test]
async fn an_early_message_without_a_reply() {
    let sessions = sessions();
    drop(unkeyed(next(&sessions, "one", true).await).early(Bytes::from_static(b"init"), "secret"));
    let Next::RetransmitEarly(early) = next(&sessions, "one", true).await else { panic!("no retransmission") };
    assert_eq!(early.seal(), "init");
    let handshake = early.refused();
    let one = seal(handshake.handshaken(Sid([1; 16]), Arc::new(10)));
    assert_eq!(one.number().value(), 1);
    drop(one);
    assert!(matches!(next(&sessions, "one", true).await, Next::Retransmit(_)));
}

#[tokio::test]
async fn an_early_message_whose_reply_does_not_open() {
    let sessions = sessions();
    let early = unkeyed(next(&sessions, "one", true).await).early(Bytes::from_static(b"init"), "secret");
    drop(early.reply());
    drop(unkeyed(next(&sessions, "one", true).await));
    // Another message before a reply came begins anew, too.
    drop(unkeyed(next(&sessions, "one", true).await).early(Bytes::from_static(b"init"), "secret"));
    drop(unkeyed(next(&sessions, "two", true).await));
}

#[tokio::test]
async fn an_early_message_that_ends_it() {
    let sessions = sessions();
    let early = unkeyed(next(&sessions, "one", true).await).early(Bytes::from_static(b"init"), "secret");
    let (_, replied) = early.reply().unwrap();
    replied.answered(Sid([1; 16]), Arc::new(10), Answered { end: true, ..answered("only") });
    drop(unkeyed(next(&sessions, "two", true).await));
}

#[tokio::test]
async fn after_the_last_number_another_begins() {
    let sessions = sessions();
    drop(sent(&sessions).await);
    {
        let mut turn = sessions.turn(id("7"), T0).await.unwrap();
        let State::Sealed(sealed, _) = &mut *turn.state else { panic!("not sealed") };
        sealed.highest = Number::new(Number::MAX.value() - 1).unwrap();
    }
    let last = seal(ready(next(&sessions, "two", false).await));
    assert_eq!(last.number(), Number::MAX);
    last.answered(answered("last"));
    drop(unkeyed(next(&sessions, "three", false).await));
}

#[tokio::test]
async fn others_wait_for_their_turn() {
    let sessions = Arc::new(sessions());
    let held = sent(&sessions).await;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let sessions = sessions.clone();
            tokio::spawn(async move {
                let sent = seal(ready(next(&sessions, &format!("body {n}"), false).await));
                let number = sent.number().value();
                tokio::task::yield_now().await;
                sent.answered(answered("done"));
                number
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(tasks.iter().all(|task| !task.is_finished()));
    // Another SyncML session has its own turn.
    drop(sessions.turn(id("8"), T0).await.unwrap());
    held.answered(answered("first"));
    let mut numbers = HashSet::new();
    for task in tasks {
        numbers.insert(task.await.unwrap());
    }
    assert_eq!(numbers, (2..10).collect());
}

#[tokio::test]
async fn by_what_it_is_known() {
    let known = |listener: &str, source: &str, session: &str| {
        SyncSessionId::new(listener.into(), source.as_bytes(), session.as_bytes())
    };
    assert_eq!(known("a", " dev ", "7\n"), known("a", "dev", "7"));
    for other in [known("b", "dev", "7"), known("a", "dev2", "7"), known("a", "dev", "72"), known("a", "de", "v7")] {
        assert_ne!(other, known("a", "dev", "7"));
    }
}

#[tokio::test]
async fn idle_ones_are_forgotten() {
    let sessions = sessions();
    sent(&sessions).await.answered(answered("first"));
    assert!(matches!(sessions.turn(id("7"), at(900)).await.unwrap().next(request("one"), true), Next::Repeat(_)));
    drop(sessions.turn(id("8"), at(1_800)).await);
    assert_eq!(sessions.len(), 2, "idle for 900 s");
    drop(sessions.turn(id("8"), at(1_861)).await);
    assert_eq!(sessions.len(), 1, "idle for longer");
    assert!(matches!(sessions.turn(id("7"), at(1_861)).await.unwrap().next(request("one"), true), Next::Begin(_)));
}

#[tokio::test]
async fn the_table_is_bounded_and_nobody_in_use_is_forgotten() {
    let sessions = Sessions::new(TerminalLimits { sync_sessions: 2, ..TerminalLimits::default() });
    let held = sent(&sessions).await;
    drop(sessions.turn(id("8"), T0).await.unwrap());
    assert_eq!(sessions.turn(id("9"), T0).await.err(), Some(Refused::SyncSessionsFull));
    drop(sessions.turn(id("8"), T0).await.unwrap());
    drop(sessions.turn(id("9"), at(901)).await.unwrap());
    assert_eq!(sessions.turn(id("8"), at(901)).await.err(), Some(Refused::SyncSessionsFull));
    held.answered(answered("first"));
    drop(sessions.turn(id("8"), at(902)).await.unwrap());
    assert_eq!(sessions.len(), 2);
}
