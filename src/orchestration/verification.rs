//! What a count in ADX says of a submitted window. Nothing is called verified on any other ground.

use super::IllegalTransition;
use super::ledger::{ChunkIdPlace, Head};
use super::limits::{Limits, WINDOW_ATTEMPTS};
use super::renewal;
use super::window::{Window, WindowState};
use crate::remedy;
use crate::timestamp::Timestamp;

/// What ADX holds under a window's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows.
    pub rows: u64,
    /// Rows whose content is null.
    pub without_content: u64,
    /// Rows whose watermark is null.
    pub without_watermark: u64,
}

/// What follows from a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All rows are there, once.
    Verified,
    /// Not all are there yet: count again.
    Wait,
    /// None is there and the last post is old enough: record another post, then post the same blob.
    Repost,
    /// None is there, none can come any more, and the blob is gone: plan it again as another generation.
    Renew,
    /// Rows have a null watermark: count those at the source, then judge again.
    CountNullWatermarks,
    /// For a person.
    Failed(String),
}

/// Where the rows of a table land.
#[derive(Debug, Clone, Copy)]
pub struct Landing<'a> {
    /// The table.
    pub destination: &'a str,
    /// Its watermark column.
    pub watermark_column: &'a str,
    /// Where a row holds the id of its window.
    pub chunk_id: ChunkIdPlace,
}

impl Landing<'_> {
    fn removal(&self, window: &Window) -> String {
        remedy::remove_window(self.destination, &window.id.to_string(), self.chunk_id == ChunkIdPlace::Row)
    }
}

/// Judges one submitted window.
pub fn judge(landing: Landing<'_>, window: &Window, found: Found, now: Timestamp, limits: &Limits) -> Verdict {
    let Some(seal) = &window.seal else {
        return Verdict::Failed(format!("window {} was submitted without a seal; start another run", window.id));
    };
    let (id, destination) = (window.id, landing.destination);
    if found.rows > seal.rows {
        return Verdict::Failed(format!(
            "{destination} holds {} rows of window {id} but {} were sent: it was loaded more than once. Remove them with \
             `{}` (Database Admin), then start another run",
            found.rows,
            seal.rows,
            landing.removal(window)
        ));
    }
    if found.rows == seal.rows {
        return judge_content(landing, window, found);
    }
    let last_post = window.last_post.unwrap_or(window.updated);
    let waited = now.since(last_post);
    if found.rows == 0 && waited > limits.resubmit_after && window.attempts + 1 < WINDOW_ATTEMPTS {
        return Verdict::Repost;
    }
    if waited > limits.verify_deadline {
        return Verdict::Failed(format!(
            "{destination} shows {} of the {} rows of window {id} {} s after they were posted ({} posts)",
            found.rows,
            seal.rows,
            waited.as_secs(),
            window.posts
        ));
    }
    Verdict::Wait
}

fn judge_content(landing: Landing<'_>, window: &Window, found: Found) -> Verdict {
    let Landing { destination, watermark_column, .. } = landing;
    let id = window.id;
    if found.without_content > 0 {
        return Verdict::Failed(format!(
            "{} of the rows of window {id} landed in {destination} without content: rows above 1 MiB become null. Raise the limit \
             with `{}`, remove the window's rows with `{}`, then start another run",
            found.without_content,
            remedy::take_large_cells(destination),
            landing.removal(window)
        ));
    }
    match (found.without_watermark, window.null_watermarks) {
        (0, _) => Verdict::Verified,
        (found, Some(counted)) if found == counted => Verdict::Verified,
        (_, None) => Verdict::CountNullWatermarks,
        (found, Some(counted)) => Verdict::Failed(format!(
            "{found} rows of window {id} landed in {destination} with a null {watermark_column}, but the source has {counted} such \
             rows: the destination's {watermark_column} does not hold the source's values; check its type"
        )),
    }
}

/// Judges a submitted window that could not be judged by a count, for `error`. Nothing is proved and nothing is
/// posted again; after the deadline a person is told.
pub fn uncounted(window: &Window, error: &str, now: Timestamp, limits: &Limits) -> Verdict {
    if now.since(window.last_post.unwrap_or(window.updated)) > limits.verify_deadline {
        return Verdict::Failed(format!("what landed of the window could not be found out: {error}"));
    }
    Verdict::Wait
}

/// Records the verdict in the window and the head. [`Verdict::Wait`] and [`Verdict::CountNullWatermarks`] leave the
/// counts alone. A window that is renewed is not ready yet: the caller hands it out.
///
/// # Errors
/// [`IllegalTransition`] unless the window is submitted.
pub fn settle(
    head: &mut Head,
    window: &Window,
    verdict: &Verdict,
    now: Timestamp,
) -> Result<Window, IllegalTransition> {
    window.expect(WindowState::Submitted, "be judged")?;
    let settled = match verdict {
        Verdict::Verified => {
            head.progress.verified += 1;
            let rows = window.seal.as_ref().map_or(0, |seal| seal.rows);
            head.progress.rows += rows;
            head.unaudited_rows += rows;
            head.progress.repaired += u64::from(window.failures > 0);
            Window { state: WindowState::Verified, error: None, ..window.clone() }
        }
        Verdict::Failed(reason) => {
            head.progress.failed += 1;
            Window {
                state: WindowState::Failed,
                failures: window.failures + 1,
                error: Some(reason.clone()),
                ..window.clone()
            }
        }
        Verdict::Renew => renewal::renewed(window, now)?,
        Verdict::Repost => window.reposted(now)?,
        Verdict::Wait | Verdict::CountNullWatermarks => window.clone(),
    };
    if settled.state != window.state {
        head.counts.moved(window.state, settled.state);
    }
    Ok(Window { updated: now, ..settled })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::ids::{LedgerId, Part, WindowId};
    use crate::orchestration::window::Seal;
    use std::time::Duration;

    fn posted() -> Timestamp {
        "2026-05-01T00:00:00Z".parse().unwrap()
    }

    fn window() -> Window {
        let id =
            WindowId { ledger: LedgerId(1), low: Timestamp::MIN, high: posted(), part: Part::WHOLE, generation: 0 };
        let seal = Seal {
            blob: "b".into(),
            rows: 10,
            raw_bytes: 9,
            compressed_bytes: 9,
            longest_row_bytes: 1,
            sha256: String::new(),
        };
        Window {
            state: WindowState::Submitted,
            seal: Some(seal),
            posts: 1,
            last_post: Some(posted()),
            ..Window::planned(id, "p", false, 10, posted())
        }
    }

    fn judged(window: &Window, rows: u64, without_content: u64, without_watermark: u64, seconds: u64) -> Verdict {
        let found = Found { rows, without_content, without_watermark };
        let landing = Landing { destination: "T", watermark_column: "Timestamp", chunk_id: ChunkIdPlace::Column };
        judge(landing, window, found, posted() + Duration::from_secs(seconds), &Limits::scaled(1.0))
    }

    #[test]
    fn only_an_exact_count_is_a_proof() {
        assert_eq!(judged(&window(), 10, 0, 0, 1), Verdict::Verified);
        assert_eq!(judged(&window(), 9, 0, 0, 1), Verdict::Wait);
        assert!(
            matches!(judged(&window(), 11, 0, 0, 1), Verdict::Failed(reason) if reason.contains(".delete table T"))
        );
        assert!(matches!(judged(&window(), 10, 1, 0, 1), Verdict::Failed(reason) if reason.contains("1 MiB")));
    }

    #[test]
    fn rows_without_the_column_are_removed_by_the_id_inside_them() {
        let found = Found { rows: 11, ..Found::default() };
        let landing = Landing { destination: "my table", watermark_column: "Timestamp", chunk_id: ChunkIdPlace::Row };
        let verdict = judge(landing, &window(), found, posted(), &Limits::scaled(1.0));
        let removal = ".delete table ['my table'] records <| ['my table'] | where tostring(RawData._ChunkId) == ";
        assert!(matches!(&verdict, Verdict::Failed(reason) if reason.contains(removal)), "{verdict:?}");
    }

    #[test]
    fn a_window_is_posted_again_only_when_nothing_of_it_is_there_and_the_last_post_is_old() {
        assert_eq!(judged(&window(), 0, 0, 0, 600), Verdict::Wait);
        assert_eq!(judged(&window(), 0, 0, 0, 601), Verdict::Repost);
        assert_eq!(judged(&window(), 1, 0, 0, 601), Verdict::Wait);
        let tired = Window { attempts: 4, ..window() };
        assert_eq!(judged(&tired, 0, 0, 0, 601), Verdict::Wait);
        assert!(matches!(judged(&tired, 0, 0, 0, 1801), Verdict::Failed(_)));
    }

    #[test]
    fn a_window_that_cannot_be_counted_waits_until_the_deadline() {
        let judged =
            |seconds| uncounted(&window(), "503", posted() + Duration::from_secs(seconds), &Limits::scaled(1.0));
        assert_eq!(judged(1_800), Verdict::Wait);
        assert!(matches!(judged(1_801), Verdict::Failed(reason) if reason.ends_with("503")));
    }

    #[test]
    fn null_watermarks_are_held_against_the_source() {
        assert_eq!(judged(&window(), 10, 0, 3, 1), Verdict::CountNullWatermarks);
        let counted = Window { null_watermarks: Some(3), ..window() };
        assert_eq!(judged(&counted, 10, 0, 3, 1), Verdict::Verified);
        assert!(matches!(judged(&counted, 10, 0, 4, 1), Verdict::Failed(_)));
    }

    #[test]
    fn a_verdict_moves_the_counts_of_the_head() {
        let mut head = Head::new(LedgerId(1), "s", "T", "Timestamp", posted());
        head.counts.submitted = 2;
        let verified = settle(&mut head, &Window { failures: 1, ..window() }, &Verdict::Verified, posted()).unwrap();
        assert_eq!((verified.state, head.progress.rows, head.progress.repaired), (WindowState::Verified, 10, 1));
        let failed = settle(&mut head, &window(), &Verdict::Failed("x".into()), posted()).unwrap();
        assert_eq!((failed.state, failed.failures), (WindowState::Failed, 1));
        assert_eq!((head.counts.submitted, head.counts.verified, head.counts.failed), (0, 1, 1));
        assert!(settle(&mut head, &failed, &Verdict::Verified, posted()).is_err(), "only what is submitted is judged");
    }

    #[test]
    fn a_window_that_is_pulled_again_is_open_again() {
        let mut head = Head::new(LedgerId(1), "s", "T", "Timestamp", posted());
        head.counts.submitted = 1;
        let gone = Window { gone_since: Some(posted()), ..window() };
        let renewed = settle(&mut head, &gone, &Verdict::Renew, posted()).unwrap();
        assert_eq!((renewed.state, renewed.id.generation), (WindowState::Planned, 1));
        assert_eq!((head.counts.open, head.counts.submitted), (1, 0));
    }
}
