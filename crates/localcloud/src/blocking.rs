//! Work that would keep a runtime's threads from others.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

/// Does `work` on a thread of its own, or at once on a runtime of a single thread, where the order of things is then the
/// same each time.
///
/// # Errors
/// The work panicked.
pub(crate) async fn off_executor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => spawn_blocking(work).await,
    }
}
