//! PROTOCOL section 8.2.

use super::*;
use crate::session::{Answer, Sender, SyncMessage};

/// A message of dev-1's SyncML session 7, without Cred.
const MESSAGE: SyncMessage<'static> =
    SyncMessage { route: "main", source: b"dev-1", session_id: b"7", msg_id: b"1", has_cred: false, target: b"/sync" };
/// The first one, with Cred.
const FIRST: SyncMessage<'static> = SyncMessage { has_cred: true, ..MESSAGE };
/// The next one, without.
const NEXT: SyncMessage<'static> = SyncMessage { msg_id: b"2", ..MESSAGE };
/// The target of the server's RespURI.
const GIVEN: &[u8] = b"/sync?s=9";
/// The server accepts the SyncHdr.
const OK: Answer<'static> = Answer { hdr_status: Some(200), resp_target: None };
/// The same, and gives a target.
const OK_GIVEN: Answer<'static> = Answer { hdr_status: Some(212), resp_target: Some(GIVEN) };
/// The server wants credentials.
const CHALLENGE: Answer<'static> = Answer { hdr_status: Some(401), resp_target: None };

/// A store in which every sealed session of the tests is established.
async fn store<S: Subject>(limits: Limits) -> S {
    let store = S::fresh(limits, UnixTime(0)).await;
    for n in 1..=3 {
        established(&store, n, T0).await;
    }
    for (n, name) in [(11, "phone"), (12, "phone"), (13, "tablet")] {
        let sid = begin_with(&store, SessionFacts { kid: secret(name), ..facts(n) }, T0).await;
        send(&store, sid, 1, 1, T0).await.unwrap();
    }
    store
}

fn secret(name: &str) -> Kid {
    Kid::Secret(name.parse().unwrap())
}

/// Who sends: sealed session 1, 2 and 3 under an RSA key, 11 and 12 of phone, 13 of tablet, or 0: plaintext.
async fn check<S: Subject>(store: &S, who: u32, message: SyncMessage<'_>, now: UnixTime) -> Result<S::Pass, Refused> {
    let kid = match who {
        11 | 12 => secret("phone"),
        13 => secret("tablet"),
        _ => facts(who).kid,
    };
    let sender = match who {
        0 => Sender::Plaintext { source: IpAddr::from([192, 0, 2, 1]) },
        _ => Sender::Sealed { sid: sid(who), kid: &kid },
    };
    store.check_binding(message, sender, now).await
}

/// A message and its answer, if it goes through.
async fn exchange<S: Subject>(
    store: &S,
    who: u32,
    message: SyncMessage<'_>,
    answer: Answer<'_>,
    now: UnixTime,
) -> Result<(), Refused> {
    let pass = check(store, who, message, now).await?;
    store.answered(pass, answer, now).await;
    Ok(())
}

/// Ends a sealed session by the gateway's word.
async fn end<S: Subject>(store: &S, who: u32, now: UnixTime) {
    assert!(matches!(send_ending(store, sid(who), 50, 50, true, now).await, Ok(Said::New(_))));
}

/// Keeps sealed sessions from being idle.
async fn keep<S: Subject>(store: &S, who: &[u32], n: u64, now: UnixTime) {
    for who in who {
        assert!(matches!(send(store, sid(*who), n, 2, now).await, Ok(Said::New(_))));
    }
}

const BOUND: Result<(), Refused> = Err(Refused::SessionBound);

pub(super) async fn begins_in_the_middle<S: Subject>() {
    let store: S = store(Limits::default()).await;
    assert_eq!(exchange(&store, 1, NEXT, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 0, NEXT, OK, T0).await, BOUND, "nor in plaintext");
    for msg_id in [&b""[..], b"0", b"01", b"1.0", b"11"] {
        assert_eq!(exchange(&store, 1, SyncMessage { msg_id, ..MESSAGE }, OK, T0).await, BOUND);
    }
    assert_eq!(store.counts().await.unwrap().sync_sessions, 0);
}

pub(super) async fn with_cred_it_may<S: Subject>() {
    let store: S = store(Limits::default()).await;
    assert_eq!(exchange(&store, 1, SyncMessage { has_cred: true, ..NEXT }, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 1, SyncMessage { msg_id: b"3", ..MESSAGE }, OK, T0).await, Ok(()));
}

pub(super) async fn goes_on_elsewhere<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, NEXT, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 2, SyncMessage { has_cred: true, ..NEXT }, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 1, NEXT, OK, T0).await, Ok(()));
    // Another device, SessionID or route is another SyncML session.
    for other in [
        SyncMessage { source: b"dev-2", ..FIRST },
        SyncMessage { session_id: b"8", ..FIRST },
        SyncMessage { route: "other", ..FIRST },
    ] {
        assert_eq!(exchange(&store, 2, other, OK, T0).await, Ok(()));
    }
}

pub(super) async fn msg_id_1_without_cred_of_an_owned_one<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, MESSAGE, OK, at(100)).await, BOUND, "however long its owner is idle");
    assert_eq!(exchange(&store, 1, MESSAGE, OK, at(100)).await, Ok(()), "its owner may");
}

pub(super) async fn not_yet_owned<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, MESSAGE, CHALLENGE, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, NEXT, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 2, SyncMessage { has_cred: true, ..NEXT }, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 2, MESSAGE, CHALLENGE, T0).await, Ok(()), "begun anew");
    assert_eq!(exchange(&store, 1, NEXT, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 2, SyncMessage { has_cred: true, ..NEXT }, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 1, MESSAGE, OK, T0).await, BOUND, "now it is owned");
}

pub(super) async fn owned_after_200_or_212_only<S: Subject>() {
    for (status, owned) in [
        (None, false),
        (Some(100), false),
        (Some(201), false),
        (Some(401), false),
        (Some(407), false),
        (Some(500), false),
        (Some(200), true),
        (Some(212), true),
    ] {
        let store: S = store(Limits::default()).await;
        exchange(&store, 1, FIRST, Answer { hdr_status: status, resp_target: None }, T0).await.unwrap();
        let anew = exchange(&store, 2, MESSAGE, CHALLENGE, T0).await;
        assert_eq!(anew, if owned { BOUND } else { Ok(()) }, "{status:?}");
    }
}

pub(super) async fn target_of_another<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    let at_target = SyncMessage { source: b"dev-2", target: GIVEN, ..FIRST };
    assert_eq!(exchange(&store, 2, at_target, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 2, at_target, OK, at(500)).await, BOUND, "however long its owner is idle");
    assert_eq!(exchange(&store, 2, SyncMessage { target: b"/sync?s=99", ..at_target }, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 1, SyncMessage { target: GIVEN, ..NEXT }, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 1, at_target, OK, T0).await, BOUND, "dev-2's SyncML session is 2's by now");
    let third = SyncMessage { source: b"dev-3", ..at_target };
    assert_eq!(exchange(&store, 1, third, OK, T0).await, Ok(()), "the owner may use it as it likes");
}

pub(super) async fn targets_of_another_route<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    let elsewhere = SyncMessage { route: "other", source: b"dev-2", target: GIVEN, ..FIRST };
    assert_eq!(exchange(&store, 2, elsewhere, OK, T0).await, Ok(()));
}

pub(super) async fn targets_given_before_the_server_accepts<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, MESSAGE, Answer { resp_target: Some(GIVEN), ..CHALLENGE }, T0).await.unwrap();
    let at_target = SyncMessage { source: b"dev-2", target: GIVEN, ..MESSAGE };
    assert_eq!(exchange(&store, 2, at_target, CHALLENGE, T0).await, Ok(()), "it is nobody's yet");
    exchange(&store, 1, SyncMessage { target: GIVEN, has_cred: true, ..NEXT }, OK, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, at_target, CHALLENGE, T0).await, BOUND);
}

pub(super) async fn a_respuri_for_all<S: Subject>() {
    let store: S = store(Limits::default()).await;
    let dev_2 = SyncMessage { source: b"dev-2", ..FIRST };
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    exchange(&store, 2, dev_2, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 1, SyncMessage { target: GIVEN, ..NEXT }, OK_GIVEN, T0).await, Ok(()));
    assert_eq!(exchange(&store, 2, SyncMessage { target: GIVEN, msg_id: b"2", ..dev_2 }, OK, T0).await, Ok(()));
    let dev_3 = SyncMessage { source: b"dev-3", target: GIVEN, ..FIRST };
    assert_eq!(exchange(&store, 3, dev_3, OK_GIVEN, T0).await, Ok(()), "it stays nobody's");
    assert_eq!(exchange(&store, 2, NEXT, OK, T0).await, BOUND, "the SyncML sessions are still told apart");
}

pub(super) async fn a_respuri_without_a_session<S: Subject>() {
    let store: S = store(Limits::default()).await;
    let echo = Answer { resp_target: Some(b"/sync"), ..OK };
    exchange(&store, 1, FIRST, echo, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, SyncMessage { source: b"dev-2", ..FIRST }, echo, T0).await, Ok(()));
    // Nor can it be had by beginning elsewhere, once that was seen.
    let aside = SyncMessage { source: b"dev-3", target: b"/sync//", ..FIRST };
    assert_eq!(exchange(&store, 3, aside, echo, T0).await, Ok(()));
    assert_eq!(exchange(&store, 1, SyncMessage { session_id: b"8", ..FIRST }, echo, T0).await, Ok(()));
}

pub(super) async fn a_respuri_above_the_first_target<S: Subject>() {
    let long = [b"/sync?".as_slice(), &[b'x'; 2_000]].concat();
    for target in [b"/sync?x=1".as_slice(), b"/sync;x", b"/sync/x", &long] {
        let store: S = store(Limits::default()).await;
        exchange(&store, 1, SyncMessage { target, ..FIRST }, Answer { resp_target: Some(b"/sync"), ..OK }, T0)
            .await
            .unwrap();
        let other = SyncMessage { source: b"dev-2", ..FIRST };
        assert_eq!(exchange(&store, 2, other, OK, T0).await, Ok(()), "nobody is locked out");
    }
    let store: S = store(Limits::default()).await;
    let echo = Answer { resp_target: Some(&long), ..OK };
    exchange(&store, 1, SyncMessage { target: &long, ..FIRST }, echo, T0).await.unwrap();
    let other = SyncMessage { source: b"dev-2", target: &long, ..FIRST };
    assert_eq!(exchange(&store, 2, other, echo, T0).await, Ok(()), "a long one is the first target, too");
}

pub(super) async fn ownership_passes<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, FIRST, OK_GIVEN, at(60)).await, Ok(()));
    assert_eq!(exchange(&store, 1, NEXT, OK, at(60)).await, BOUND, "the first owner is out");
    assert_eq!(exchange(&store, 1, SyncMessage { target: GIVEN, ..NEXT }, OK, at(60)).await, BOUND);
    assert_eq!(exchange(&store, 2, SyncMessage { target: GIVEN, ..NEXT }, OK, at(60)).await, Ok(()));
    let dev_3 = SyncMessage { source: b"dev-3", target: GIVEN, ..FIRST };
    assert_eq!(exchange(&store, 1, dev_3, OK, at(60)).await, BOUND, "the target passed, too");
}

pub(super) async fn owner_active<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, FIRST, OK, at(59)).await, BOUND);
    exchange(&store, 1, NEXT, OK, at(59)).await.unwrap();
    assert_eq!(exchange(&store, 2, FIRST, OK, at(118)).await, BOUND);
    let pass = check(&store, 1, SyncMessage { msg_id: b"3", ..MESSAGE }, at(118)).await.unwrap();
    store.answered(pass, OK, at(200)).await;
    assert_eq!(exchange(&store, 2, FIRST, OK, at(259)).await, BOUND, "counted from its answer");
    assert_eq!(exchange(&store, 2, FIRST, OK, at(260)).await, Ok(()));
}

pub(super) async fn ownership_stays<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, FIRST, CHALLENGE, at(60)).await, Ok(()));
    assert_eq!(exchange(&store, 2, NEXT, OK, at(60)).await, BOUND);
    drop(check(&store, 2, FIRST, at(60)).await.unwrap());
    assert_eq!(exchange(&store, 2, NEXT, OK, at(60)).await, BOUND);
    assert_eq!(exchange(&store, 1, NEXT, OK, at(60)).await, Ok(()));
    assert_eq!(exchange(&store, 1, SyncMessage { target: GIVEN, ..NEXT }, OK, at(60)).await, Ok(()));
    let dev_2 = SyncMessage { source: b"dev-2", target: GIVEN, ..FIRST };
    assert_eq!(exchange(&store, 2, dev_2, OK, at(60)).await, BOUND, "its target stays, too");
}

pub(super) async fn takeover_at_a_target_of_somebody<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, SyncMessage { target: GIVEN, ..FIRST }, OK, at(60)).await, BOUND);
    // Nor at a target of its own.
    let own = Answer { resp_target: Some(b"/sync?s=2"), ..OK };
    exchange(&store, 2, SyncMessage { source: b"dev-2", ..FIRST }, own, at(60)).await.unwrap();
    assert_eq!(exchange(&store, 2, SyncMessage { target: b"/sync?s=2", ..FIRST }, OK, at(60)).await, BOUND);
}

pub(super) async fn an_answer_to_a_message_from_before<S: Subject>() {
    let store: S = store(Limits::default()).await;
    // Both begin it; the answer to the first comes when the second has begun it anew.
    let first = check(&store, 1, FIRST, T0).await.unwrap();
    let second = check(&store, 2, FIRST, T0).await.unwrap();
    store.answered(first, OK_GIVEN, T0).await;
    assert_eq!(exchange(&store, 1, NEXT, OK, T0).await, BOUND);
    store.answered(second, OK, T0).await;
    assert_eq!(exchange(&store, 2, NEXT, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 3, SyncMessage { source: b"d", target: GIVEN, ..FIRST }, OK, T0).await, Ok(()));
    // Two want to take it over: the first to be accepted does.
    let one = check(&store, 1, FIRST, at(60)).await.unwrap();
    let three = check(&store, 3, FIRST, at(60)).await.unwrap();
    store.answered(three, OK, at(60)).await;
    store.answered(one, OK, at(60)).await;
    assert_eq!(exchange(&store, 1, NEXT, OK, at(60)).await, BOUND);
    assert_eq!(exchange(&store, 2, NEXT, OK, at(60)).await, BOUND);
    assert_eq!(exchange(&store, 3, NEXT, OK, at(60)).await, Ok(()));
}

pub(super) async fn after_the_end<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    end(&store, 1, T0).await;
    assert_eq!(exchange(&store, 2, SyncMessage { has_cred: true, ..NEXT }, OK, T0).await, BOUND, "not in the middle");
    assert_eq!(exchange(&store, 2, MESSAGE, OK_GIVEN, T0).await, Ok(()), "without Cred");
    assert_eq!(exchange(&store, 1, NEXT, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 2, SyncMessage { target: GIVEN, ..NEXT }, OK, T0).await, Ok(()));
    let dev_3 = SyncMessage { source: b"dev-3", target: GIVEN, ..FIRST };
    assert_eq!(exchange(&store, 3, dev_3, OK, T0).await, BOUND, "the target is the new owner's");
}

pub(super) async fn its_own_may_go_on<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    end(&store, 1, T0).await;
    assert_eq!(exchange(&store, 1, SyncMessage { target: GIVEN, ..NEXT }, OK_GIVEN, at(60)).await, Ok(()));
    let dev_2 = SyncMessage { source: b"dev-2", target: GIVEN, ..FIRST };
    assert_eq!(exchange(&store, 2, dev_2, OK, T0).await, Ok(()), "but its target is nobody's");
}

pub(super) async fn after_the_session_is_gone<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    keep(&store, &[2], 5, at(600)).await;
    assert_eq!(exchange(&store, 2, MESSAGE, OK, at(600)).await, BOUND);
    assert_eq!(exchange(&store, 2, NEXT, OK, at(601)).await, BOUND, "it begins again");
    let cred = SyncMessage { has_cred: true, target: GIVEN, ..NEXT };
    assert_eq!(exchange(&store, 2, cred, OK, at(601)).await, Ok(()));
    assert_eq!(exchange(&store, 1, FIRST, OK, at(601)).await, Err(Refused::SessionUnknown));
    for _ in 0..4 {
        assert!(!known(&store, sid(1), at(601)).await);
    }
    assert_eq!(store.counts().await.unwrap().sync_sessions, 1, "what it carried is forgotten with it");
}

pub(super) async fn in_plaintext<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 0, NEXT, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 0, MESSAGE, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 0, SyncMessage { source: b"dev-2", ..MESSAGE }, OK, T0).await, Ok(()));
}

pub(super) async fn its_target_in_plaintext<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    let dev_3 = SyncMessage { source: b"dev-3", target: GIVEN, ..MESSAGE };
    assert_eq!(exchange(&store, 0, dev_3, OK, T0).await, BOUND);
}

pub(super) async fn plaintext_never_takes_over<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 0, FIRST, OK, at(600)).await, BOUND);
    keep(&store, &[1, 2], 5, at(600)).await;
    assert_eq!(exchange(&store, 0, FIRST, OK, at(900)).await, BOUND);
}

pub(super) async fn plaintext_among_itself<S: Subject>() {
    let store: S = store(Limits::default()).await;
    assert_eq!(exchange(&store, 0, FIRST, OK_GIVEN, T0).await, Ok(()));
    assert_eq!(exchange(&store, 0, SyncMessage { target: GIVEN, ..NEXT }, OK, T0).await, Ok(()));
    // It owns nothing: a sealed session may begin it anew, and then has it.
    assert_eq!(exchange(&store, 1, NEXT, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 1, SyncMessage { target: GIVEN, ..MESSAGE }, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 0, FIRST, OK, T0).await, BOUND);
}

pub(super) async fn plaintext_given_the_same_target<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK_GIVEN, T0).await.unwrap();
    let dev_2 = SyncMessage { source: b"dev-2", ..MESSAGE };
    exchange(&store, 0, dev_2, Answer { resp_target: Some(GIVEN), ..CHALLENGE }, T0).await.unwrap();
    let at_target = SyncMessage { target: GIVEN, msg_id: b"2", ..dev_2 };
    assert_eq!(exchange(&store, 0, at_target, OK, T0).await, BOUND, "not for one that the server has not accepted");
    exchange(&store, 0, dev_2, OK_GIVEN, T0).await.unwrap();
    assert_eq!(exchange(&store, 0, at_target, OK, T0).await, Ok(()));
}

pub(super) async fn plaintext_expires<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 0, FIRST, OK, T0).await.unwrap();
    assert_eq!(exchange(&store, 0, NEXT, OK, at(600)).await, Ok(()));
    assert_eq!(exchange(&store, 0, NEXT, OK, at(1_200)).await, Ok(()));
    assert_eq!(exchange(&store, 0, NEXT, OK, at(1_801)).await, BOUND);
    assert_eq!(store.counts().await.unwrap().sync_sessions, 0);
}

pub(super) async fn plaintext_is_capped<S: Subject>() {
    let limits = Limits { plaintext_sync_sessions: 3, plaintext_sync_sessions_per_source: 2, ..Limits::default() };
    let store: S = store(limits).await;
    let begin = async |last: u8, id: &[u8], now| {
        let sender = Sender::Plaintext { source: IpAddr::from([192, 0, 2, last]) };
        store.check_binding(SyncMessage { session_id: id, ..FIRST }, sender, now).await.map(|_| ())
    };
    assert_eq!(begin(1, b"1", T0).await, Ok(()));
    assert_eq!(begin(1, b"2", T0).await, Ok(()));
    assert_eq!(begin(1, b"3", T0).await, Err(Refused::SyncSessionsFull), "from one source");
    assert_eq!(begin(1, b"2", T0).await, Ok(()), "the same anew takes no more room");
    assert_eq!(begin(2, b"4", T0).await, Ok(()));
    assert_eq!(begin(3, b"5", T0).await, Err(Refused::SyncSessionsFull), "in all");
    assert_eq!(exchange(&store, 1, SyncMessage { session_id: b"5", ..FIRST }, OK, T0).await, Ok(()), "not sealed ones");
    assert_eq!(begin(3, b"6", at(601)).await, Ok(()));
}

pub(super) async fn white_space_and_boundaries<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 1, FIRST, OK, T0).await.unwrap();
    let spaced = SyncMessage { source: b"\r\n dev-1\t", session_id: b" 7 ", msg_id: b"\n2 ", ..MESSAGE };
    assert_eq!(exchange(&store, 2, spaced, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 1, spaced, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 1, SyncMessage { msg_id: b" 1\n", session_id: b"8", ..MESSAGE }, OK, T0).await, Ok(()));
    // The parts of what it is known by do not run into each other.
    let shifted = SyncMessage { source: b"dev-17", session_id: b"", ..FIRST };
    assert_eq!(exchange(&store, 2, shifted, OK, T0).await, Ok(()));
}

pub(super) async fn a_shared_secret_is_one_terminal<S: Subject>() {
    let store: S = store(Limits::default()).await;
    exchange(&store, 11, FIRST, OK_GIVEN, T0).await.unwrap();
    for other in [0, 1, 13] {
        assert_eq!(exchange(&store, other, NEXT, OK, T0).await, BOUND);
    }
    assert_eq!(exchange(&store, 12, SyncMessage { target: GIVEN, ..NEXT }, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 11, NEXT, OK, T0).await, Ok(()), "in either sealed session");
    exchange(&store, 12, NEXT, OK, T0).await.unwrap();
    end(&store, 11, T0).await;
    assert_eq!(exchange(&store, 1, MESSAGE, OK, T0).await, BOUND, "12 carries it");
    assert_eq!(exchange(&store, 11, NEXT, OK, T0).await, Ok(()));
    assert_eq!(exchange(&store, 1, MESSAGE, OK, T0).await, BOUND, "and still does");
    end(&store, 12, T0).await;
    assert_eq!(exchange(&store, 1, MESSAGE, OK, T0).await, Ok(()));
}

pub(super) async fn a_terminal_cannot_fill_it<S: Subject>() {
    let store: S = store(Limits { sync_sessions: 4, ..Limits::default() }).await;
    for n in 0..100 {
        let id = [b'0' + n];
        assert_eq!(exchange(&store, 1, SyncMessage { session_id: &id, ..MESSAGE }, CHALLENGE, T0).await, Ok(()));
    }
    assert_eq!(store.counts().await.unwrap().sync_sessions, 4);
}

pub(super) async fn owners_are_not_forgotten<S: Subject>() {
    let store: S = store(Limits { sync_sessions: 2, ..Limits::default() }).await;
    let other = |session_id| SyncMessage { session_id, ..FIRST };
    exchange(&store, 1, FIRST, OK, T0).await.unwrap();
    exchange(&store, 1, other(b"8"), CHALLENGE, T0).await.unwrap();
    exchange(&store, 1, other(b"9"), OK, T0).await.unwrap();
    assert_eq!(exchange(&store, 1, other(b"10"), OK, T0).await, Err(Refused::SyncSessionsFull));
    assert_eq!(exchange(&store, 2, MESSAGE, OK, T0).await, BOUND);
    exchange(&store, 2, SyncMessage { source: b"dev-2", ..FIRST }, OK, T0).await.unwrap();
    exchange(&store, 2, SyncMessage { source: b"dev-2", ..other(b"8") }, OK, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, FIRST, OK, at(60)).await, Err(Refused::SyncSessionsFull), "nor by taking over");
    // One that was not used for as long as a sealed session may be idle gives way.
    keep(&store, &[1, 2], 5, at(500)).await;
    exchange(&store, 1, other(b"9"), OK, at(500)).await.unwrap();
    assert_eq!(exchange(&store, 1, other(b"10"), OK, at(600)).await, Ok(()));
    assert_eq!(exchange(&store, 2, other(b"9"), OK, at(559)).await, BOUND);
}

pub(super) async fn targets_are_bounded<S: Subject>() {
    let store: S = store(Limits { targets: 2, shared_targets: 1, ..Limits::default() }).await;
    let dev_2 = |target| SyncMessage { source: b"dev-2", target, ..MESSAGE };
    for given in [b"/a", b"/b", b"/c"] {
        exchange(&store, 1, FIRST, Answer { resp_target: Some(given), ..OK }, T0).await.unwrap();
    }
    assert_eq!(exchange(&store, 2, dev_2(b"/a"), CHALLENGE, T0).await, Ok(()), "the oldest gave way");
    assert_eq!(exchange(&store, 2, dev_2(b"/b"), CHALLENGE, T0).await, BOUND);
    assert_eq!(exchange(&store, 2, dev_2(b"/c"), CHALLENGE, T0).await, BOUND);
    for given in [b"/b", b"/c"] {
        exchange(&store, 2, dev_2(b"/"), Answer { resp_target: Some(given), ..OK }, T0).await.unwrap();
    }
    let dev_3 = |target| SyncMessage { source: b"dev-3", target, ..MESSAGE };
    assert_eq!(exchange(&store, 3, dev_3(b"/c"), OK, T0).await, Ok(()), "known to be nobody's");
}

pub(super) async fn an_early_message_binds<S: Subject>() {
    let store: S = store(Limits::default()).await;
    let reserved = store.reserve(facts(4), T0).await.unwrap();
    let pass = check(&store, 4, FIRST, T0).await.unwrap();
    store.answered(pass, OK_GIVEN, T0).await;
    store.begin(reserved, S::keys(sid(4)), false, T0).await.unwrap();
    assert_eq!(exchange(&store, 2, NEXT, OK, T0).await, BOUND);
    assert_eq!(exchange(&store, 4, SyncMessage { target: GIVEN, ..NEXT }, OK, T0).await, Ok(()));
}

pub(super) async fn an_unknown_sender<S: Subject>() {
    let store: S = store(Limits::default()).await;
    assert_eq!(exchange(&store, 99, FIRST, OK, T0).await, Err(Refused::SessionUnknown));
    assert_eq!(store.counts().await.unwrap().sync_sessions, 0);
}

pub(super) async fn a_dropped_reservation_binds_nothing<S: Subject>() {
    let store: S = store(Limits::default()).await;
    let reserved = store.reserve(facts(4), T0).await.unwrap();
    let pass = check(&store, 4, FIRST, T0).await.unwrap();
    drop(reserved);
    store.answered(pass, OK_GIVEN, T0).await;
    assert_eq!(store.counts().await.unwrap().sync_sessions, 0);
    assert_eq!(exchange(&store, 2, FIRST, OK, T0).await, Ok(()));
}
