//! `adxingestor` copies Microsoft Defender Advanced Hunting tables into Azure Data Explorer, every row
//! exactly once. `docs/architecture.md` is the map of the parts.

pub mod adx;
pub mod defender;
pub mod host;
pub mod kql;
pub mod orchestration;
pub mod outbound;
pub mod secret;
pub mod storage;
pub mod timestamp;
