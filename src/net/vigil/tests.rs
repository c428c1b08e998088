//! The rules of time, on tokio's own clock.

use std::pin::pin;

use tokio::time::timeout;

use super::*;

const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

fn vigil() -> Arc<Vigil> {
    Arc::new(Vigil::new(HEAD, IDLE))
}

/// The seconds after which the connection's time is over, and what then.
async fn expiry(vigil: &Vigil) -> (u64, Verdict) {
    let start = Instant::now();
    let verdict = vigil.expired(&Notify::new()).await;
    (start.elapsed().as_secs(), verdict)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_head_is_due_from_the_accept() {
    let vigil = vigil();
    pass(4).await;
    vigil.has_read();
    assert_eq!(expiry(&vigil).await, (6, Verdict::Overdue));
}

#[tokio::test(start_paused = true)]
async fn a_later_head_is_due_from_its_first_byte() {
    let vigil = vigil();
    drop(vigil.exchange(Version::HTTP_11));
    pass(30).await;
    vigil.has_read();
    pass(4).await;
    vigil.has_read();
    assert_eq!(expiry(&vigil).await, (6, Verdict::Overdue));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_while_idleness_is_awaited_is_noticed() {
    let vigil = vigil();
    drop(vigil.exchange(Version::HTTP_11));
    let reader = async {
        pass(20).await;
        vigil.has_read();
    };
    let (expiry, ()) = tokio::join!(expiry(&vigil), reader);
    assert_eq!(expiry, (30, Verdict::Overdue));
}

#[tokio::test(start_paused = true)]
async fn between_exchanges_it_is_idle() {
    let vigil = vigil();
    let exchange = vigil.exchange(Version::HTTP_11);
    pass(1000).await;
    drop(exchange);
    assert_eq!(expiry(&vigil).await, (60, Verdict::Idle));
}

#[tokio::test(start_paused = true)]
async fn nothing_expires_during_an_exchange() {
    let vigil = vigil();
    let first = vigil.exchange(Version::HTTP_2);
    let second = vigil.exchange(Version::HTTP_2);
    drop(first);
    let nobody = Notify::new();
    tokio::select! {
        verdict = vigil.expired(&nobody) => panic!("{verdict:?}"),
        () = pass(100_000) => {}
    }
    drop(second);
    assert_eq!(expiry(&vigil).await, (60, Verdict::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_the_answer_is_not_idle() {
    let vigil = vigil();
    drop(vigil.exchange(Version::HTTP_11));
    let reader = async {
        for _ in 0..5 {
            pass(50).await;
            vigil.has_written();
        }
    };
    let (expiry, ()) = tokio::join!(expiry(&vigil), reader);
    assert_eq!(expiry, (310, Verdict::Idle));
}

#[tokio::test(start_paused = true)]
async fn frames_between_requests_are_no_head() {
    let vigil = vigil();
    drop(vigil.exchange(Version::HTTP_2));
    pass(20).await;
    vigil.has_read();
    assert_eq!(expiry(&vigil).await, (40, Verdict::Idle));
}

#[tokio::test(start_paused = true)]
async fn who_was_told_of_the_end_has_little_time_left() {
    let vigil = vigil();
    let exchange = vigil.exchange(Version::HTTP_2);
    vigil.leave();
    pass(30).await;
    drop(exchange);
    assert_eq!(expiry(&vigil).await, (LINGER.as_secs(), Verdict::Overdue));
}

#[tokio::test(start_paused = true)]
async fn the_one_that_has_waited_longest_makes_room() {
    let (busy, first, second, wanted) = (vigil(), vigil(), vigil(), Notify::new());
    let exchange = busy.exchange(Version::HTTP_11);
    drop(first.exchange(Version::HTTP_11));
    let mut at_busy = pin!(busy.expired(&wanted));
    let mut at_first = pin!(first.expired(&wanted));
    let mut at_second = pin!(second.expired(&wanted));
    let mut waiting = async || {
        tokio::select! {
            biased;
            verdict = &mut at_busy => ("busy", verdict),
            verdict = &mut at_first => ("first", verdict),
            verdict = &mut at_second => ("second", verdict),
            () = wanted.notified() => panic!("nobody made room"),
        }
    };
    assert!(timeout(Duration::from_secs(1), waiting()).await.is_err());
    wanted.notify_one();
    assert_eq!(waiting().await, ("first", Verdict::Unwanted { in_head: false }));
    drop(exchange);
    wanted.notify_one();
    assert_eq!(at_second.await, Verdict::Unwanted { in_head: true });
}
