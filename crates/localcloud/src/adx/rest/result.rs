//! What an answer is made from: rows, and a problem that may have to be told inside the answer.

use super::refusal::{Asked, one_api};
use crate::adx::commands::Error;
use crate::faults::Fault;
use crate::kql::{Column, Value};
use crate::source::ticks;
use bytes::Bytes;
use serde_json::{Value as Json, json};

/// The rows of an answer, and what went wrong after a status of 200 was promised.
pub(super) struct Outcome {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) problem: Option<Problem>,
    /// Where it comes from the results cache: the request that it was made for, and when.
    pub(super) cached: Option<(String, i64)>,
}

impl Outcome {
    /// What an answer from the results cache says of itself.
    pub(super) fn cache_note(&self) -> Option<Json> {
        let (request, at) = self.cached.as_ref()?;
        Some(json!({ "OriginalClientRequestId": request, "OriginalStartedOn": ticks::format(*at) }))
    }
}

/// An error inside an answer, and the places that tell it.
pub(super) struct Problem {
    pub(super) error: Error,
    /// The HRESULT.
    pub(super) status: i64,
    pub(super) among_rows: bool,
    pub(super) at_table_end: bool,
    pub(super) at_end: bool,
    pub(super) in_status: bool,
}

impl Problem {
    /// More rows or bytes than an answer may have.
    pub(super) fn too_large(what: &str) -> Self {
        let message = format!(
            "Query execution has exceeded the allowed limits (80DA0003): The results of this query exceed the set limit of {what}, so not all records were returned (E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003). See https://aka.ms/kustoquerylimits for more information and possible solutions.."
        );
        let exception = "Kusto.Data.Exceptions.KustoServicePartialQueryFailureLimitsExceededException";
        let error = Error::temporary(400, "LimitsExceeded", exception, message);
        Self {
            error,
            status: i64::from(0x80DA_0003_u32 as i32),
            among_rows: true,
            at_table_end: false,
            at_end: true,
            in_status: true,
        }
    }

    /// A planned failure in one place only.
    pub(super) fn planned(fault: Fault) -> Option<Self> {
        let exception = "Kusto.Data.Exceptions.KustoServicePartialQueryFailureLowMemoryConditionException";
        let message = "Query execution lacks memory resources to complete (80DA0007): Partial query failure: Low memory condition (E_LOW_MEMORY_CONDITION, 0x80DA0007).";
        let error = Error::temporary(400, "LowMemoryCondition", exception, message);
        let nowhere = Self {
            error,
            status: i64::from(0x80DA_0007_u32 as i32),
            among_rows: false,
            at_table_end: false,
            at_end: false,
            in_status: false,
        };
        Some(match fault {
            Fault::ErrorAmongRows => Self { among_rows: true, ..nowhere },
            Fault::ErrorAtTableEnd => Self { at_table_end: true, ..nowhere },
            Fault::ErrorAtEnd => Self { at_end: true, ..nowhere },
            Fault::ErrorInStatus => Self { in_status: true, ..nowhere },
            _ => return None,
        })
    }

    /// The error as it stands in lists of errors.
    pub(super) fn one_api(&self, asked: &Asked) -> Json {
        one_api(&self.error, asked)
    }
}

/// Bytes of an answer in pieces.
#[derive(Default)]
pub(super) struct Pieces {
    pending: String,
    done: Vec<Bytes>,
}

const PIECE_BYTES: usize = 64 * 1024;

impl Pieces {
    pub(super) fn push(&mut self, text: &str) {
        self.pending.push_str(text);
    }

    /// To write at the end of.
    pub(super) fn tail(&mut self) -> &mut String {
        if self.pending.len() >= PIECE_BYTES {
            self.done.push(Bytes::from(std::mem::take(&mut self.pending)));
        }
        &mut self.pending
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.done.push(Bytes::from(self.pending));
        self.done
    }
}
