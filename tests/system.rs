//! The whole system on one machine: its state in one SQLite file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod scenarios;
mod support;

use support::Store;

system_tests!(Store::sqlite(), and services);
