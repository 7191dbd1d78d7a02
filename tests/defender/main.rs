//! What is asked of the hunting services, and what their answers become.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/identity.rs"]
mod identity;

mod queries;
mod rows;
