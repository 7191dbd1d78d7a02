//! The host's own time: the storage's clock, made to run faster by the time scale of tests and demos. Only timers read
//! it; what is hidden, delayed or stamped in the storage is on the storage's clock. A timer's stored status is on the host's
//! time, so that after a restart of a scaled host it may lie ahead, and starts over.

use crate::timestamp::{Clock, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// The host's time. With a scale of 1 it is the storage's.
#[derive(Clone)]
pub(crate) struct HostTime {
    clock: Arc<dyn Clock>,
    started: Timestamp,
    scale: f64,
}

impl HostTime {
    pub(crate) fn new(clock: Arc<dyn Clock>, scale: f64) -> Self {
        Self { started: clock.now(), clock, scale: if scale > 1.0 { scale } else { 1.0 } }
    }

    /// The present instant, the start plus what has passed since times the scale. What lies before the start, such
    /// as a missed occurrence of a timer, is where it is on the storage's clock.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        if self.scale > 1.0 { self.started + now.since(self.started).mul_f64(self.scale) } else { now }
    }

    /// How long a span of the host's time takes on the storage's clock.
    pub(crate) fn scaled(&self, span: Duration) -> Duration {
        if self.scale > 1.0 { span.div_f64(self.scale) } else { span }
    }

    /// Waits for a span of the host's time.
    pub(crate) async fn sleep(&self, span: Duration) {
        tokio::time::sleep(self.scaled(span)).await;
    }
}
