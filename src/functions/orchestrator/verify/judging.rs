//! Counts windows in ADX and judges them, with what else has to be asked for that.

use super::Judged;
use super::looks::Looks;
use super::source::{NullWatermarks, Source, Unknown};
use crate::adx::catalog::Catalog;
use crate::adx::ingestion::StoredBlob;
use crate::app::{App, Services};
use crate::config::Repair;
use crate::kql::Identifier;
use crate::orchestration::adoption::watch;
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::COUNT_BATCH;
use crate::orchestration::null_watermarks::{Waiting, is_asked};
use crate::orchestration::outcome::with_failure;
use crate::orchestration::removal::Place;
use crate::orchestration::renewal::{Blob, before_repost};
use crate::orchestration::repair;
use crate::orchestration::verification::{Found, Landing, Verdict, judge, judge_again, uncounted, with_landed};
use crate::orchestration::window::Window;
use crate::orchestration::write::Seen;
use crate::storage::ETag;
use crate::timestamp::Timestamp;
use std::collections::HashMap;
use tokio::time::Instant;

/// What windows are counted with.
pub struct Counting<'a> {
    pub app: &'a App,
    pub services: &'a Services,
    /// The catalog, with what it asks counted.
    pub catalog: Catalog,
    pub head: &'a Head,
    pub deadline: Instant,
}

/// A count that was made, or why it was not.
struct Counted<'c, 'a> {
    with: &'c Counting<'a>,
    /// Before the count: a re-post is judged by one that was made after this instant.
    now: Timestamp,
    counts: Result<HashMap<String, Found>, String>,
    /// Made where a window is to be posted or pulled again, or fails.
    looks: Looks<'c>,
}

impl Counting<'_> {
    /// Counts submitted windows, while so many others are on their way to a count. Gives the hunting calls that took, too.
    pub async fn judge_all(&self, submitted: Vec<Seen<ETag>>, to_come: usize) -> (Vec<Judged>, u64) {
        let mut judged = Vec::with_capacity(submitted.len());
        let mut source = Source::new(self.app, self.services, self.deadline);
        for batch in submitted.chunks(COUNT_BATCH) {
            let now = self.app.state.now();
            let counts = self.count(batch).await;
            let ingestor = &self.services.ingestor;
            let looks = Looks::new(&self.catalog, ingestor, self.head, batch, &self.app.limits, self.deadline);
            let counted = Counted { with: self, now, counts, looks };
            let asked = counted.null_watermarks(&mut source, batch, to_come + submitted.len() - batch.len()).await;
            for seen in batch {
                let (window, verdict) = counted.judge(&asked, &seen.window).await;
                let learned = window.null_watermarks != seen.window.null_watermarks;
                let seen = Seen { name: seen.name.clone(), window, version: seen.version.clone() };
                judged.push(Judged { seen, learned, verdict });
            }
        }
        (judged, source.calls())
    }

    /// Counts proved windows that another post may have loaded again; `None` when they could not be counted.
    pub async fn judge_all_again(&self, doubtful: Vec<Seen<ETag>>) -> Option<Vec<Judged>> {
        if doubtful.is_empty() {
            return Some(Vec::new());
        }
        let place = Place::of(self.head)?;
        let now = self.app.state.now();
        let counts = match self.count(&doubtful).await {
            Ok(counts) => counts,
            Err(error) => {
                let table = &self.head.source;
                tracing::warn!(error, table, "windows that were posted more than once are not counted again");
                return None;
            }
        };
        let judged = doubtful.into_iter().map(|seen| {
            let found = found(&counts, &seen.window);
            let verdict = judge_again(&place, &seen.window, found, now, &self.app.limits);
            if let Verdict::Doubled(reason) = &verdict {
                tracing::error!(window = %seen.window.id, reason, "a proved window is there more than once");
            }
            let verdict = self.repaired(&seen.window, found, verdict, now);
            Judged { seen, learned: false, verdict }
        });
        Some(judged.collect())
    }

    async fn count(&self, windows: &[Seen<ETag>]) -> Result<HashMap<String, Found>, String> {
        let ids: Vec<String> = windows.iter().map(|seen| seen.window.id.to_string()).collect();
        let table = Identifier::new(&self.head.destination).map_err(|error| error.to_string())?;
        let watermark = Identifier::new(&self.head.watermark_column).map_err(|error| error.to_string())?;
        let mode = self.services.chunk_id_mode(self.head);
        let counts = self.catalog.counts(&table, &watermark, mode, &ids, self.deadline).await;
        let mut counts = counts.map_err(|error| error.to_string())?;
        let has_copies = |seen: &&Seen<ETag>| {
            counts.get(&seen.window.id.to_string()).is_some_and(|counts| counts.rows > watch::rows(&seen.window))
        };
        let several: Vec<String> = windows.iter().filter(has_copies).map(|seen| seen.window.id.to_string()).collect();
        if !several.is_empty() {
            let copies = self.catalog.copies(&table, &watermark, mode, &several, self.deadline).await;
            counts.extend(copies.map_err(|error| error.to_string())?.unwrap_or_default());
        }
        let counts = counts.into_iter().map(|(id, c)| {
            let first = c.first.map(|(at, rows)| Landing { at, rows });
            (id, Found { rows: c.rows, without_content: c.no_row, without_watermark: c.no_time, first })
        });
        Ok(counts.collect())
    }

    /// The verdict where the app may mend by itself what a person would be asked to.
    fn repaired(&self, window: &Window, found: Found, verdict: Verdict, now: Timestamp) -> Verdict {
        // What nobody pulls again as long as the table stands still is not removed.
        if self.head.stop {
            return verdict;
        }
        match (self.services.settings.repair, Place::of(self.head)) {
            (Repair::Delete, Some(place)) => {
                repair::instead(&place, window, found, verdict, self.head, now, &self.app.limits)
            }
            _ => verdict,
        }
    }
}

impl Counted<'_, '_> {
    /// What the source says of those windows of the batch that are held against it, as long as `others` are none of it; nothing where
    /// they wait for more to ask about.
    async fn null_watermarks(&self, source: &mut Source<'_>, batch: &[Seen<ETag>], others: usize) -> NullWatermarks {
        let Ok(counts) = &self.counts else { return NullWatermarks::new() };
        let (mut waiting, mut others) = (Vec::new(), others);
        for Seen { window, .. } in batch {
            let found = found(counts, window);
            match self.verdict(window, found) {
                Verdict::CountNullWatermarks => waiting.push(Waiting { window, landed: found.without_watermark }),
                Verdict::Verified | Verdict::Failed(_) => {}
                _ => others += 1,
            }
        }
        if is_asked(self.with.head, &waiting, others, self.now, &self.with.app.limits) {
            source.null_watermarks(self.with.head, &waiting).await
        } else {
            NullWatermarks::new()
        }
    }

    /// The verdict, and the window with what was found out about it.
    async fn judge(&self, asked: &NullWatermarks, window: &Window) -> (Window, Verdict) {
        let found = match &self.counts {
            Ok(counts) => found(counts, window),
            // Without a count nothing is proved and nothing is posted again; after the deadline a person is told.
            Err(error) => return (window.clone(), self.without_a_count(window, error).await),
        };
        let mut window = window.clone();
        let mut verdict = self.verdict(&window, found);
        if verdict == Verdict::CountNullWatermarks {
            verdict = match asked.get(&window.id) {
                Some(Ok(counted)) => {
                    window.null_watermarks = Some(*counted);
                    self.verdict(&window, found)
                }
                None | Some(Err(Unknown::Later)) => Verdict::Wait,
                Some(Err(Unknown::Refused(error))) => Verdict::Failed(format!(
                    "{} rows of window {} landed with a null {}, and how many the source has could not be asked: {error}. See to what \
                     the service says, then start another run",
                    found.without_watermark, window.id, self.with.head.watermark_column
                )),
                Some(Err(Unknown::Failed(error))) => self.uncounted(&window, error),
            };
        }
        let mut may_be_hidden = false;
        let is_short = window.seal.as_ref().is_some_and(|seal| found.rows < seal.rows);
        if is_short
            && !mutated!(RenewUnderSecurity)
            && matches!(verdict, Verdict::Repost | Verdict::Renew | Verdict::Failed(_))
        {
            match (self.looks.hidden().await, &verdict) {
                (Ok(None), _) => {}
                (Err(reason), Verdict::Failed(said)) => {
                    verdict = Verdict::Failed(format!("{said}. But {reason}"));
                    may_be_hidden = true;
                }
                // They may be there all the same: nothing is sent again, and nobody is asked to remove anything.
                (Ok(Some(reason)) | Err(reason), _) => {
                    let verdict = self.uncounted(&window, reason);
                    return (window, verdict);
                }
            }
        }
        if verdict == Verdict::Repost {
            (window, verdict) = self.looked_for_its_blob(window).await;
        }
        let (window, verdict) = self.explained(window, verdict, found).await;
        // Rows that may be there unseen are not taken for missing, and those beside them not removed.
        let verdict = if may_be_hidden { verdict } else { self.with.repaired(&window, found, verdict, self.now) };
        (with_landed(window, &verdict, found), verdict)
    }

    fn verdict(&self, window: &Window, found: Found) -> Verdict {
        let Counting { head, app, .. } = self.with;
        match Place::of(head) {
            Some(place) => judge(&place, &head.watermark_column, window, found, self.now, &app.limits),
            None => self.uncounted(window, "the name of its destination in the ledger is not the name of a table"),
        }
    }

    /// What becomes of a window that is due to be posted again.
    async fn looked_for_its_blob(&self, window: Window) -> (Window, Verdict) {
        let Some(seal) = &window.seal else { return (window, Verdict::Repost) };
        let stored = StoredBlob { url: seal.blob.clone(), compressed_bytes: seal.compressed_bytes };
        let blob = match self.with.services.ingestor.holds(&stored, &seal.sha256, self.with.deadline).await {
            Ok(true) => Blob::There,
            Ok(false) => Blob::Gone,
            Err(error) => Blob::Unknown(error.to_string()),
        };
        let told = match &blob {
            Blob::There => "there",
            Blob::Gone => "gone",
            Blob::Unknown(error) => error,
        };
        tracing::warn!(window = %window.id, blob = told, "nothing of a window has landed");
        before_repost(&window, &blob, self.now, &self.with.app.limits)
    }

    /// Takes in what the service has noted of a window that did not land: one that would fail again is not posted again.
    async fn explained(&self, window: Window, verdict: Verdict, found: Found) -> (Window, Verdict) {
        if !matches!(verdict, Verdict::Repost | Verdict::Failed(_)) {
            return (window, verdict);
        }
        let limits = &self.with.app.limits;
        match (self.looks.failure(&window).await, verdict) {
            (Ok(failure), verdict) => with_failure(window, verdict, failure.as_ref(), found.rows, limits),
            (Err(error), Verdict::Failed(reason)) => (window, Verdict::Failed(format!("{reason}. {error}"))),
            (Err(_), verdict) => (window, verdict),
        }
    }

    /// The verdict on a window that could not be counted. If it fails for that, a policy that keeps the rows from being seen is
    /// named rather than what it made of the count.
    async fn without_a_count(&self, window: &Window, error: &str) -> Verdict {
        let verdict = self.uncounted(window, error);
        match verdict {
            Verdict::Failed(_) => match self.looks.hidden().await {
                Ok(Some(reason)) => self.uncounted(window, reason),
                _ => verdict,
            },
            other => other,
        }
    }

    fn uncounted(&self, window: &Window, error: &str) -> Verdict {
        tracing::warn!(window = %window.id, error, "a window could not be judged");
        uncounted(window, error, self.now, &self.with.app.limits)
    }
}

fn found(counts: &HashMap<String, Found>, window: &Window) -> Found {
    counts.get(&window.id.to_string()).copied().unwrap_or_default()
}
