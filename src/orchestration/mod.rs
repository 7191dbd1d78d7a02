//! The rules of a run: (state, event, now) in, (state, effects) out. No I/O, no clock, no randomness: those
//! come in as arguments, so that a test can play every crash, repeat and delay. The protocol that these
//! rules keep is described in `docs/architecture.md`.

pub mod adoption;
pub mod auditor;
pub mod budget;
pub mod call_history;
pub mod chunk;
pub mod difference;
pub mod fan_in;
pub mod head;
pub mod history;
pub mod ids;
pub mod instance;
pub mod ledger;
pub mod limits;
pub mod line;
pub mod message;
pub mod null_watermarks;
pub mod outcome;
pub mod plan;
pub mod recount;
pub mod refine;
pub mod removal;
pub mod renewal;
pub mod repair;
pub mod repairs;
pub mod response_cap;
pub mod run;
pub mod sizing;
pub mod snapshot;
#[cfg(test)]
mod states;
pub mod summary;
pub mod verification;
pub mod watchdog;
pub mod window;
pub mod write;

/// Why a transition was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} cannot {event} while it is {state}")]
pub struct IllegalTransition {
    /// The record.
    pub what: String,
    /// What was to happen.
    pub event: &'static str,
    /// The state it is in.
    pub state: String,
}
