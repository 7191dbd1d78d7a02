//! From a claimed window to a committed blob, or to what was met instead. What follows from that is decided in
//! `orchestration::chunk`.

use super::squeeze::{Squeezed, Squeezer};
use super::{Job, held};
use crate::adx::ingestion::{BlobName, Upload};
use crate::app::{App, Services};
use crate::config::OversizeRows;
use crate::defender::scanner::Scan;
use crate::defender::{Error as HuntingError, Packed};
use crate::functions::hunting::{Error as CallError, Hunting, number};
use crate::functions::planner::{Divided, Planner, Weigh};
use crate::functions::source;
use crate::kql::InvalidName;
use crate::orchestration::chunk::{self, Answer, Counted, Judged, Met, Next, Over, Reason, Split, Terms};
use crate::orchestration::ledger::{ChunkIdPlace, CutAxis, Head};
use crate::orchestration::limits::{LONGEST_ASKED, MAX_DYNAMIC_BYTES};
use crate::orchestration::plan::Piece;
use crate::orchestration::sizing::{Measured, Seen};
use crate::orchestration::window::Seal;
use crate::rows::{Passed, Sieve};
use crate::state::Error;
use crate::telemetry::metrics;
use bytes::{Bytes, BytesMut};
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

/// Pieces of an answer are gathered to this size before they leave the executor.
const PIECE_BYTES: usize = 512 * 1024;

/// What pulling a window came to.
pub enum Outcome {
    /// The content is fixed in a blob.
    Sealed {
        /// It.
        seal: Seal,
        /// What the answer took.
        answer: Measured,
    },
    /// There is nothing to seal.
    Over {
        /// What follows.
        over: Over,
        /// What was seen of the size of its answer.
        seen: Option<Seen>,
    },
}

impl From<InvalidName> for Met {
    /// A name in the ledger that is none.
    fn from(error: InvalidName) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<crate::adx::Error> for Met {
    /// What was wanted of ADX or its storage did not come about.
    fn from(error: crate::adx::Error) -> Self {
        if let crate::adx::Error::TooLarge { message } = error {
            return Self::TooMuch(message);
        }
        if error.needs_a_person() {
            return Self::Refused(error.to_string());
        }
        let asked = error.asked_pause().map(|asked| asked.min(LONGEST_ASKED));
        Self::Unavailable(error.to_string(), asked)
    }
}

impl From<CallError> for Met {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::Call(HuntingError::ResultTooLarge { .. }) => Self::TooLarge(message),
            CallError::Call(HuntingError::TimedOut { .. }) => Self::TooMuch(message),
            // What goes on beyond our own cap says nothing of the service's.
            CallError::Call(
                HuntingError::Corrupt { .. }
                | HuntingError::TooLarge { .. }
                | HuntingError::TooExpensive { .. }
                | HuntingError::GatewayTimedOut { .. },
            ) => Self::Broken(message),
            CallError::NoPermit(_) | CallError::Paused { .. } => Self::Quota(message),
            CallError::Budget(_) | CallError::Timespan(_) => Self::Budget(message),
            CallError::CutShort { .. } => Self::Unavailable(message, None),
            error if error.is_transient() => Self::Unavailable(message, error.service_pause()),
            CallError::NeverAnswered { .. } | CallError::Call(_) => Self::Refused(message),
        }
    }
}

/// What an answer came to.
enum Pulled {
    Sealed(Outcome),
    Next(Next),
}

/// Pulls the window.
///
/// # Errors
/// The state store's.
pub async fn pull(app: &App, job: &mut Job, head: &Head) -> Result<Outcome, Error> {
    let services = job.services.clone();
    if let Some(over) = chunk::cannot_be_asked_for(&job.window.record, &job.shape) {
        return Ok(Outcome::Over { over, seen: None });
    }
    // A quarter of the time is kept for a split.
    let until = job.deadline - app.limits.invocation_deadline / 4;
    let mut pulling = match job.window.record.difference {
        None => Hunting::for_window(app, &services, until, job.message.permit),
        // The look at the destination may take longer than the permit is good for.
        Some(_) => Hunting::for_repair(app, &services, until, job.message.permit),
    };
    let cap = pulling.byte_cap();
    if let Some(reason) = chunk::too_much_already(head, &job.window.record, cap) {
        let divided = divide(app, &mut pulling, job, head, &reason).await;
        // Where it stays whole, it fits after all, or only the service can say whether it does.
        if !matches!(&divided, Ok(divided) if divided.pieces.len() < 2) {
            tracing::info!(reason = reason.text, "a window is divided before it is pulled");
            let seen = weighed(&divided, cap).map(Seen::Given);
            let over = decided(app, job, &reason, divided);
            job.window.record.calls += pulling.take_calls();
            return Ok(Outcome::Over { over, seen });
        }
    }
    let pulled = match held::sieve(app, job, head, until).await? {
        Ok(sieve) => answer(app, &mut pulling, job, head, sieve).await,
        Err(met) => Err(met),
    };
    let next = match pulled {
        Ok(Pulled::Sealed(sealed)) => Err(sealed),
        Ok(Pulled::Next(next)) => Ok(next),
        Err(met) => Ok(chunk::after(&job.window.record, met)),
    };
    let mut hunting = Hunting::new(app, &services, job.deadline);
    let outcome = match next {
        Err(sealed) => sealed,
        Ok(Next::Over(over)) => Outcome::Over { over, seen: None },
        Ok(Next::Split(reason)) => split(app, &mut hunting, job, head, &reason).await,
    };
    job.window.record.calls += pulling.take_calls() + hunting.take_calls();
    learn_cap(app, &services, &outcome).await?;
    Ok(outcome)
}

/// Splits a window whose answer came to nothing.
async fn split(app: &App, hunting: &mut Hunting<'_>, job: &Job, head: &Head, reason: &Reason) -> Outcome {
    if let Some(end) = chunk::futile(head, &job.window.record, reason, &app.limits) {
        return Outcome::Over { over: Over::End(end), seen: None };
    }
    tracing::warn!(reason = reason.text, "a window is too much for one answer and is split");
    let cap = hunting.byte_cap();
    let divided = match divide(app, hunting, job, head, reason).await {
        // A window that is too costly to be weighed can still be counted.
        Err(Met::TooMuch(_) | Met::TooLarge(_) | Met::Broken(_) | Met::Refused(_)) if reason.size => {
            let unweighed = Reason { size: false, ..reason.clone() };
            divide(app, hunting, job, head, &unweighed).await
        }
        divided => divided,
    };
    let seen = weighed(&divided, cap).map(Seen::Refused);
    Outcome::Over { over: decided(app, job, reason, divided), seen }
}

/// What the answer tells of the size that the endpoint allows.
async fn learn_cap(app: &App, services: &Services, outcome: &Outcome) -> Result<(), Error> {
    let endpoint = services.hunting_endpoint();
    match outcome {
        Outcome::Sealed { answer, .. } => app.state.answer_given(&endpoint, answer.bytes).await,
        Outcome::Over { seen: Some(Seen::Refused(refused)), .. } => {
            tracing::warn!(
                bytes = refused.bytes,
                rows = refused.rows,
                "an answer of so many bytes was refused for its size"
            );
            app.state.answer_refused(&endpoint, refused.bytes, app.limits.response_bytes).await
        }
        Outcome::Over { .. } => Ok(()),
    }
}

async fn answer(
    app: &App,
    hunting: &mut Hunting<'_>,
    job: &mut Job,
    head: &Head,
    sieve: Option<Sieve>,
) -> Result<Pulled, Met> {
    let window = &job.window.record;
    let source = source::of_window(head, &job.shape, window)?;
    let slice = source::slice(window);
    let partition = source::partition(&job.shape, window)?;
    let id = window.id.to_string();
    let chunk_id = (job.shape.chunk_id == ChunkIdPlace::Row).then_some(id.as_str());
    let dialect = job.services.defender.dialect();
    let (query, reader) = source::pull(&job.shape, &source, &slice, partition.as_ref(), chunk_id, dialect);

    // Rows that could go nowhere are not worth a call.
    let mut upload = job.services.ingestor.begin(blob_name(job, head, &id), job.deadline).await?;
    let packed = hunting.packed(&query).await?;
    let Squeezed { scan, passed, sha256 } = stream(packed, Squeezer::new(reader, sieve), &mut upload).await?;
    metrics::pulled(&head.source, scan.response_bytes);
    let passed = passed.unwrap_or_else(|| all_of(&scan));

    let oversize_fails = job.services.settings.oversize_rows == OversizeRows::Fail;
    let now = app.state.now();
    let is_whole = job.shape.axis == CutAxis::Whole;
    let largest_cell = head.largest_cell.unwrap_or(MAX_DYNAMIC_BYTES);
    let (source_table, destination) = (&head.source, &head.destination);
    let terms = Terms { source: source_table, destination, oversize_fails, largest_cell, is_whole, now };
    let Passed { rows: new, longest_row_bytes, .. } = passed;
    let mut answer = Answer { rows: scan.rows, new, longest_row_bytes, counted: Counted::NotYet };
    let judged = match chunk::judge(window, answer, terms) {
        Judged::Count => {
            let counted = crate::defender::queries::count(&source, &slice, partition.as_ref());
            let counted = number(&hunting.rows(&counted).await?, "Rows");
            answer.counted = counted.map_or(Counted::Nothing, Counted::Rows);
            chunk::judge(window, answer, terms)
        }
        judged => judged,
    };
    if let Some(difference) = &mut job.window.record.difference {
        difference.compared = Some(scan.rows);
        job.window.record.null_watermarks = Some(passed.null_watermarks);
    }
    match judged {
        Judged::Store => {}
        Judged::Next(next) => return Ok(Pulled::Next(next)),
        Judged::Count => return Err(Met::Broken("the answer was counted and is still to be counted".to_owned())),
    }
    let stored = upload.commit().await?;
    metrics::uploaded(&head.source, stored.compressed_bytes);
    let seal = Seal {
        blob: stored.url,
        rows: passed.rows,
        raw_bytes: passed.raw_bytes,
        compressed_bytes: stored.compressed_bytes,
        longest_row_bytes: passed.longest_row_bytes,
        sha256,
    };
    let answer = Measured { rows: scan.rows, bytes: scan.response_bytes, cap: hunting.byte_cap() };
    Ok(Pulled::Sealed(Outcome::Sealed { seal, answer }))
}

/// The blob's name is the claim's own, so that a worker that was overtaken cannot write over a sealed one.
fn blob_name(job: &Job, head: &Head, id: &str) -> BlobName {
    let claim = if mutated!(BlobNamedByWindow) { 0 } else { job.claim };
    BlobName::new(&job.services.settings.database, &head.destination, id, Uuid::from_u128(claim))
}

/// Where nothing is compared, all is copied; rows without a watermark are counted when they have landed.
fn all_of(scan: &Scan) -> Passed {
    let Scan { rows, raw_bytes, longest_row_bytes, .. } = *scan;
    Passed { rows, raw_bytes, longest_row_bytes, null_watermarks: 0 }
}

async fn stream(mut packed: Packed, mut squeezer: Squeezer, upload: &mut Upload) -> Result<Squeezed, Met> {
    let mut gathered = BytesMut::new();
    while let Some(piece) = packed.next().await.map_err(|error| Met::from(CallError::Call(error)))? {
        gathered.extend_from_slice(&piece);
        if gathered.len() >= PIECE_BYTES {
            squeezer = squeeze(squeezer, gathered.split().freeze(), upload).await?;
        }
    }
    squeezer = squeeze(squeezer, gathered.freeze(), upload).await?;
    let (last, squeezed) =
        off_executor(move || squeezer.finish()).await?.map_err(|error| Met::Broken(error.to_string()))?;
    upload.write(last).await?;
    Ok(squeezed)
}

async fn squeeze(mut squeezer: Squeezer, piece: Bytes, upload: &mut Upload) -> Result<Squeezer, Met> {
    let (squeezer, ready) = off_executor(move || {
        let ready = squeezer.feed(&piece);
        (squeezer, ready)
    })
    .await?;
    let ready = ready.map_err(|error| Met::Broken(error.to_string()))?;
    upload.write(ready).await?;
    Ok(squeezer)
}

/// Work that would keep the executor's threads from others; one that has a single thread has nothing to keep free.
async fn off_executor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Met> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| Met::Broken(error.to_string()))
}

/// What the rows of a window weigh, where that was asked for.
fn weighed(divided: &Result<Divided, Met>, cap: u64) -> Option<Measured> {
    let Divided { rows, bytes, .. } = *divided.as_ref().ok()?;
    bytes.map(|bytes| Measured { rows, bytes, cap })
}

fn decided(app: &App, job: &Job, reason: &Reason, divided: Result<Divided, Met>) -> Over {
    let split = Split { reason, name: &job.message.window, shape: &job.shape };
    chunk::divided(&job.window.record, split, divided.map(|divided| divided.pieces), app.state.now())
}

/// Divides the window by another histogram, so that its parts are even and counted.
async fn divide(app: &App, hunting: &mut Hunting<'_>, job: &Job, head: &Head, reason: &Reason) -> Result<Divided, Met> {
    let window = &job.window.record;
    let source = source::of_window(head, &job.shape, window)?;
    let hashing = source::hashing_by(job.shape.divider(window).0)?;
    let id = window.id.to_string();
    let chunk_id = (job.shape.chunk_id == ChunkIdPlace::Row).then_some(id.as_str());
    let whole =
        Piece { low: window.id.low, high: window.id.high, part: window.asked_part(), rows: window.expected_rows() };
    let aim = chunk::aim(head, window, reason, &app.limits, hunting.byte_cap());
    let mut planner = Planner::new(hunting, &source, &hashing);
    if window.difference.is_some() {
        // Of equal rows that one half of the time has and the other has not, only both together tell how many are new.
        let pieces = planner.divide_by_hash(whole, aim).await?;
        return Ok(Divided { pieces, bytes: None, rows: whole.rows });
    }
    // What a service does not pack it does not weigh either.
    let weighs = reason.size && !job.shape.row_format.is_plain();
    Ok(planner.divide(whole, aim, weighs.then_some(Weigh { chunk_id })).await?)
}
