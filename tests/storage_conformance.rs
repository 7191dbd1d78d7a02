//! The storage adapters of one machine against the promises of the ports.

#[macro_use]
mod conformance;

use adxingestor::storage;
use conformance::{Harness, SettableClock, Time};

conformance_tests!(memory, crate::memory());

fn memory() -> Harness {
    let clock = SettableClock::new();
    Harness::new(storage::memory(clock.clone()), Time::Set(clock), ())
}
