//! The way of a wish for a reload, from whoever asked for it to whoever can grant it.

use http::StatusCode;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// Wishes that may wait; one more is turned away.
const WAITING: usize = 4;

/// Where wishes come in, one at a time.
#[derive(Debug)]
pub struct Reloads(mpsc::Receiver<ReloadWish>);

/// Where wishes are sent from. Clones send to the same place.
#[derive(Clone, Debug)]
pub struct ReloadSender(mpsc::Sender<ReloadWish>);

/// Someone wants the policy to be read again.
#[derive(Debug)]
pub struct ReloadWish {
    /// Past the guard against locking devices out.
    pub force: bool,
    answer: oneshot::Sender<ReloadAnswer>,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq)]
pub struct ReloadAnswer {
    /// 200 if the policy was applied, otherwise an error's.
    pub status: StatusCode,
    /// What was applied, or why not.
    pub body: Value,
}

/// A way for wishes.
pub fn reloads() -> (ReloadSender, Reloads) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (ReloadSender(sender), Reloads(receiver))
}

impl Reloads {
    /// The next wish; `None` once nobody is left to have one.
    pub async fn next(&mut self) -> Option<ReloadWish> {
        self.0.recv().await
    }
}

impl ReloadWish {
    /// Tells whoever asked what became of it, if it is still there to hear of it.
    pub fn answer(self, answer: ReloadAnswer) {
        // It has gone away; the reload was done, or not, all the same.
        let _ = self.answer.send(answer);
    }
}

impl ReloadSender {
    /// Sends a wish, and waits for what becomes of it. `None` if too many wait, or nobody answers.
    pub(super) async fn send(&self, force: bool) -> Option<ReloadAnswer> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(ReloadWish { force, answer }).ok()?;
        answered.await.ok()
    }
}
