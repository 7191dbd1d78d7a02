//! The ports of the state store and its clock: a crate of their own, so that adapters can be crates too. Knows no
//! adapter, no service and nothing of runs or windows.

pub mod storage;
pub mod timestamp;
