//! From a claimed window to a committed blob, or to the reason why there is none.

use super::Job;
use super::squeeze::{Squeezed, Squeezer};
use crate::adx::ingestion::{BlobName, Upload};
use crate::app::App;
use crate::config::OversizeRows;
use crate::defender::{Error as HuntingError, Packed};
use crate::functions::hunting::{Error as CallError, Hunting, number};
use crate::functions::planner::Planner;
use crate::functions::source;
use crate::kql::InvalidName;
use crate::orchestration::fan_in::WindowEnd;
use crate::orchestration::ids::{WindowId, WindowName};
use crate::orchestration::ledger::{ChunkIdPlace, Head};
use crate::orchestration::limits::{MAX_DYNAMIC_BYTES, ROW_CAP};
use crate::orchestration::plan::{Piece, at_most};
use crate::orchestration::window::{Seal, Window};
use crate::state::Error;
use bytes::{Bytes, BytesMut};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

/// Pieces of an answer are gathered to this size before they leave the executor.
const PIECE_BYTES: usize = 512 * 1024;
/// Windows with fewer rows say little about the bytes per row.
const ROWS_TO_LEARN_FROM: u64 = 500;
/// Children, parent and head fit one transaction.
const MAX_CHILDREN: usize = 98;
/// A split aims at this part of what was too much.
const SPLIT_INTO: u64 = 2;

/// What pulling a window came to.
pub enum Outcome {
    /// The content is fixed in a blob.
    Sealed {
        /// It.
        seal: Seal,
        /// Response bytes per row, where there were enough rows to tell.
        bytes_per_row: Option<f64>,
    },
    /// The window ended.
    End(WindowEnd),
    /// It is worth another attempt.
    Later {
        /// Why.
        error: String,
        /// Whether the attempt counts.
        own_fault: bool,
        /// When, if that is known. Zero for the quota: its message gets a permit, which has the time.
        pause: Option<Duration>,
    },
}

/// Why an answer cannot be sealed.
enum Unusable {
    Call(CallError),
    /// Cut by a cap, or refused for its size or cost: a smaller window may do.
    TooMuch(String),
    /// Broken on the way: worth another attempt, and a smaller window after that.
    Broken(String),
    Upload(String),
    /// A name in the ledger that is none.
    Name(InvalidName),
}

impl From<InvalidName> for Unusable {
    fn from(error: InvalidName) -> Self {
        Self::Name(error)
    }
}

impl From<CallError> for Unusable {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Call(
                error @ (HuntingError::ResultTooLarge { .. }
                | HuntingError::TooLarge { .. }
                | HuntingError::TimedOut { .. }),
            ) => Self::TooMuch(error.to_string()),
            CallError::Call(error @ (HuntingError::Corrupt { .. } | HuntingError::TooExpensive { .. })) => {
                Self::Broken(error.to_string())
            }
            other => Self::Call(other),
        }
    }
}

/// Pulls the window.
///
/// # Errors
/// The state store's.
pub async fn pull(app: &App, job: &mut Job, head: &Head) -> Result<Outcome, Error> {
    let services = job.services.clone();
    // A quarter of the time is kept for a split.
    let until = job.deadline - app.limits.invocation_deadline / 4;
    let mut pulling = Hunting::for_window(app, &services, until, job.message.permit);
    let answer = answer(&mut pulling, job, head).await;
    let mut hunting = Hunting::new(app, &services, job.deadline);
    let outcome = match answer {
        Ok(outcome) => outcome,
        Err(Unusable::TooMuch(reason)) => split(app, &mut hunting, job, head, &reason).await,
        // A second broken answer is taken for one that is too large to arrive whole.
        Err(Unusable::Broken(reason)) if job.window.record.attempts > 0 => {
            split(app, &mut hunting, job, head, &reason).await
        }
        Err(Unusable::Broken(error) | Unusable::Upload(error)) => {
            Outcome::Later { error, own_fault: true, pause: None }
        }
        Err(Unusable::Call(error)) => failed(error),
        Err(Unusable::Name(error)) => Outcome::End(WindowEnd::Failed(error.to_string())),
    };
    job.window.record.calls += pulling.take_calls() + hunting.take_calls();
    Ok(outcome)
}

fn failed(error: CallError) -> Outcome {
    if error.quota_pause().is_some() {
        return Outcome::Later { error: error.to_string(), own_fault: false, pause: Some(Duration::ZERO) };
    }
    if let CallError::Budget(error) = error {
        return Outcome::Later { error: error.to_string(), own_fault: false, pause: None };
    }
    if !error.is_transient() {
        return Outcome::End(WindowEnd::Failed(error.to_string()));
    }
    Outcome::Later { error: error.to_string(), own_fault: true, pause: error.service_pause() }
}

async fn answer(hunting: &mut Hunting<'_>, job: &Job, head: &Head) -> Result<Outcome, Unusable> {
    let window = &job.window.record;
    let source = source::of(head, &job.shape, window.handover)?;
    let slice = source::slice(window);
    let partition = source::partition(&job.shape, window.id.part)?;
    let id = window.id.to_string();
    let chunk_id = (job.shape.chunk_id == ChunkIdPlace::Row).then_some(id.as_str());
    let query = crate::defender::queries::window(&source, &slice, partition.as_ref(), chunk_id);

    let packed = hunting.packed(&query).await?;
    // The blob's name is the claim's own, so that a worker that was overtaken cannot write over a sealed one.
    let name = BlobName::new(&job.services.settings.database, &head.destination, &id, Uuid::from_u128(job.claim));
    let mut upload =
        job.services.ingestor.begin(name, job.deadline).await.map_err(|error| Unusable::Upload(error.to_string()))?;
    let squeezed = stream(packed, &mut upload).await?;
    let scan = &squeezed.scan;

    if scan.rows >= ROW_CAP {
        return Err(Unusable::TooMuch(format!("the answer has {} rows and was cut at the API's cap", scan.rows)));
    }
    if scan.rows < window.planned_rows {
        let counted = crate::defender::queries::count(&source, &slice, partition.as_ref());
        let counted = number(&hunting.rows(&counted).await?, "Rows");
        if counted.is_none_or(|counted| counted > scan.rows) {
            return Err(Unusable::Broken(format!(
                "the answer has {} rows, the source counts {}",
                scan.rows,
                counted.map_or_else(|| "no number".to_owned(), |n| n.to_string())
            )));
        }
    }
    if scan.rows == 0 && window.planned_rows == 0 {
        return Ok(Outcome::End(WindowEnd::Empty));
    }
    if scan.rows == 0 {
        return Ok(Outcome::End(WindowEnd::Expired(format!(
            "{} rows were planned in ({}, {}], and the source no longer shows any of them",
            window.planned_rows, window.id.low, window.id.high
        ))));
    }
    if scan.longest_row_bytes > MAX_DYNAMIC_BYTES && job.services.settings.oversize_rows == OversizeRows::Fail {
        return Ok(Outcome::End(WindowEnd::Failed(format!(
            "window {id} of {} has a row of {} bytes; above 1 MiB it would land in {} as null. Raise the limit with \
             `{}` and set OVERSIZE_ROWS=ingest",
            head.source,
            scan.longest_row_bytes,
            head.destination,
            crate::remedy::take_large_cells(&head.destination)
        ))));
    }
    let stored = upload.commit().await.map_err(|error| Unusable::Upload(error.to_string()))?;
    let bytes_per_row = (scan.rows >= ROWS_TO_LEARN_FROM).then(|| scan.response_bytes as f64 / scan.rows as f64);
    let seal = Seal {
        blob: stored.url,
        rows: scan.rows,
        raw_bytes: scan.raw_bytes,
        compressed_bytes: stored.compressed_bytes,
        longest_row_bytes: scan.longest_row_bytes,
        sha256: squeezed.sha256,
    };
    Ok(Outcome::Sealed { seal, bytes_per_row })
}

async fn stream(mut packed: Packed, upload: &mut Upload) -> Result<Squeezed, Unusable> {
    let mut squeezer = Squeezer::new();
    let mut gathered = BytesMut::new();
    while let Some(piece) = packed.next().await.map_err(|error| Unusable::from(CallError::Call(error)))? {
        gathered.extend_from_slice(&piece);
        if gathered.len() >= PIECE_BYTES {
            squeezer = squeeze(squeezer, gathered.split().freeze(), upload).await?;
        }
    }
    squeezer = squeeze(squeezer, gathered.freeze(), upload).await?;
    let (last, squeezed) =
        off_executor(move || squeezer.finish()).await?.map_err(|error| Unusable::Broken(error.to_string()))?;
    upload.write(last).await.map_err(|error| Unusable::Upload(error.to_string()))?;
    Ok(squeezed)
}

async fn squeeze(mut squeezer: Squeezer, piece: Bytes, upload: &mut Upload) -> Result<Squeezer, Unusable> {
    let (squeezer, ready) = off_executor(move || {
        let ready = squeezer.feed(&piece);
        (squeezer, ready)
    })
    .await?;
    let ready = ready.map_err(|error| Unusable::Broken(error.to_string()))?;
    upload.write(ready).await.map_err(|error| Unusable::Upload(error.to_string()))?;
    Ok(squeezer)
}

/// Work that would keep the executor's threads from others; one that has a single thread has nothing to keep free.
async fn off_executor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unusable> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| Unusable::Broken(error.to_string()))
}

/// Cuts the window by another histogram, so that the children are even and counted.
async fn split(app: &App, hunting: &mut Hunting<'_>, job: &Job, head: &Head, reason: &str) -> Outcome {
    let window = &job.window.record;
    tracing::warn!(reason, "a window is too much for one answer and is split");
    let (source, columns) = match (source::of(head, &job.shape, window.handover), source::hash_columns(&job.shape)) {
        (Ok(source), Ok(columns)) => (source, columns),
        (Err(error), _) | (_, Err(error)) => return Outcome::End(WindowEnd::Failed(error.to_string())),
    };
    let mut planner = Planner::new(hunting, &source, &columns);
    let target = (window.planned_rows / SPLIT_INTO).clamp(1, app.limits.window_rows);
    let whole = Piece { low: window.id.low, high: window.id.high, part: window.id.part, rows: window.planned_rows };
    let pieces = match planner.divide(whole, target).await {
        Ok(pieces) => at_most(pieces, MAX_CHILDREN),
        // The attempt is spent: a window that is always too slow must come to an end.
        Err(CallError::NoPermit(_)) => {
            return Outcome::Later { error: reason.to_owned(), own_fault: true, pause: Some(Duration::ZERO) };
        }
        Err(error) => return failed(error),
    };
    match pieces.as_slice() {
        [only] if only.rows <= target => {
            return Outcome::Later {
                error: format!("{reason}; the source now counts {} rows", only.rows),
                own_fault: true,
                pause: None,
            };
        }
        [_] | [] => {
            return Outcome::End(WindowEnd::Failed(format!(
                "{reason}; window {} cannot be cut further by time or by a hash of {}",
                window.id,
                job.shape.hash_columns.join(", ")
            )));
        }
        _ => {}
    }
    let path = job.message.window.path();
    let now = app.state.now();
    let children = pieces.iter().enumerate().map(|(index, piece)| {
        let id = WindowId { low: piece.low, high: piece.high, part: piece.part, generation: 0, ..window.id };
        let child = Window::planned(id, &window.plan, window.handover, piece.rows, now);
        (WindowName::new(piece.low, &format!("{path}{index:02x}")), child)
    });
    Outcome::End(WindowEnd::Split(children.collect()))
}
