//! The codes by which an ingestion fails: whether another one will fail too, and what a person does about it (dataexplorer-docs
//! `error-codes.md`). Knows no window and no request.

use super::denial;
use crate::kql::Identifier;
use crate::remedy::{self, Application};

/// The cluster may not read a blob.
pub(super) const DOWNLOAD_FORBIDDEN: &str = "Download_Forbidden";

/// What helps against a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Help {
    /// Nothing but time: the service's trouble.
    Time,
    /// The role that lets the app ingest.
    Role,
    /// This.
    Do(&'static str),
    /// A table that keeps its rows.
    Retention,
    /// A larger limit of a cell.
    LargeCells,
}

/// A code, whether it is permanent, and what helps.
const CODES: [(&str, bool, Help); 38] = [
    (
        "BadRequest_InvalidBlob",
        true,
        Help::Do(
            "the service cannot read the blob: check that it may reach its own storage, then start another run, which posts the same \
             blob once more",
        ),
    ),
    ("BadRequest_EmptyBlob", true, Help::Do("the blob is empty at the service: report this as a bug")),
    (
        "BadRequest_NoRecordsOrWrongFormat",
        true,
        Help::Do("the blob holds no row that the service can read as multijson: report this as a bug"),
    ),
    (
        "BadRequest_InvalidMapping",
        true,
        Help::Do(
            "compare the columns of the table with those of the mapping: the watermark as datetime, RawData as dynamic",
        ),
    ),
    (
        "BadRequest_InconsistentMapping",
        true,
        Help::Do(
            "a column that the rows are written to is gone or has another type: bring it back (the watermark as datetime, RawData as \
             dynamic, ChunkId as string)",
        ),
    ),
    (
        "BadRequest_MappingReferenceWasNotFound",
        true,
        Help::Do("the mapping that was named is gone: start another run, which makes the mappings of its tables anew"),
    ),
    ("BadRequest_DuplicateMapping", true, Help::Do("the message carries two mappings: report this as a bug")),
    (
        "BadRequest_TableNotExist",
        true,
        Help::Do("the table is gone: bring it back, or start another run, which says what is lost with it"),
    ),
    ("BadRequest_DatabaseNotExist", true, Help::Do("the database is gone or has another name: check ADX_DATABASE")),
    ("BadRequest_TableAccessDenied", true, Help::Role),
    ("BadRequest_DatabaseAccessDenied", true, Help::Role),
    (
        "BadRequest_InvalidKustoIdentityToken",
        true,
        Help::Do("the service does not take the token that it gave: start another run, which asks for a new one"),
    ),
    (
        "BadRequest_FileTooLarge",
        true,
        Help::Do(
            "the blob is above the service's limit of one file: set CHUNK_SIZE lower for what is copied from now on",
        ),
    ),
    (
        "BadRequest_CreationTimeEarlierThanSoftDeletePeriod",
        true,
        Help::Do("the rows are older than the table keeps rows: set CREATION_TIME=ingestion, or a longer retention"),
    ),
    ("BadRequest_ZeroRetentionPolicyWithNoUpdatePolicy", true, Help::Retention),
    ("Stream_WrongNumberOfFields", true, Help::Do("the service read the rows in another format: report this as a bug")),
    ("Stream_ClosingQuoteMissing", true, Help::Do("the service read the rows in another format: report this as a bug")),
    ("Stream_NoDataToIngest", true, Help::Do("the service found no row in the blob: report this as a bug")),
    (
        "Stream_InputStreamTooLarge",
        true,
        Help::Do(
            "the rows of one post are above the service's limit: set CHUNK_SIZE lower for what is copied from now on",
        ),
    ),
    ("Stream_DynamicPropertyBagTooLarge", true, Help::LargeCells),
    (DOWNLOAD_FORBIDDEN, true, Help::Do(denial::UNREAD)),
    (
        "Download_SourceNotFound",
        true,
        Help::Do("the blob is gone: the next run looks for it, and pulls the window again once no post of it can land"),
    ),
    (
        "Download_AccountNotFound",
        true,
        Help::Do("the storage account of the blob is gone or cannot be resolved: check the cluster's network"),
    ),
    (
        "UpdatePolicy_QuerySchemaDoesNotMatchTableSchema",
        true,
        Help::Do(
            "an update policy that reads the table gives other columns than its target has: end its query in an explicit projection, or \
             switch the policy off",
        ),
    ),
    (
        "UpdatePolicy_BadRequest",
        true,
        Help::Do(
            "an update policy that reads the table has a query that fails: mend the query, or switch the policy off",
        ),
    ),
    ("General_BadRequest", true, Help::Do("the service refuses the ingestion: do what its words say")),
    ("General_InternalServerError", false, Help::Time),
    (
        "General_ThrottledIngestion",
        false,
        Help::Do("the cluster has no room for more ingestions: scale it, or set MAX_CONCURRENT_TASKS lower"),
    ),
    ("General_TransientSchemaMismatch", false, Help::Time),
    ("General_RetryAttemptsExceeded", false, Help::Time),
    ("Timeout", false, Help::Do("the ingestion took too long: set CHUNK_SIZE lower, or scale the cluster")),
    (
        "OutOfMemory",
        false,
        Help::Do("the cluster has too little memory for the ingestion: set CHUNK_SIZE lower, or scale it"),
    ),
    ("Download_UnknownError", false, Help::Time),
    ("Download_TransientNameResolutionFailure", false, Help::Time),
    (
        "UpdatePolicy_IngestionError",
        false,
        Help::Do("an update policy that reads the table could not store its rows: look at the failures of its target"),
    ),
    (
        "UpdatePolicy_UnknownError",
        false,
        Help::Do("an update policy that reads the table failed: run its query by hand to see why"),
    ),
    (
        "UpdatePolicy_FailedDescendantTransaction",
        false,
        Help::Do("an update policy further down failed, and with it the ingestion: look at the failures of its target"),
    ),
    ("Unknown", false, Help::Time),
];

fn known(code: &str) -> Option<&'static (&'static str, bool, Help)> {
    // Some places write the part behind the underscore alone.
    CODES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(code)).or_else(|| {
        let is_tail = |name: &str| name.split_once('_').is_some_and(|(_, tail)| tail.eq_ignore_ascii_case(code));
        CODES.iter().find(|(name, ..)| is_tail(name))
    })
}

/// Whether an ingestion that failed by this code will fail again, until somebody changes something; `None` of an unknown code.
pub fn is_permanent(code: &str) -> Option<bool> {
    known(code).map(|(_, permanent, _)| *permanent)
}

/// What a service said of an ingestion into a table that failed by this code, and what to do if the code is known.
pub fn with_advice(said: String, code: &str, table: &Identifier, database: &str, app: &Application) -> String {
    match advice(code, table, database, app) {
        Some(advice) => format!("{said}; {advice}"),
        None => said,
    }
}

/// What to do about an ingestion into a table that failed by this code, in a sentence; `None` of an unknown code.
fn advice(code: &str, table: &Identifier, database: &str, app: &Application) -> Option<String> {
    let (.., help) = known(code)?;
    Some(match help {
        Help::Time => "the service's own trouble: it passes, or another run is to be started".to_owned(),
        Help::Role => denial::ingestion(database, app),
        Help::Do(this) => (*this).to_owned(),
        Help::Retention => format!("{table} keeps no rows: run `{}`", remedy::keep_rows(table.as_str())),
        Help::LargeCells => {
            format!("a row is above the limit of a cell: run `{}`", remedy::take_large_cells(table.as_str()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str) -> String {
        let app = Application { client: Some("c1".into()), tenant: Some("t1".into()) };
        advice(code, &Identifier::new("Device Events").unwrap(), "Db", &app).unwrap()
    }

    #[test]
    fn every_code_says_what_to_do_in_one_sentence() {
        for (code, ..) in CODES {
            let said = said(code);
            assert!(said.len() > 30 && !said.ends_with('.') && !said.contains(". "), "{code}: {said}");
        }
    }

    #[test]
    fn a_code_that_a_command_helps_against_prints_it() {
        assert!(said("BadRequest_TableAccessDenied").contains("`.add database Db ingestors ('aadapp=c1;t1')`"));
        assert!(
            said("BadRequest_ZeroRetentionPolicyWithNoUpdatePolicy").contains(".alter-merge table ['Device Events']")
        );
        assert!(said("Stream_DynamicPropertyBagTooLarge").contains("'BigObject32'"));
    }

    #[test]
    fn codes_are_permanent_or_not_as_documented() {
        assert_eq!(is_permanent("BadRequest_MappingReferenceWasNotFound"), Some(true));
        assert_eq!(is_permanent("MappingReferenceWasNotFound"), Some(true));
        assert_eq!(is_permanent("UpdatePolicy_FailedDescendantTransaction"), Some(false));
        assert_eq!(is_permanent("unknown"), Some(false));
        assert_eq!(is_permanent("Brand_New"), None);
        assert_eq!(CODES.iter().filter(|(_, permanent, _)| *permanent).count(), 26);
    }
}
