//! What moves a run: one event, one file. Its states, and those of its tables, are in `instance`.
//!
//! ```text
//! place ──> pending ── begin ──> running ── count (the last table) ──> completed ── place is left
//!                         └─ failed             └──────── terminate ──> terminated ──┘
//! ```

pub mod begin;
pub mod count;
pub mod place;
pub mod terminate;
