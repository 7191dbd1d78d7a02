//! Evaluation of one query into rows, within the limits. Blocking: for a thread that may.

use super::refusal::Asked;
use super::request::Request;
use super::result::{Outcome, Problem};
use super::{Adx, Limits};
use crate::adx::commands::{Error, is_command};
use crate::adx::seen::Seen;
use crate::kql::{self, Catalog, json};
use std::sync::Arc;
use std::time::Instant;

/// Evaluates a query. Too many rows or bytes are told inside the answer.
pub(super) fn query(
    adx: &Adx,
    request: &Request,
    principal: &str,
    asked: &Asked,
    deadline: Instant,
) -> Result<Outcome, Error> {
    if is_command(&request.text) {
        return Err(Error::syntax(&request.text, 0, "Management commands are not queries: send them to /v1/rest/mgmt"));
    }
    let now = adx.database.now();
    if let Some(kept) = adx.stale.kept(request, principal, now) {
        return Ok(kept);
    }
    let seen = Seen::as_of(&adx.database, Some(principal), adx.stale.as_of(request, now));
    let catalog: Arc<dyn Catalog> = seen.clone();
    let answer = kql::run_with_parameters(&request.text, &catalog, request.parameters.clone());
    let answer = answer.map_err(|error| seen.error_of(error.into()))?;
    let (most_rows, most_bytes) = limits(&adx.limits, request);
    let mut rows = Vec::new();
    let mut problem = None;
    let mut bytes = 0;
    for row in answer.rows {
        let row = row?;
        if rows.len() as u64 >= most_rows {
            problem = Some(Problem::too_large(&format!("{most_rows} records")));
            break;
        }
        if most_bytes < u64::MAX {
            bytes += row.iter().map(|value| json::to_text(value).len() as u64 + 1).sum::<u64>();
            if bytes > most_bytes {
                problem = Some(Problem::too_large(&format!("{most_bytes} bytes")));
                break;
            }
        }
        rows.push(row);
        if rows.len() % 1024 == 0 && Instant::now() > deadline {
            return Err(Error::timed_out());
        }
    }
    if Instant::now() > deadline {
        return Err(Error::timed_out());
    }
    let outcome = Outcome { columns: answer.columns, rows, problem, cached: None };
    adx.stale.keep(request, principal, &outcome, &asked.client_request_id, now);
    Ok(outcome)
}

/// The most rows and bytes of an answer: the service's limits, or what the caller sets.
fn limits(limits: &Limits, request: &Request) -> (u64, u64) {
    let (rows, bytes) = (request.number("truncationmaxrecords"), request.number("truncationmaxsize"));
    // `notruncation` counts only where no limit is asked for.
    let none =
        rows.is_none() && bytes.is_none() && (request.is_on("notruncation") || sets_no_truncation(&request.text));
    if none {
        return (u64::MAX, u64::MAX);
    }
    (rows.unwrap_or(limits.rows), bytes.unwrap_or(limits.bytes))
}

/// Whether the text begins with `set notruncation;`, after other `set` statements or none.
fn sets_no_truncation(text: &str) -> bool {
    let mut lexer = kql::lexer::Lexer::new(text);
    let mut word = || lexer.next_token().ok().map(|token| token.text(text).to_owned());
    while word().as_deref() == Some("set") {
        let Some(option) = word() else { return false };
        let mut value = None;
        loop {
            match word().as_deref() {
                Some(";") => break,
                Some("=") => value = word(),
                _ => return false,
            }
        }
        if option == "notruncation" && value.is_none_or(|value| value == "true") {
            return true;
        }
    }
    false
}
