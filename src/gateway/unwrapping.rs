//! Private-key operations: off the async threads, as many at a time as there are cores, with a bound on those that wait.

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::seal::Reason;

/// Lets private-key operations run, a few at a time.
#[derive(Debug)]
pub(super) struct Unwrapping {
    /// A place for each that runs or waits.
    places: Semaphore,
    /// One for each that runs.
    running: Semaphore,
}

impl Unwrapping {
    /// Lets `waiting` operations wait beside those that run.
    pub(super) fn new(waiting: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { places: Semaphore::new(cores.saturating_add(waiting)), running: Semaphore::new(cores) }
    }

    /// Runs `operation` when it is its turn.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] when too many wait already.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Reason> {
        let _place = self.places.try_acquire().map_err(|_| Reason::Overloaded)?;
        let _turn = self.running.acquire().await.map_err(|_| Reason::Overloaded)?;
        // It fails only when the operation panicked or the runtime ends.
        spawn_blocking(operation).await.map_err(|_| Reason::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn more_than_may_wait_are_turned_away() {
        let unwrapping = Arc::new(Unwrapping { places: Semaphore::new(2), running: Semaphore::new(1) });
        let (release, held) = channel::<()>();
        let first = tokio::spawn({
            let unwrapping = Arc::clone(&unwrapping);
            async move { unwrapping.run(move || held.recv().is_ok()).await }
        });
        while unwrapping.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let unwrapping = Arc::clone(&unwrapping);
            async move { unwrapping.run(|| 2).await }
        });
        while unwrapping.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(unwrapping.run(|| 3).await, Err(Reason::Overloaded));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(true));
        assert_eq!(second.await.unwrap(), Ok(2));
        assert_eq!(unwrapping.run(|| 4).await, Ok(4));
    }
}
