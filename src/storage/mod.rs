//! Where state lives: the ports, and the adapters behind them. Knows nothing of runs or windows.

mod azure;
mod change;
pub mod entity;
mod large_messages;
mod look;
mod memory;
mod retrying;
mod sqlite;

pub use adxingestor_ports::storage::*;
pub use azure::{ConnectError, Connection, azure};
pub use large_messages::{Reference, large_messages};
pub use look::look;
pub use memory::memory;
pub use retrying::retrying;
pub use sqlite::{OpenError, sqlite};
