//! `adxingestor` copies Microsoft Defender Advanced Hunting tables into Azure Data Explorer, every row
//! exactly once. `docs/architecture.md` is the map of the parts.

pub mod adx;
pub mod app;
pub mod config;
pub mod defender;
pub mod functions;
pub mod host;
pub mod kql;
pub mod orchestration;
pub mod outbound;
pub mod random;
pub mod remedy;
pub mod secret;
pub mod state;
pub mod storage;

pub use adxingestor_ports::timestamp;
