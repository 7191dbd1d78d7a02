//! `adxingestor` copies Microsoft Defender Advanced Hunting tables into Azure Data Explorer, every row
//! exactly once. `docs/architecture.md` is the map of the parts.

/// Whether a deliberate fault is present; without the feature `mutants` none ever is.
#[cfg(feature = "mutants")]
macro_rules! mutated {
    ($mutant:ident) => {
        $crate::mutants::is_present($crate::mutants::Mutant::$mutant)
    };
}
#[cfg(not(feature = "mutants"))]
macro_rules! mutated {
    ($mutant:ident) => {
        false
    };
}

pub mod adx;
pub mod app;
pub mod config;
pub mod defender;
pub mod doctor;
pub mod functions;
pub mod host;
pub mod kql;
pub mod local_run;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod orchestration;
pub mod outbound;
pub mod printable;
pub mod random;
pub mod remedy;
pub mod rows;
pub mod secret;
pub mod setup;
mod spelling;
pub mod state;
pub mod storage;
pub mod telemetry;
#[cfg(test)]
mod testing;

pub use adxingestor_ports::timestamp;
