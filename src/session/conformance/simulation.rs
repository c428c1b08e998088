//! Any operations in any order, and many at once: no number is accepted twice, and no two responses are given for one.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::session::Waiter;

/// One step. Sessions, numbers and bodies come from a few, so that they meet often.
#[derive(Clone, Debug)]
enum Step {
    Begin { session: u32 },
    Probe { session: u32, n: u64, body: u8 },
    Accept { session: u32, n: u64, body: u8 },
    Complete { which: usize, end: bool, size: usize },
    Drop { which: usize },
    LeaveWaiter { which: usize },
    Pass { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (session, n, body) = (|| 0..4_u32, || 0..7_u64, || 0..3_u8);
    prop_oneof![
        1 => session().prop_map(|session| Step::Begin { session }),
        4 => (session(), n(), body()).prop_map(|(session, n, body)| Step::Probe { session, n, body }),
        8 => (session(), n(), body()).prop_map(|(session, n, body)| Step::Accept { session, n, body }),
        6 => (any::<usize>(), prop::bool::weighted(0.1), 0..2_000_usize)
            .prop_map(|(which, end, size)| Step::Complete { which, end, size }),
        1 => any::<usize>().prop_map(|which| Step::Drop { which }),
        1 => any::<usize>().prop_map(|which| Step::LeaveWaiter { which }),
        1 => (0..200_u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// What has been seen of one number in one session.
#[derive(Debug, Default)]
struct Seen {
    accepted_as: Option<u8>,
    response: Option<Response>,
    repeats: u32,
}

/// What any store must have done, whatever it was told to do.
#[derive(Debug, Default)]
struct Model {
    seen: HashMap<(Sid, Number), Seen>,
    highest: HashMap<Sid, Number>,
}

impl Model {
    fn accepted(&mut self, sid: Sid, number: Number, body: u8) {
        let highest = self.highest.entry(sid).or_insert(Number::ZERO);
        assert!(number > *highest, "{number:?} was accepted after {highest:?}");
        *highest = number;
        let seen = self.seen.entry((sid, number)).or_default();
        assert_eq!(seen.accepted_as.replace(body), None, "{number:?} was accepted twice");
    }

    fn completed(&mut self, sid: Sid, number: Number, response: Response) {
        let seen = self.seen.entry((sid, number)).or_default();
        assert_eq!(seen.response.replace(response), None, "{number:?} was answered twice");
    }

    fn known(&mut self, sid: Sid, number: Number, body: u8) {
        assert_eq!(self.highest.get(&sid), Some(&number), "only the highest is answered again");
        let seen = self.seen.entry((sid, number)).or_default();
        assert_eq!(seen.accepted_as, Some(body), "only the same bytes are");
        seen.repeats += 1;
        assert!(seen.repeats <= 5, "and five times at the most");
    }

    fn repeated(&mut self, sid: Sid, number: Number, body: u8, response: &Response) {
        self.known(sid, number, body);
        assert_eq!(self.seen.get(&(sid, number)).and_then(|seen| seen.response.as_ref()), Some(response));
    }
}

async fn run<S: Subject>(steps: Vec<Step>) {
    let limits = Limits { stored_responses: 3_000, sessions: 3, ..Limits::default() };
    let store = S::fresh(limits, UnixTime(0)).await;
    let mut model = Model::default();
    let mut now = T0;
    let (mut drawn, mut current) = (0, HashMap::new());
    let mut in_progress: Vec<(Sid, Number, S::Accepted)> = Vec::new();
    let mut waiting: Vec<(Sid, Number, Waiter)> = Vec::new();
    for (call, step) in (0..).zip(steps) {
        match step {
            Step::Begin { session } => {
                // An id is drawn afresh each time, as a gateway does.
                drawn += 1;
                let Ok(reserved) = store.reserve(facts(drawn), now).await else { continue };
                store.begin(reserved, S::keys(sid(drawn)), false, now).await.unwrap();
                current.insert(session, sid(drawn));
            }
            Step::Probe { session, n, body } => {
                let Some(&sid) = current.get(&session) else { continue };
                match store.probe(sid, number(n), digest(body), now).await {
                    Ok(Probe::Repeat(response)) => model.repeated(sid, number(n), body, &response),
                    Ok(Probe::Wait(waiter)) => {
                        model.known(sid, number(n), body);
                        waiting.push((sid, number(n), waiter));
                    }
                    Ok(Probe::Higher) => assert!(model.highest.get(&sid).is_none_or(|highest| number(n) > *highest)),
                    Err(_) => {}
                }
            }
            Step::Accept { session, n, body } => {
                let Some(&sid) = current.get(&session) else { continue };
                match store.accept(sid, number(n), digest(body), now).await {
                    Ok(Outcome::Accepted(accepted)) => {
                        model.accepted(sid, number(n), body);
                        in_progress.push((sid, number(n), accepted));
                    }
                    Ok(Outcome::Repeat(response)) => model.repeated(sid, number(n), body, &response),
                    Ok(Outcome::Wait(waiter)) => {
                        model.known(sid, number(n), body);
                        waiting.push((sid, number(n), waiter));
                    }
                    Err(_) => {}
                }
            }
            Step::Complete { which, end, size } if !in_progress.is_empty() => {
                let (sid, number, accepted) = in_progress.swap_remove(which % in_progress.len());
                let sent = store
                    .complete(accepted, end, now, |session, sealed_for| {
                        assert_eq!((session.facts.sid, sealed_for), (sid, number));
                        response(&format!("{sid} {} {call} {}", number.value(), "x".repeat(size)))
                    })
                    .await;
                model.completed(sid, number, sent);
            }
            Step::Drop { which } if !in_progress.is_empty() => {
                in_progress.swap_remove(which % in_progress.len());
            }
            Step::LeaveWaiter { which } if !waiting.is_empty() => {
                waiting.swap_remove(which % waiting.len());
            }
            Step::Pass { seconds } => now = UnixTime(now.0 + seconds),
            Step::Complete { .. } | Step::Drop { .. } | Step::LeaveWaiter { .. } => {}
        }
        assert!(store.counts().await.unwrap().stored_responses <= 3_000);
        assert!(store.counts().await.unwrap().sessions <= 3);
    }
    drop(in_progress);
    for (sid, number, waiter) in waiting {
        // Everything was answered or given up: nobody waits in vain.
        match waiter.response().await {
            Ok(response) => assert_eq!(model.seen[&(sid, number)].response, Some(response)),
            Err(refused) => assert!(matches!(refused, Refused::Overtaken | Refused::Replayed)),
        }
    }
}

pub(super) async fn any_operations<S: Subject>() {
    let mut runner = TestRunner::new(Config::default());
    let strategy = prop::collection::vec(step(), 0..150);
    for _ in 0..256 {
        let mut tree = strategy.new_tree(&mut runner).unwrap();
        loop {
            // A failing run is made shorter as long as it fails; what is left is shown.
            let steps = tree.current();
            let failed = tokio::spawn(run::<S>(steps.clone())).await.is_err();
            if !failed {
                break;
            }
            if !tree.simplify() {
                panic!("{steps:#?}");
            }
        }
    }
}

/// Tasks that send the same few numbers of one session at once, as retransmissions over several connections are.
pub(super) async fn concurrent_tasks<S: Subject>() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let store = S::fresh(Limits::default(), UnixTime(0)).await;
    let sid = begin(&store, 1, T0).await;
    let sealed = Arc::new(AtomicU32::new(0));
    let accepted_numbers = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::new(Mutex::new(HashMap::<Number, HashSet<Bytes>>::new()));
    let tasks: Vec<_> = (0..16_u64)
        .map(|task| {
            let (store, sealed) = (store.clone(), sealed.clone());
            let (accepted_numbers, given) = (accepted_numbers.clone(), given.clone());
            runtime.spawn(async move {
                for n in 1..=200 {
                    let number = number(n);
                    let response = match store.accept(sid, number, digest(1), T0).await {
                        Ok(Outcome::Accepted(accepted)) => {
                            accepted_numbers.lock().unwrap().push(number);
                            if (n + task) % 3 == 0 {
                                tokio::task::yield_now().await;
                            }
                            if n % 7 == 0 {
                                continue;
                            }
                            let seal = |_: &_, number| made(sid, number, sealed.fetch_add(1, Ordering::Relaxed));
                            store.complete(accepted, false, T0, seal).await
                        }
                        Ok(Outcome::Repeat(response)) => response,
                        Ok(Outcome::Wait(waiter)) => match waiter.response().await {
                            Ok(response) => response,
                            Err(_) => continue,
                        },
                        Err(refused) => {
                            assert_eq!(refused, Refused::Replayed);
                            continue;
                        }
                    };
                    given.lock().unwrap().entry(number).or_default().insert(response.body);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    runtime.shutdown_background();
    let numbers = accepted_numbers.lock().unwrap().clone();
    let distinct: HashSet<_> = numbers.iter().collect();
    assert_eq!(distinct.len(), numbers.len(), "no number was accepted twice");
    assert_eq!(numbers.iter().max().copied(), Some(number(200)));
    let given = given.lock().unwrap();
    assert!(given.values().all(|bodies| bodies.len() == 1), "no number has two responses");
    assert_eq!(given.len(), sealed.load(Ordering::Relaxed) as usize);
}
