//! The whole system on one machine: the real binary over the real function folders, and the simulated cloud. One program, because
//! most of its tests wait for timers and are over the sooner the more of them wait together.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
#[path = "../scenarios/mod.rs"]
mod scenarios;
#[path = "../support/mod.rs"]
mod support;

mod durable_client;
mod on_azurite;
mod on_sqlite;
mod package;
mod single_run;
