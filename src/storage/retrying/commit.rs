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
//! Two limits. A row that was inserted here, then deleted and inserted again by others, all while the answer was in doubt,
//! counts as theirs alone. And a row within 0.4 KiB of the largest entity has no room for names: it decides nothing.

use super::attempts::{Attempts, SMALL};
use super::{Retrying, mark};
use crate::storage::{ETag, Error, Key, Operation, Row, limits};
use futures_util::{StreamExt, TryStreamExt, stream};
use mark::History;
use tokio::time::timeout_at;

/// How many rows are read at once to find out whether they were written.
const READS_AT_ONCE: usize = 8;

/// A refusal that may be the echo of a write of one's own, and rows that do not tell.
#[derive(Debug, thiserror::Error)]
#[error(
    "whether the transaction on {key} was written is unknown: an answer was lost, the repetition was refused ({refusal}), and others have changed the rows since; read them again and decide anew"
)]
struct Undecided {
    key: Key,
    refusal: Error,
}

/// One operation of a transaction, made recognisable.
struct Named<'a> {
    asked: &'a Operation,
    /// What is sent.
    sent: Operation,
    /// Of the version that it is to change.
    base: History,
    /// Of the version that it makes.
    next: History,
}

/// What a row says about a transaction in doubt.
#[derive(Debug, PartialEq, Eq)]
enum Evidence {
    Written,
    NotWritten,
    None,
}

impl Retrying {
    /// [`crate::storage::TableStore::commit`], written once.
    pub(super) async fn commit_once(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        let name = mark::name(self.random.bits());
        let mut transaction = named(operations, &name)?;
        let mut attempts = self.attempts("commit", SMALL);
        let mut cut_down = false;
        loop {
            let sent: Vec<Operation> = transaction.iter().map(|operation| operation.sent.clone()).collect();
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
                    return self.settle(&transaction, &name, refusal, &attempts).await;
                }
                // It may be our property that is too much for a merge.
                Err(error @ Error::TooLarge { .. }) if !cut_down => {
                    cut_down = true;
                    if !self.cut_down_merges(&mut transaction, &name).await? {
                        return Err(error);
                    }
                }
                Err(error) => attempts.pause_after(error).await?,
            }
        }
    }

    /// Makes of each merge that has no room for names the replacement that it comes to. Gives whether there is one.
    async fn cut_down_merges(&self, transaction: &mut [Named<'_>], name: &str) -> Result<bool, Error> {
        let mut any = false;
        for operation in transaction {
            let (Operation::Merge(key, added, _), Operation::Merge(_, _, version)) = (operation.asked, &operation.sent)
            else {
                continue;
            };
            let Some(row) = self.repeat("get", SMALL, || self.inner.tables.get(key)).await? else { continue };
            if row.etag != *version {
                continue;
            }
            let mut properties = mark::merged(&row, added);
            let version = row.etag;
            operation.next = mark::put_whole(key, &mut properties, &operation.base, name);
            operation.sent = Operation::Replace(key.clone(), properties, version);
            any = true;
        }
        Ok(any)
    }

    /// What became of a transaction in doubt that was refused in the end.
    async fn settle(
        &self,
        transaction: &[Named<'_>],
        name: &str,
        refusal: Error,
        attempts: &Attempts<'_>,
    ) -> Result<Vec<Option<ETag>>, Error> {
        let keys: Vec<Key> = transaction.iter().map(|operation| operation.sent.key().clone()).collect();
        let reads = stream::iter(keys)
            .map(|key| async move { self.repeat("get", SMALL, || self.inner.tables.get(&key)).await })
            .buffered(READS_AT_ONCE)
            .try_collect::<Vec<_>>();
        let rows = timeout_at(attempts.end(), reads)
            .await
            .unwrap_or_else(|elapsed| Err(Error::Unavailable(Box::new(elapsed))))?;
        let says =
            |evidence| transaction.iter().zip(&rows).any(|(operation, row)| operation.evidence(row, name) == evidence);
        let all_gone = || {
            transaction
                .iter()
                .zip(&rows)
                .all(|(operation, row)| matches!(operation.sent, Operation::Delete(..)) && row.is_none())
        };
        let key = transaction[0].sent.key();
        if says(Evidence::Written) {
            tracing::debug!(%key, "a write whose answer was lost was found");
            Ok(transaction.iter().zip(rows).map(|(operation, row)| operation.version(row, name)).collect())
        } else if says(Evidence::NotWritten) {
            Err(refusal)
        } else if all_gone() {
            Ok(vec![None; rows.len()])
        } else {
            Err(Error::Unavailable(Box::new(Undecided { key: key.clone(), refusal })))
        }
    }
}

/// The operations, each with the name of the transaction.
fn named<'a>(operations: &'a [Operation], name: &str) -> Result<Vec<Named<'a>>, Error> {
    mark::check(operations)?;
    let named: Vec<Named<'a>> = operations.iter().map(|operation| Named::new(operation, name)).collect();
    if let Some(index) = named.iter().position(Named::is_outdated) {
        limits::transaction(operations)?;
        return Err(Error::Conflict { index });
    }
    Ok(named)
}

impl<'a> Named<'a> {
    fn new(asked: &'a Operation, name: &str) -> Self {
        let mut sent = asked.clone();
        let base = match &mut sent {
            Operation::Insert(..) => History::inserted(),
            Operation::Replace(_, _, etag) | Operation::Merge(_, _, etag) | Operation::Delete(_, etag) => {
                let (version, base) = mark::split(etag);
                *etag = version;
                base
            }
        };
        let next = match &mut sent {
            Operation::Insert(key, properties) | Operation::Replace(key, properties, _) => {
                mark::put_whole(key, properties, &base, name)
            }
            Operation::Merge(_, properties, _) => mark::put(properties, &base, name),
            Operation::Delete(..) => base.clone(),
        };
        Self { asked, sent, base, next }
    }

    /// Whether it is to change a version that was written over before anyone could read it.
    fn is_outdated(&self) -> bool {
        match &self.sent {
            Operation::Insert(..) => false,
            Operation::Replace(_, _, etag) | Operation::Merge(_, _, etag) | Operation::Delete(_, etag) => {
                mark::is_written_over(etag)
            }
        }
    }

    /// What `row`, read after the refusal, says about the transaction.
    fn evidence(&self, row: &Option<Row>, name: &str) -> Evidence {
        let Some(row) = row else { return Evidence::None };
        let history = History::of(row);
        let unchanged = match &self.sent {
            Operation::Insert(..) => history.began_unmarked(),
            Operation::Replace(_, _, etag) | Operation::Merge(_, _, etag) | Operation::Delete(_, etag) => {
                row.etag == *etag
            }
        };
        if history.contains(name) {
            Evidence::Written
        } else if unchanged || history.goes_on_from(&self.base) {
            Evidence::NotWritten
        } else {
            Evidence::None
        }
    }

    /// The version that a transaction which was written gave to `row`. Where others have written since, no later version
    /// of theirs, which would let the caller write over what it has not seen, but one that is as outdated as its own.
    fn version(&self, row: Option<Row>, name: &str) -> Option<ETag> {
        if matches!(self.sent, Operation::Delete(..)) {
            return None;
        }
        match row.map(|row| (History::of(&row), row.etag)) {
            Some((history, etag)) if history.is_newest(name) => Some(mark::version(&etag, &history)),
            _ => Some(mark::written_over(name)),
        }
    }
}
