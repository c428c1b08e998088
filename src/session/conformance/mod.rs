//! What every [`SessionStore`] must do, written over the port: `conformance!` runs it against one.
//!
//! Time is moved by hand. A store under test is empty, has the limits it is given, and keys that mean nothing.

mod bindings;
mod early;
mod lifetimes;
mod numbers;
mod simulation;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;

use super::{
    Digest, Kid, Limits, MemoryStore, Outcome, Probe, Refused, Response, SessionFacts, SessionStore, UnixTime,
    redis::RedisStore,
};
use crate::{
    crypto::KeyId,
    seal::{Layer, Number, SessionKeys, Sid},
};

/// A store that can be put under test.
trait Subject: SessionStore + Clone {
    /// An empty one that began then.
    fn fresh(limits: Limits, began: UnixTime) -> impl Future<Output = Self> + Send;
    /// Keys for a session, which mean nothing.
    fn keys(sid: Sid) -> Arc<Self::Keys>;
}

impl Subject for MemoryStore<()> {
    async fn fresh(limits: Limits, began: UnixTime) -> Self {
        Self::new(limits, began)
    }

    fn keys(_: Sid) -> Arc<()> {
        Arc::new(())
    }
}

/// Runs the tests of this folder against a store: all of them, or those that are named.
macro_rules! conformance {
    ($store:ty: $($module:ident { $($test:ident),* $(,)? })*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $test() {
                crate::session::conformance::$module::$test::<$store>().await;
            })*
        })*
    };
    ($store:ty) => {
        $crate::session::conformance::conformance! { $store:
            numbers {
                a_retransmission_is_answered_five_times, anything_but_the_highest_is_replayed, other_bytes_are_replayed,
                a_probe_changes_nothing, numbers_may_be_skipped, the_newest_retransmission_waits, waiting_counts,
                a_dropped_request_is_never_answered, a_panic_while_sealing_uses_the_number_up,
                a_waiter_gets_its_answer_past_a_higher_number, the_same_request_opened_twice_is_accepted_once,
                so_many_requests_and_no_more, stored_responses_keep_to_their_budget,
                a_response_over_the_budget_is_not_stored, an_unknown_session_is_unknown, sessions_do_not_mix,
            }
            lifetimes {
                idle, idle_counts_from_the_answer, idle_after_end, a_next_number_is_taken_after_end, no_second_request,
                an_early_session_that_ended, age, a_request_in_progress_is_not_idle, retransmissions_prolong_nothing,
                time_that_goes_back, a_reserved_session_is_not_found, a_dropped_reservation_leaves_nothing,
                new_ones_push_out_pending_ones_only, reserved_ones_are_not_pushed_out, cap_for_a_source,
                sources_are_counted_by_prefix, cap_for_a_secret, cap_for_an_rsa_key, expired_ones_make_room,
                an_id_is_not_given_twice, an_answer_after_the_end_is_still_given,
            }
            early {
                once, the_window_is_inclusive, after_the_memory_began, remembered_for_twice_the_window,
                a_full_memory_refuses, a_clock_set_back_lets_nothing_in_again, a_probe_remembers_nothing,
            }
            bindings {
                begins_in_the_middle, with_cred_it_may, goes_on_elsewhere, msg_id_1_without_cred_of_an_owned_one,
                not_yet_owned, owned_after_200_or_212_only, target_of_another, targets_of_another_route,
                targets_given_before_the_server_accepts, a_respuri_for_all, a_respuri_without_a_session,
                a_respuri_above_the_first_target, ownership_passes, owner_active, ownership_stays,
                takeover_at_a_target_of_somebody, an_answer_to_a_message_from_before, after_the_end, its_own_may_go_on,
                after_the_session_is_gone, in_plaintext, its_target_in_plaintext, plaintext_never_takes_over,
                plaintext_among_itself, plaintext_given_the_same_target, plaintext_expires, plaintext_is_capped,
                white_space_and_boundaries, a_shared_secret_is_one_terminal, a_terminal_cannot_fill_it,
                owners_are_not_forgotten, targets_are_bounded, an_early_message_binds, an_unknown_sender,
                a_dropped_reservation_binds_nothing,
            }
            simulation { any_operations, concurrent_tasks }
        }
    };
}
use conformance;

mod memory {
    super::conformance! { crate::session::MemoryStore<()> }
}

impl Subject for RedisStore {
    async fn fresh(limits: Limits, began: UnixTime) -> Self {
        super::redis::tests::fresh(limits, began).await
    }

    fn keys(sid: Sid) -> Arc<SessionKeys> {
        Arc::new(SessionKeys::meaningless(sid))
    }
}

mod redis {
    super::conformance! { crate::session::redis::RedisStore }
}

/// Where the tests begin.
const T0: UnixTime = UnixTime(1_790_000_000);

/// `T0` and so many seconds.
fn at(seconds: u64) -> UnixTime {
    UnixTime(T0.0 + seconds)
}

fn number(value: u64) -> Number {
    Number::new(value).unwrap()
}

fn sid(n: u32) -> Sid {
    let mut sid = [0; 16];
    sid[..4].copy_from_slice(&n.to_be_bytes());
    Sid(sid)
}

fn facts(n: u32) -> SessionFacts {
    SessionFacts {
        sid: sid(n),
        layer: Layer::Message,
        route: "main".into(),
        kid: Kid::Rsa(KeyId([7; 32])),
        secret: None,
        source: IpAddr::from([192, 0, 2, 1]),
    }
}

/// The digest of a request that is known by one byte.
fn digest(body: u8) -> Digest {
    [body; 32]
}

fn response(text: &str) -> Response {
    Response { content_type: Bytes::from_static(b"application/cose"), body: Bytes::copy_from_slice(text.as_bytes()) }
}

/// The response that tells by which session, number and call it was made.
fn made(sid: Sid, number: Number, call: u32) -> Response {
    response(&format!("{sid} {} {call}", number.value()))
}

/// How a request was answered.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// It was accepted, and this is its response.
    New(Response),
    /// It was a retransmission.
    Again(Response),
    /// It was a retransmission of one in progress.
    Waits,
}

/// Reserves and begins a session.
async fn begin<S: Subject>(store: &S, n: u32, now: UnixTime) -> Sid {
    begin_with(store, facts(n), now).await
}

async fn begin_with<S: Subject>(store: &S, facts: SessionFacts, now: UnixTime) -> Sid {
    let sid = facts.sid;
    let reserved = store.reserve(facts, now).await.unwrap();
    store.begin(reserved, S::keys(sid), false, now).await.unwrap();
    sid
}

/// A session that had its second request.
async fn established<S: Subject>(store: &S, n: u32, now: UnixTime) -> Sid {
    let sid = begin(store, n, now).await;
    send(store, sid, 1, 1, now).await.unwrap();
    sid
}

/// Accepts a request that must be new.
async fn accept<S: Subject>(store: &S, sid: Sid, n: u64, body: u8, now: UnixTime) -> S::Accepted {
    match store.accept(sid, number(n), digest(body), now).await {
        Ok(Outcome::Accepted(accepted)) => accepted,
        other => panic!("not accepted: {:?}", other.map(|_| "known").map_err(|refused| refused.to_string())),
    }
}

/// Sends a request all the way.
async fn send<S: Subject>(store: &S, sid: Sid, n: u64, body: u8, now: UnixTime) -> Result<Said, Refused> {
    send_ending(store, sid, n, body, false, now).await
}

async fn send_ending<S: Subject>(
    store: &S,
    sid: Sid,
    n: u64,
    body: u8,
    end: bool,
    now: UnixTime,
) -> Result<Said, Refused> {
    match store.probe(sid, number(n), digest(body), now).await? {
        Probe::Higher => {}
        Probe::Repeat(response) => return Ok(Said::Again(response)),
        Probe::Wait(_) => return Ok(Said::Waits),
    }
    match store.accept(sid, number(n), digest(body), now).await? {
        Outcome::Accepted(accepted) => {
            let seal = |session: &super::Session<S::Keys>, number| made(session.facts.sid, number, 0);
            Ok(Said::New(store.complete(accepted, end, now, seal).await))
        }
        Outcome::Repeat(response) => Ok(Said::Again(response)),
        Outcome::Wait(_) => Ok(Said::Waits),
    }
}

/// Whether a session is known.
async fn known<S: Subject>(store: &S, sid: Sid, now: UnixTime) -> bool {
    match store.find(sid, now).await {
        Ok(session) => {
            assert_eq!(session.facts.sid, sid);
            true
        }
        Err(refused) => {
            assert_eq!(refused, Refused::SessionUnknown);
            // Whatever is asked, the answer is the same.
            assert_eq!(store.probe(sid, Number::MAX, digest(99), now).await.unwrap_err(), refused);
            assert_eq!(store.accept(sid, Number::MAX, digest(99), now).await.map(|_| ()).unwrap_err(), refused);
            false
        }
    }
}
