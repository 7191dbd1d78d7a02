//! `adxingestor setup`: what it prints and sends, held against golden files; and what it does in the simulated cloud.

mod commands;
#[path = "../../adx_wire/fake.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod fake;
#[path = "installed.rs"]
mod installed_before;
#[path = "../../support/metadata_names.rs"]
mod metadata_names;
mod tenant;
