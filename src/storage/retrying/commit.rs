//! Transactions that are written once although they may be sent several times. Knows no adapter.
//!
//! A transaction is conditional, so sending it again is safe; but once it is in doubt, a refusal may be the echo of its own
//! write. Then the rows are read again and say which ([`mark`]). As a transaction is written as a whole or not at all, one
//! row decides for all:
//!
//! - a row names this operation: written;
//! - a row still has the version that the operation was to change, or was written by others on top of that version, or, for
//!   an insert, is there without ever having been this operation's: not written, and the refusal is true;
//! - nothing but deletes, and all rows are gone: done, by whomever;
//! - else nobody can know: the rows were deleted, inserted anew or written very often since. That is
//!   [`Error::Unavailable`], never a refusal, which would mean that nothing was written.
//!
//! The sooner the rows are read, the less others have done to them: one row is looked at when an answer is lost, before
//! anything is repeated.
//!
//! Limits. An insert has no version to be conditional on, and a deleted row tells nothing. So if others delete a row within
//! the 30 s in which its insert is in doubt, the insert may be done again, or be refused as theirs when they have inserted
//! the row again themselves; a transaction that changes any other row besides is not concerned. And a row within 1.5 KiB of
//! the largest entity has no room for names: it decides nothing.

use super::attempts::{LOOK, SMALL};
use super::{Retrying, mark};
use crate::storage::{ETag, Error, Key, Operation, Row, limits};
use futures_util::{StreamExt, TryStreamExt, stream};
use mark::History;
use tokio::time::timeout;

/// How many rows are read at once to find out whether they were written.
const READS_AT_ONCE: usize = 8;

/// How often a row is asked for right after an answer was lost, without a pause, as others may be writing it.
const LOOKS: usize = 3;

/// Rows that do not tell what became of a transaction in doubt.
#[derive(Debug, thiserror::Error)]
#[error(
    "whether the transaction on {key} was written is unknown: an answer was lost, then came: {last}; and others have changed the rows since; read them again and decide anew"
)]
struct Undecided {
    key: String,
    last: Error,
}

/// One operation of a transaction; what is sent of it names the transaction.
struct Named<'a> {
    asked: &'a Operation,
    /// The version that it is to change, as the service knows it; `None` for an insert.
    version: Option<ETag>,
    /// Of that version.
    base: History,
    /// Of the version that it makes.
    next: History,
}

/// What a row says about a transaction in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Written,
    /// Not so far: the row is as the operation wants to find it.
    NotYet,
    /// Not, and never again: others were first.
    Never,
    None,
}

impl Retrying {
    /// [`crate::storage::TableStore::commit`], written once.
    pub(super) async fn commit_once(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        let name = mark::name(self.random.bits());
        let (mut transaction, mut sent) = named(operations, &name)?;
        let mut attempts = self.attempts("commit", SMALL);
        let mut cut_down = false;
        loop {
            match attempts.once(self.inner.tables.commit(&sent)).await {
                Ok(etags) => {
                    return Ok(etags
                        .into_iter()
                        .zip(&transaction)
                        .map(|(etag, operation)| etag.map(|etag| mark::version(&etag, &operation.next)))
                        .collect());
                }
                Err(refusal @ (Error::Exists { .. } | Error::Conflict { .. } | Error::NotFound { .. }))
                    if attempts.in_doubt() =>
                {
                    return attempts.in_time(self.settle(&transaction, &name, false, refusal)).await;
                }
                // It may be our property that is too much for a merge.
                Err(error @ Error::TooLarge { .. }) if !cut_down => {
                    cut_down = true;
                    if !attempts.in_time(self.cut_down_merges(&mut transaction, &mut sent, &name)).await? {
                        return Err(error);
                    }
                }
                Err(error @ Error::Unavailable(_)) => match self.look(&transaction, &name).await {
                    Some((Evidence::Written, _)) => {
                        return attempts.in_time(self.settle(&transaction, &name, true, error)).await;
                    }
                    Some((Evidence::Never, refusal)) => return Err(refusal),
                    // The service answers again; what others write during a pause would only blur the traces.
                    Some((Evidence::NotYet, _)) if !attempts.in_doubt() => attempts.repeat_at_once(&error),
                    _ => attempts.pause_after(error).await?,
                },
                Err(error) => attempts.pause_after(error).await?,
            }
        }
    }

    /// Makes of each merge that has no room for names the replacement that it comes to. Gives whether there is one.
    async fn cut_down_merges(
        &self,
        transaction: &mut [Named<'_>],
        sent: &mut [Operation],
        name: &str,
    ) -> Result<bool, Error> {
        let mut any = false;
        for (operation, sent) in transaction.iter_mut().zip(sent) {
            let Operation::Merge(key, added, _) = operation.asked else { continue };
            let Some(row) = self.repeat("get", SMALL, || self.inner.tables.get(key)).await? else { continue };
            if operation.version.as_ref() != Some(&row.etag) {
                continue;
            }
            let mut properties = mark::merged(&row, added);
            operation.next = mark::put_whole(key, &mut properties, &operation.base, name);
            *sent = Operation::Replace(key.clone(), properties, row.etag);
            any = true;
        }
        Ok(any)
    }

    /// What one row says right after an answer was lost, if it can be read, and the refusal that follows from it.
    async fn look(&self, transaction: &[Named<'_>], name: &str) -> Option<(Evidence, Error)> {
        let is_write = |operation: &Named<'_>| !matches!(operation.asked, Operation::Delete(..));
        let index = transaction.iter().position(is_write).unwrap_or_default();
        let operation = transaction.get(index)?;
        let read = async {
            for _ in 0..LOOKS {
                if let Ok(row) = self.inner.tables.get(operation.asked.key()).await {
                    return Some(row);
                }
            }
            None
        };
        let row = timeout(LOOK, read).await.ok()??;
        let refusal = match operation.asked {
            Operation::Insert(..) => Error::Exists { index },
            _ => Error::Conflict { index },
        };
        let evidence = match (operation.asked, &row) {
            (Operation::Insert(..), None) => Evidence::NotYet,
            _ => operation.evidence(row.as_ref(), name),
        };
        Some((evidence, refusal))
    }

    /// What became of a transaction in doubt that ended with `last`, a refusal or a lost answer; `found` if a row has named
    /// it already.
    async fn settle(
        &self,
        transaction: &[Named<'_>],
        name: &str,
        found: bool,
        last: Error,
    ) -> Result<Vec<Option<ETag>>, Error> {
        let keys: Vec<Key> = transaction.iter().map(|operation| operation.asked.key().clone()).collect();
        let rows: Vec<Option<Row>> = stream::iter(keys)
            .map(|key| async move { self.repeat("get", SMALL, || self.inner.tables.get(&key)).await })
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let pairs = || transaction.iter().zip(&rows);
        let says = |evidence| pairs().any(|(operation, row)| operation.evidence(row.as_ref(), name) == evidence);
        if found || says(Evidence::Written) {
            tracing::debug!(operation = "commit", "a write whose answer was lost was found");
            return Ok(transaction.iter().zip(rows).map(|(operation, row)| operation.version(row, name)).collect());
        }
        if says(Evidence::NotYet) || says(Evidence::Never) {
            return Err(last);
        }
        if pairs().all(|(operation, row)| matches!(operation.asked, Operation::Delete(..)) && row.is_none()) {
            return Ok(vec![None; rows.len()]);
        }
        let key = transaction.first().map(|operation| operation.asked.key().to_string()).unwrap_or_default();
        Err(Error::Unavailable(Box::new(Undecided { key, last })))
    }
}

/// The operations, and what is sent of them: each with the name of the transaction.
fn named<'a>(operations: &'a [Operation], name: &str) -> Result<(Vec<Named<'a>>, Vec<Operation>), Error> {
    mark::check(operations)?;
    let (named, sent): (Vec<Named<'a>>, Vec<Operation>) =
        operations.iter().map(|operation| Named::new(operation, name)).unzip();
    if let Some(index) = named.iter().position(Named::is_outdated) {
        limits::transaction(operations)?;
        return Err(Error::Conflict { index });
    }
    Ok((named, sent))
}

impl<'a> Named<'a> {
    fn new(asked: &'a Operation, name: &str) -> (Self, Operation) {
        let mut sent = asked.clone();
        let (version, base) = match &mut sent {
            Operation::Insert(..) => (None, History::inserted()),
            Operation::Replace(_, _, etag) | Operation::Merge(_, _, etag) | Operation::Delete(_, etag) => {
                let (version, base) = mark::split(etag);
                etag.clone_from(&version);
                (Some(version), base)
            }
        };
        let next = match &mut sent {
            Operation::Insert(key, properties) | Operation::Replace(key, properties, _) => {
                mark::put_whole(key, properties, &base, name)
            }
            Operation::Merge(_, properties, _) => mark::put(properties, &base, name),
            Operation::Delete(..) => base.clone(),
        };
        (Self { asked, version, base, next }, sent)
    }

    /// Whether it is to change a version that was written over before anyone could read it.
    fn is_outdated(&self) -> bool {
        self.version.as_ref().is_some_and(mark::is_written_over)
    }

    /// What `row`, read while the transaction is in doubt, says about it.
    fn evidence(&self, row: Option<&Row>, name: &str) -> Evidence {
        let Some(row) = row else { return Evidence::None };
        let history = History::of(row);
        if history.contains(name) {
            return Evidence::Written;
        }
        let others_first = match &self.version {
            Some(version) if row.etag == *version => return Evidence::NotYet,
            Some(_) => history.goes_on_from(&self.base),
            None => history.began_unmarked() || history.goes_on_from(&self.base),
        };
        if others_first { Evidence::Never } else { Evidence::None }
    }

    /// The version that a transaction which was written gave to `row`. Where others have written since, no later version
    /// of theirs, which would let the caller write over what it has not seen, but one that is as outdated as its own.
    fn version(&self, row: Option<Row>, name: &str) -> Option<ETag> {
        if matches!(self.asked, Operation::Delete(..)) {
            return None;
        }
        match row.map(|row| (History::of(&row), row.etag)) {
            Some((history, etag)) if history.is_newest(name) => Some(mark::version(&etag, &history)),
            _ => Some(mark::written_over(name)),
        }
    }
}
