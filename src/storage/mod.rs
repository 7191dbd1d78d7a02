//! Where state lives: the ports, and the adapters behind them. Knows nothing of runs or windows.

mod change;
pub mod entity;
mod memory;
mod retrying;
mod sqlite;

pub use adxingestor_ports::storage::*;
pub use memory::memory;
pub use retrying::retrying;
pub use sqlite::{OpenError, sqlite};
