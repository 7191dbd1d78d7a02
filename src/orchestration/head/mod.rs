//! What moves the head of a table besides the end of a window (`fan_in`): one event, one file.
//!
//! ```text
//! idle ── take ──> planning ── plan ──> running ── verify ──> finishing ── finish ──> idle
//!   ▲                 │  └─── no plan ─────┐ └─ plan without open windows ─┘
//!   ├─────────────────┴────────────────────┘       stop, hold: no new claims, in any of these
//!   └─── given_up ─── running, finishing
//! ```
//!
//! A head that a run left behind is taken by the next one in whatever state it is.

pub mod finish;
pub mod gap;
pub mod given_up;
pub mod handover;
pub mod hold;
pub mod learn;
pub mod lost;
pub mod merge;
pub mod narrow;
pub mod nulls;
pub mod plan;
pub mod purge;
pub mod stall;
pub mod stop;
pub mod survey;
pub mod take;
#[cfg(test)]
pub(crate) mod testing;
pub mod unplanned;
pub mod verify;
#[cfg(test)]
mod walk;
