//! Where state lives: the ports, and the adapters behind them. Knows nothing of runs or windows.

mod change;
pub mod entity;
mod large_messages;
mod memory;
mod sqlite;

pub use adxingestor_ports::storage::*;
pub use large_messages::{Reference, large_messages};
pub use memory::memory;
pub use sqlite::{OpenError, sqlite};
