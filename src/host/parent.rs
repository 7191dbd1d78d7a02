//! The handler ends with its host: a handler that outlives a killed host would go on working unseen.

/// The environment variable in which the host hands its process id to the handler.
pub const HOST_PID: &str = "ADXINGESTOR_HOST_PID";

/// The parent of this process is not (or no longer) the one that was named.
#[derive(Debug, thiserror::Error)]
pub enum Orphaned {
    /// The host has ended already.
    #[error("the host process {expected} has ended; the handler ends too")]
    Gone {
        /// The process id handed over by the host.
        expected: u32,
    },
    /// The operating system refused.
    #[error("cannot ask the operating system to end this process with its host: {0}")]
    Refused(#[source] std::io::Error),
}

/// Lets the operating system kill this process when `expected_parent` ends. To be called by the handler, first of
/// all, with the value of [`HOST_PID`], on a thread that lives as long as the process (the main thread): the wish is
/// kept with the thread. On systems without such a signal it does nothing.
///
/// # Errors
/// [`Orphaned::Gone`] when the parent has ended before the call: the caller should exit.
pub fn die_with_parent(expected_parent: u32) -> Result<(), Orphaned> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| Orphaned::Refused(error.into()))?;
        // The parent may have ended between the start of this process and the call above.
        let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
        if parent.and_then(|pid| u32::try_from(pid).ok()) != Some(expected_parent) {
            return Err(Orphaned::Gone { expected: expected_parent });
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = expected_parent;
    Ok(())
}
