//! `adxingestor setup`: what it prints and sends, held against golden files; and what it does in the simulated cloud.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "setup/commands.rs"]
mod commands;
#[path = "adx_wire/fake.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod fake;
#[path = "setup/installed.rs"]
mod installed_before;
#[path = "support/mod.rs"]
mod support;
#[path = "setup/tenant.rs"]
mod tenant;
