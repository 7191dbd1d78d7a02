//! The source: Microsoft Defender's advanced hunting. Writes the queries, makes the calls, reads the answers.
//! Knows nothing of where rows go, and keeps no state between calls.

mod client;
mod error;
pub mod plain;
pub mod queries;
mod reader;
mod rows;
pub mod scanner;
#[cfg(test)]
mod testing;

pub use client::{Client, Dialect, Limits, Packed, Query, RETIREMENT};
pub use error::Error;
pub use reader::Reader;
pub use rows::{Column, Rows};
