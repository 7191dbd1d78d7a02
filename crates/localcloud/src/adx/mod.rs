//! The simulated Azure Data Explorer: one database behind the REST endpoints of engine and data management, the
//! storage that ingestion goes through, and the asynchronous ingestion itself. Knows the source only by the
//! identity of rows.

pub mod database;
pub mod extent;
pub mod ingestion;
pub mod storage;
pub mod table;
