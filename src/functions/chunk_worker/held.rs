//! What the destination holds of the rows that a window is pulled for, where only the rest is to be copied. Which windows that
//! are is decided in `orchestration::difference`.

use super::Job;
use crate::adx::catalog::{Held, HeldSize, MAX_IDS, Page};
use crate::app::App;
use crate::kql::Identifier;
use crate::orchestration::chunk::{Met, not_yet};
use crate::orchestration::difference::{Against, Counted, Difference, Unmarked, against};
use crate::orchestration::ids::{WindowId, WindowName};
use crate::orchestration::ledger::Head;
use crate::orchestration::verification::doubted;
use crate::orchestration::window::Window;
use crate::rows::{Multiset, RowHash, Sieve, hash};
use crate::state::{Error, Transaction};
use crate::storage::ETag;
use std::cmp::Ordering;
use tokio::time::Instant;

/// Characters of rows in one answer: small beside the rest of what a worker needs, as several workers may read.
const PAGE_CHARACTERS: u64 = 2 * 1024 * 1024;
/// The most rows that are compared at once: 20 bytes each.
const MOST_ROWS: u64 = 2_000_000;
/// Looks at the destination until rows that it does not show are taken for removed.
const LOOKS: u32 = 2;

/// Where a window stands in the ledger, and at which version it was read.
type Place = (WindowName, ETag);

/// What lets only those rows of a window through which the destination does not hold; `None` where all go through.
///
/// # Errors
/// The state store's.
pub async fn sieve(app: &App, job: &mut Job, head: &Head, until: Instant) -> Result<Result<Option<Sieve>, Met>, Error> {
    let window = &job.window.record;
    let Some(difference) = &window.difference else { return Ok(Ok(None)) };
    let ledger = app.state.windows(&job.message.table).await?;
    let (places, records): (Vec<Place>, Vec<Window>) =
        ledger.into_iter().map(|(name, stored)| ((name, stored.etag), stored.record)).unzip();
    let ledger = || places.iter().zip(&records);
    let windows = match against(window, &records, app.state.now()) {
        Against::Windows(windows) => windows,
        Against::NotYet(other) => {
            let named = ledger().find(|(_, record)| record.id == other.id);
            let name = named.map_or(&job.message.window, |((name, _), _)| name);
            return Ok(Err(not_yet(head, window, (name, &other), app.state.now(), &app.limits)));
        }
        Against::Unknown => {
            let (low, high, source, destination) = (window.id.low, window.id.high, &head.source, &head.destination);
            return Ok(Err(Met::Hopeless(format!(
                "the ledger no longer has the windows of ({low}, {high}] with which late rows are to be compared, so that nothing can tell \
                 which of them {destination} holds, and none are copied. Run `adxingestor adopt --table {source}`: it puts the \
                 windows on record again"
            ))));
        }
    };
    if mutated!(RepairOfEverything) {
        return Ok(Ok(None));
    }
    let mut looked = Looked { short: window.short_looks, surplus: Vec::new() };
    let held = read(job, head, &windows, difference, until, &mut looked).await;
    for (place, record) in ledger().filter(|(_, record)| looked.surplus.contains(&record.id)) {
        doubt(app, job, place, record).await?;
    }
    job.window.record.short_looks = looked.short;
    Ok(held.map(|held| Some(Sieve::new(held, &head.watermark_column, &head.not_compared))))
}

/// What a look has shown.
struct Looked {
    /// How often rows were missing.
    short: u32,
    /// Windows of which there may be more rows than were proved.
    surplus: Vec<WindowId>,
}

/// Lets the next run count a proved window again.
async fn doubt(app: &App, job: &Job, (name, etag): &Place, record: &Window) -> Result<(), Error> {
    let Some(doubted) = doubted(record) else { return Ok(()) };
    tracing::warn!(window = %doubted.id, "a proved window is to be counted again");
    let change = Transaction::new().window(&job.message.table, name, &doubted, Some(etag))?;
    match app.state.commit(change).await {
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn read(
    job: &Job,
    head: &Head,
    windows: &[Counted],
    difference: &Difference,
    until: Instant,
    looked: &mut Looked,
) -> Result<Multiset, Met> {
    let name = |name: &str| Identifier::new(name).map_err(|error| Met::Refused(error.to_string()));
    let (table, watermark) = (name(&head.destination)?, name(&head.watermark_column)?);
    let mut reading = Reading { job, head, table, until, hashes: Vec::new() };
    let ids: Vec<String> = windows.iter().map(|window| window.id.to_string()).collect();
    for (ids, windows) in ids.chunks(MAX_IDS).zip(windows.chunks(MAX_IDS)) {
        let there = reading.take(Held::Windows(ids)).await?;
        let proved: u64 = windows.iter().map(|window| window.rows).sum();
        if there > proved {
            looked.surplus.extend(windows.iter().map(|window| window.id));
        }
        judge_held(&job.window.record, &head.destination, there, proved, &mut looked.short)?;
    }
    if let Some(unmarked) = &difference.unmarked {
        let Unmarked { first, last, after } = *unmarked;
        let within = (!unmarked.is_without()).then_some((first, last));
        reading.take(Held::Unmarked { watermark: &watermark, within, after }).await?;
    }
    Ok(Multiset::of(reading.hashes))
}

/// Holds what is there against what was proved of it. Rows that somebody has removed come back with those that came late; but
/// a first look may have missed some, whatever else an attempt has failed for.
fn judge_held(window: &Window, destination: &str, there: u64, proved: u64, short_looks: &mut u32) -> Result<(), Met> {
    let said = format!("{destination} holds {there} rows of windows of this range, and {proved} were proved");
    match there.cmp(&proved) {
        Ordering::Equal => Ok(()),
        Ordering::Less if *short_looks < LOOKS => {
            *short_looks += 1;
            Err(Met::Unavailable(said, None))
        }
        Ordering::Less => {
            tracing::warn!(window = %window.id, there, proved, "rows that were proved are gone and are copied again");
            Ok(())
        }
        Ordering::Greater => Err(Met::Hopeless(format!(
            "{said}: a window was loaded again. What came late is copied once the second copy is removed, by the command that its \
             own error gives; the next run looks which it is"
        ))),
    }
}

struct Reading<'a> {
    job: &'a Job,
    head: &'a Head,
    table: Identifier,
    until: Instant,
    hashes: Vec<RowHash>,
}

impl Reading<'_> {
    /// Takes rows in; gives how many.
    async fn take(&mut self, held: Held<'_>) -> Result<u64, Met> {
        let (services, mode) = (&self.job.services, self.job.services.chunk_id_mode(self.head));
        let size = services.catalog.held_size(&self.table, mode, held, self.until).await?;
        let HeldSize { rows, characters } = size;
        if self.hashes.len() as u64 + rows > MOST_ROWS {
            let (table, id) = (&self.head.destination, self.job.window.record.id);
            return Err(Met::Hopeless(format!(
                "{table} holds {rows} rows that window {id} is to be compared with, and at most {MOST_ROWS} are compared at once"
            )));
        }
        let count = characters.div_ceil(PAGE_CHARACTERS).max(1);
        let mut there = 0;
        self.hashes.reserve_exact(usize::try_from(rows).unwrap_or_default());
        for index in 0..count {
            let page = Page { index, count };
            let texts = services.catalog.held_rows(&self.table, mode, held, page, self.until).await?;
            there += texts.len() as u64;
            for text in texts.iter().filter(|text| !text.is_empty()) {
                // A row of another app that is no object is none of the source's.
                self.hashes.extend(hash(text, &self.head.not_compared).ok());
            }
        }
        if there == rows {
            return Ok(rows);
        }
        let table = &self.head.destination;
        Err(Met::Unavailable(format!("{table} held {rows} rows, and {there} of them were read"), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::seen;
    use crate::orchestration::window::WindowState;

    #[test]
    fn only_looks_that_showed_too_few_rows_make_them_taken_for_removed() {
        let window = Window { attempts: 3, ..seen(10, WindowState::Claimed).window };
        let mut short_looks = 0;
        let mut look = |there| judge_held(&window, "x", there, 5, &mut short_looks);
        assert!(look(5).is_ok());
        assert!(
            matches!(look(4), Err(Met::Unavailable(..))),
            "the first look that shows too few, in the fourth attempt"
        );
        assert!(matches!(look(4), Err(Met::Unavailable(..))));
        assert!(look(4).is_ok());
        assert!(matches!(look(6), Err(Met::Hopeless(_))));
    }
}
