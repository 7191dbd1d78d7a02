//! What is counted and timed: the requests that a window costs, and the time from a kill to the next step. By itself, as other work
//! beside it would make for other figures; those that are measured stand in `docs/architecture.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/identity.rs"]
mod identity;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/wiring.rs"]
mod wiring;

mod kills;
mod on_azurite;
mod transactions;

/// Those whose figures other work may change have the machine to themselves, as far as this program goes.
static QUIET: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());
