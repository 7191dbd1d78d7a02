//! What moves a run: one event, one file. Its states, and those of its tables, are in `instance`.
//!
//! ```text
//!           ┌──────────── rewind, restart (as itself) ────────────┐
//!           ▼                                                     │
//! place ──> pending ── begin ──> running ── count (the last table) ──> completed ── place is left
//!            │  ▲  └─ failed      │  ▲  └──────── terminate ──> terminated ──┘
//!            ▼  │                 ▼  │
//!           suspended ────────── suspended          (suspend, resume)
//! ```

pub mod asked;
pub mod begin;
pub mod count;
pub mod listed;
pub mod nightly;
pub mod place;
pub mod purge;
pub mod restart;
pub mod resume;
pub mod rewind;
pub mod suspend;
pub mod terminate;
