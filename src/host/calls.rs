//! Owns the calls that run beside their callers: a function runs on when its caller hangs up.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Running calls. They are aborted with the last handle.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Calls {
    /// Starts a call; the receiver gets what it gives.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let result = call.await;
            // The caller may have hung up.
            let _ = sender.send(result);
        });
        receiver
    }

    /// Waits until no call runs. The caller bounds the time.
    pub(crate) async fn finished(&self) {
        poll_fn(|context| {
            let mut tasks = self.tasks();
            loop {
                match tasks.poll_join_next(context) {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
