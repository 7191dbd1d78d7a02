//! The whole system on one machine: the real binary over the real function folders, and the simulated cloud. One program, because
//! most of its tests wait for processes and timers and are over the sooner the more of them wait together.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
#[path = "../scenarios/mod.rs"]
mod scenarios;
#[path = "../support/mod.rs"]
mod support;

mod cli_run;
mod dashboard;
mod deploy;
mod doctor;
mod durable_client;
mod kusto_sdk;
mod on_azurite;
mod on_sqlite;
mod package;
mod setup;
mod single_run;
mod telemetry;
