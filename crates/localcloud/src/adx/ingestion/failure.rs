//! Why an ingestion fails, with the codes of dataexplorer-docs `error-codes.md`.

/// A failed ingestion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {details}")]
pub struct Failure {
    /// `BadRequest_InvalidBlob`, …
    pub code: &'static str,
    /// Whether trying again is useless.
    pub permanent: bool,
    /// In words.
    pub details: String,
}

impl Failure {
    /// One that will come again.
    pub fn permanent(code: &'static str, details: impl Into<String>) -> Self {
        Self { code, permanent: true, details: details.into() }
    }

    /// One that may pass.
    pub fn transient(code: &'static str, details: impl Into<String>) -> Self {
        Self { code, permanent: false, details: details.into() }
    }

    /// What the system said while the work was done.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::transient("General_InternalServerError", error.to_string())
    }

    /// Whether it is the engine's, which keeps a list of them: what fails before a blob is read is not on it
    /// (dataexplorer-docs `management/ingestion-failures.md`).
    pub fn is_of_the_engine(&self) -> bool {
        !self.code.starts_with("Download_")
    }

    /// As `.show ingestion failures` writes it.
    pub fn kind(&self) -> &'static str {
        if self.permanent { "Permanent" } else { "Transient" }
    }
}
