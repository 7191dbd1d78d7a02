//! The content of packed rows, compared: two texts of one row are the same row, whatever the order of their keys and the
//! spelling of their numbers and times. Knows neither source nor destination.

mod canonical;
mod multiset;
mod sieve;

pub use canonical::{NotARow, RowHash, hash, hash_of};
pub use multiset::Multiset;
pub use sieve::{Passed, Sieve};
