//! What a count in ADX says of a submitted window. Nothing is called verified on any other ground.

use super::IllegalTransition;
use super::adoption;
use super::ledger::Head;
use super::limits::{Limits, MAX_DYNAMIC_BYTES, SOURCE_KEPT, WINDOW_ATTEMPTS};
use super::outcome::{Outcome, Standing, is_due_again, is_given_up};
use super::removal::Place;
use super::renewal;
use super::repair::{self, Removal};
use super::window::{Window, WindowState};
use crate::remedy;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// What ADX holds under a window's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows.
    pub rows: u64,
    /// Rows whose content is null.
    pub without_content: u64,
    /// Rows whose watermark is null.
    pub without_watermark: u64,
    /// Those of the rows that were ingested first; `None` where the table does not note that.
    pub first: Option<Landing>,
}

/// Rows that were ingested at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landing {
    /// When.
    pub at: Timestamp,
    /// How many.
    pub rows: u64,
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
    /// None is there, none can come any more, and what was sealed brings none: plan it again as another generation.
    Renew,
    /// Rows have a null watermark: count those at the source, then judge again.
    CountNullWatermarks,
    /// For a person.
    Failed(String),
    /// It was proved, and more rows than were sent are there now: for a person. It stays proved, and the watermark where it is.
    Doubled(String),
    /// It landed otherwise than it was sent, and the app may mend that: record what it removes, then remove it, then count.
    Remove(Removal),
    /// It was proved, and a count made again shows no second copy: a person has removed one, or none can land any more.
    Single {
        /// Whether none can land any more.
        settled: bool,
    },
}

/// Judges one submitted window.
pub fn judge(
    place: &Place,
    watermark_column: &str,
    window: &Window,
    found: Found,
    now: Timestamp,
    limits: &Limits,
) -> Verdict {
    let Some(seal) = &window.seal else {
        return Verdict::Failed(format!("window {} was submitted without a seal; start another run", window.id));
    };
    if mutated!(CountSkippedBeforeRepost) && found.rows < seal.rows && window.attempts + 1 < WINDOW_ATTEMPTS {
        return Verdict::Repost;
    }
    if found.rows > seal.rows {
        let remedy = remove_younger(place, window, found, seal.rows).unwrap_or_else(|| {
            format!("By their times of ingestion the copies cannot be told apart: {}", remove_all(place, window, now))
        });
        return Verdict::Failed(format!("{}. {remedy}", loaded_again(place, window, found, seal.rows)));
    }
    if found.rows == seal.rows {
        return judge_content(place, watermark_column, window, found, now);
    }
    if found.rows == 0 && window.landed_rows > 0 {
        return Verdict::Renew;
    }
    if found.rows == 0 && window.outcome.standing == Standing::Hopeless {
        return Verdict::Failed(hopeless(place, window));
    }
    if waited(window, now) > limits.verify_deadline || found.rows == 0 && is_given_up(window, now, limits) {
        return Verdict::Failed(missing(place, window, found, seal.rows, now));
    }
    if found.rows == 0 && is_due_again(window, now, limits) { Verdict::Repost } else { Verdict::Wait }
}

/// How long it has been counted.
pub fn waited(window: &Window, now: Timestamp) -> Duration {
    now.since(window.counting_since.or(window.last_post).unwrap_or(window.updated))
}

/// A post that was refused for good: another one would be too.
fn hopeless(place: &Place, window: &Window) -> String {
    let error = window.outcome.error.as_deref().unwrap_or("no reason was given");
    format!("window {} could not be posted to {}: {error}", window.id, place.table)
}

fn missing(place: &Place, window: &Window, found: Found, sealed: u64, now: Timestamp) -> String {
    let (table, id) = (&place.table, window.id);
    let shown = format!(
        "{table} shows {} of the {sealed} rows of window {id} after {} s of counting ({} {}{})",
        found.rows,
        waited(window, now).as_secs(),
        window.posts,
        if window.posts == 1 { "post" } else { "posts" },
        window.outcome.error.as_ref().map_or_else(String::new, |error| format!("; last: {error}")),
    );
    match found.rows {
        0 => format!(
            "{shown}. Start another run: it counts again, and posts the window again where nothing of it is there"
        ),
        _ => format!("{shown}. If they stay the only ones, {}", remove_all(place, window, now)),
    }
}

fn judge_content(place: &Place, watermark_column: &str, window: &Window, found: Found, now: Timestamp) -> Verdict {
    let (table, id) = (&place.table, window.id);
    let longest = window.seal.as_ref().map_or(0, |seal| seal.longest_row_bytes);
    if found.without_content > 0 && longest <= MAX_DYNAMIC_BYTES {
        return Verdict::Failed(format!(
            "{} of the rows of window {id} landed in {table} without content, and none of them is too large (the longest has {longest} \
             bytes): the ingestion did not fill RawData. Check that it is a column of type dynamic, then {}",
            found.without_content,
            remove_all(place, window, now)
        ));
    }
    if found.without_content > 0 {
        return Verdict::Failed(format!(
            "{} of the rows of window {id} landed in {table} without content: rows above 1 MiB become null. Raise the limit \
             with `{}`, then {}",
            found.without_content,
            remedy::take_large_cells(table.as_str()),
            remove_all(place, window, now)
        ));
    }
    match (found.without_watermark, window.null_watermarks) {
        (0, _) => Verdict::Verified,
        // More of them may have come since the window was pulled.
        (found, Some(counted)) if found <= counted => Verdict::Verified,
        (_, None) => Verdict::CountNullWatermarks,
        (found, Some(counted)) => Verdict::Failed(format!(
            "{found} rows of window {id} landed in {table} with a null {watermark_column}, but the source has {counted} such \
             rows: the destination's {watermark_column} does not hold the source's values; check its type, then {}",
            remove_all(place, window, now)
        )),
    }
}

fn loaded_again(place: &Place, window: &Window, found: Found, sealed: u64) -> String {
    format!(
        "{} holds {} rows of window {} but {sealed} were sent: it was loaded more than once",
        place.table, found.rows, window.id
    )
}

/// The copy that landed first is whole, so that everything after it is another one; else `None`.
fn remove_younger(place: &Place, window: &Window, found: Found, sealed: u64) -> Option<String> {
    let first = found.first.filter(|first| first.rows == sealed)?;
    let command = place.remove_after(&window.id, first.at);
    Some(format!("Remove the younger copy with `{command}` (Database Admin), then start another run"))
}

/// Asks for what [`Verdict::Renew`] goes on from, for as long as the source has the rows.
fn remove_all(place: &Place, window: &Window, now: Timestamp) -> String {
    if place.of_snapshots {
        return "start another run: it makes a new snapshot, and readers never see the rows of this one".to_owned();
    }
    let (low, high) = (window.id.low, window.id.high);
    // The first window of a table has no lower end, and one of rows without a time has no end at all.
    let first_goes = (low != Timestamp::MIN).then(|| low + SOURCE_KEPT);
    let last_goes = (high != Timestamp::MIN).then(|| high + SOURCE_KEPT);
    if let Some(gone) = first_goes.or(last_goes).filter(|gone| now > *gone) {
        return format!("keep what is there: since {gone} the source no longer has all rows of the window");
    }
    let command = place.remove(&window.id);
    let until = first_goes.map_or_else(
        || "as far as the source still has them".to_owned(),
        |gone| format!("only while the source still has them, until {gone}"),
    );
    format!(
        "remove the window's rows with `{command}` (Database Admin), then start another run: it pulls them again, {until}"
    )
}

/// Judges a submitted window that could not be judged by a count, for `error`. Nothing is proved and nothing is
/// posted again; after the deadline a person is told.
pub fn uncounted(window: &Window, error: &str, now: Timestamp, limits: &Limits) -> Verdict {
    if waited(window, now) > limits.verify_deadline {
        return Verdict::Failed(format!("what landed of the window could not be found out: {error}"));
    }
    Verdict::Wait
}

/// The window with what its failure found of it, so that a later run knows that a person has removed it.
pub fn with_landed(window: Window, verdict: &Verdict, found: Found) -> Window {
    match verdict {
        Verdict::Failed(_) => Window { landed_rows: window.landed_rows.max(found.rows), ..window },
        _ => window,
    }
}

/// Whether a proved window is counted again: one that was posted more than once, until a count shows it once that was made when
/// no post could land any more, however long it is to the next run; and one of which too many rows were seen.
pub fn is_doubtful(window: &Window) -> bool {
    window.state == WindowState::Verified && (window.doubted || window.posts > 1 && !window.settled)
}

/// A proved window once more rows of it may have been seen than were proved; `None` if it is in doubt already, or not proved.
pub fn doubted(window: &Window) -> Option<Window> {
    let is_news = window.state == WindowState::Verified && !is_doubtful(window);
    is_news.then(|| Window { doubted: true, ..window.clone() })
}

/// Judges a proved window that was counted again; one that was adopted, by the rows that were there. `counted_at` is an instant
/// before the count.
pub fn judge_again(place: &Place, window: &Window, found: Found, counted_at: Timestamp, limits: &Limits) -> Verdict {
    let sent = adoption::watch::rows(window);
    if found.rows > sent {
        let remedy = remove_younger(place, window, found, sent).unwrap_or_else(|| {
            "By their times of ingestion the copies cannot be told apart: compare the rows, and remove one copy by a \
             soft delete (Database Admin)"
                .to_owned()
        });
        return Verdict::Doubled(format!("{}. {remedy}", loaded_again(place, window, found, sent)));
    }
    let settled = counted_at.since(window.last_post.unwrap_or(window.updated)) > limits.landing_longest();
    if settled || window.error.is_some() { Verdict::Single { settled } } else { Verdict::Wait }
}

/// Records the verdict in the window and the head. [`Verdict::Wait`] and [`Verdict::CountNullWatermarks`] leave the
/// counts alone. A window that is renewed is not ready yet: the caller hands it out.
///
/// # Errors
/// [`IllegalTransition`] unless the window is submitted; or proved, where the verdict is of one that was counted again.
pub fn settle(
    head: &mut Head,
    window: &Window,
    verdict: &Verdict,
    now: Timestamp,
) -> Result<Window, IllegalTransition> {
    let counted_again = match verdict {
        Verdict::Doubled(_) | Verdict::Single { .. } => true,
        Verdict::Remove(_) => window.state == WindowState::Verified,
        _ => false,
    };
    window.expect(if counted_again { WindowState::Verified } else { WindowState::Submitted }, "be judged")?;
    let settled = match verdict {
        Verdict::Verified => {
            head.progress.verified += 1;
            let rows = window.seal.as_ref().map_or(0, |seal| seal.rows);
            head.progress.rows += rows;
            head.unaudited_rows += rows;
            head.progress.repaired += u64::from(window.failures > 0);
            let waited = u64::try_from(waited(window, now).as_millis()).unwrap_or(u64::MAX);
            head.progress.proof.took(waited);
            Window { state: WindowState::Verified, error: None, outcome: Outcome::default(), ..window.clone() }
        }
        Verdict::Failed(reason) => {
            head.progress.failed += 1;
            head.progress.refuted += u64::from(window.seal.is_some());
            Window {
                state: WindowState::Failed,
                failures: window.failures + 1,
                error: Some(reason.clone()),
                ..window.clone()
            }
        }
        Verdict::Renew => renewal::renewed(window, now)?,
        Verdict::Repost => window.reposted(now)?,
        Verdict::Doubled(reason) => Window { error: Some(reason.clone()), run: head.run.clone(), ..window.clone() },
        Verdict::Remove(removal) if counted_again => {
            let error = format!("{} rows of it are there a second time, and are being removed", removal.rows);
            let run = head.run.clone();
            Window { error: Some(error), run, ..repair::intended(window, removal) }
        }
        Verdict::Remove(removal) => repair::intended(window, removal),
        Verdict::Single { settled } => {
            // One that was never doubled is no work of this run.
            let run = if window.error.is_some() { &head.run } else { &window.run };
            Window { error: None, settled: *settled, doubted: false, run: run.clone(), ..window.clone() }
        }
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
    use crate::kql::Identifier;
    use crate::orchestration::ids::{LedgerId, Part, WindowId};
    use crate::orchestration::ledger::ChunkIdPlace;
    use crate::orchestration::window::Seal;

    fn posted() -> Timestamp {
        "2026-05-01T00:00:00Z".parse().unwrap()
    }

    fn window() -> Window {
        let id = WindowId {
            ledger: LedgerId(1),
            low: Timestamp::MIN,
            high: posted(),
            part: Part::WHOLE,
            generation: 0,
            repair: 0,
        };
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
            counting_since: Some(posted()),
            ..Window::planned(id, "p", false, 10, posted())
        }
    }

    fn place() -> Place {
        Place { table: Identifier::new("T").unwrap(), chunk_id: ChunkIdPlace::Column, of_snapshots: false }
    }

    fn at(seconds: u64) -> Timestamp {
        posted() + Duration::from_secs(seconds)
    }

    fn rows(rows: u64) -> Found {
        Found { rows, ..Found::default() }
    }

    fn found(window: &Window, found: Found, seconds: u64) -> Verdict {
        judge(&place(), "Timestamp", window, found, at(seconds), &Limits::scaled(1.0))
    }

    fn again(window: &Window, found: Found, seconds: u64) -> Verdict {
        judge_again(&place(), window, found, at(seconds), &Limits::scaled(1.0))
    }

    fn judged(window: &Window, rows: u64, without_content: u64, without_watermark: u64, seconds: u64) -> Verdict {
        found(window, Found { rows, without_content, without_watermark, first: None }, seconds)
    }

    fn reason(verdict: Verdict) -> String {
        match verdict {
            Verdict::Failed(reason) | Verdict::Doubled(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_an_exact_count_is_a_proof() {
        assert_eq!(judged(&window(), 10, 0, 0, 1), Verdict::Verified);
        assert_eq!(judged(&window(), 9, 0, 0, 1), Verdict::Wait);
        assert!(reason(judged(&window(), 11, 0, 0, 1)).contains(".delete table T"));
        assert!(reason(judged(&window(), 10, 1, 0, 1)).contains("did not fill RawData"));
        let mut large = window();
        large.seal = large.seal.map(|seal| Seal { longest_row_bytes: MAX_DYNAMIC_BYTES + 1, ..seal });
        assert!(reason(judged(&large, 10, 1, 0, 1)).contains("1 MiB"));
    }

    #[test]
    fn of_a_window_that_landed_twice_only_the_younger_copy_is_to_be_removed() {
        let twice = |first| reason(found(&window(), Found { first, ..rows(20) }, 1));
        let whole = twice(Some(Landing { at: at(5), rows: 10 }));
        let command = format!("`{}`", place().remove_after(&window().id, at(5)));
        assert!(whole.contains(&command), "{whole}");
        for mixed in [Some(Landing { at: at(5), rows: 7 }), None] {
            let said = twice(mixed);
            assert!(said.contains(&format!("`{}`", place().remove(&window().id))), "{said}");
        }
    }

    #[test]
    fn what_landed_in_part_comes_with_its_remedy() {
        let said = reason(judged(&window(), 4, 0, 0, 1801));
        assert!(said.contains("4 of the 10") && said.contains(&place().remove(&window().id)), "{said}");
        assert!(!reason(judged(&window(), 0, 0, 0, 1801)).contains(".delete"));
    }

    #[test]
    fn of_a_snapshot_nothing_has_to_be_removed_for_the_next_one_to_be_made() {
        let place = Place { of_snapshots: true, ..place() };
        let partly = judge(&place, "SnapshotTime", &window(), rows(4), at(1801), &Limits::scaled(1.0));
        let said = reason(partly);
        assert!(!said.contains(".delete") && said.contains("start another run: it makes a new snapshot"), "{said}");
    }

    #[test]
    fn rows_are_removed_for_another_pull_only_while_the_source_has_them() {
        let mut later = window();
        later.id = WindowId { low: posted(), high: at(60), ..later.id };
        let kept = SOURCE_KEPT.as_secs();
        let said = |window: &Window, seconds| reason(judged(window, 10, 1, 0, seconds));
        let told = said(&later, kept);
        assert!(told.contains(&place().remove(&later.id)), "{told}");
        assert!(told.ends_with(&format!("until {}", at(kept))), "{told}");
        assert!(said(&window(), kept).ends_with("as far as the source still has them"), "it has no lower end");
        for (window, seconds) in [(later, kept + 1), (window(), kept + 1)] {
            let told = said(&window, seconds);
            assert!(!told.contains(".delete") && told.contains("keep what is there"), "{told}");
        }
    }

    #[test]
    fn a_window_whose_rows_a_person_removed_is_pulled_again() {
        let failed = Verdict::Failed("x".into());
        let removed = with_landed(window(), &failed, rows(20));
        assert_eq!(judged(&removed, 0, 0, 0, 1), Verdict::Renew);
        assert_eq!(judged(&removed, 10, 0, 0, 1), Verdict::Verified, "only the younger copy");
        assert_eq!(with_landed(window(), &Verdict::Wait, rows(4)), window(), "no person was asked to remove anything");
        assert_eq!(with_landed(removed, &failed, rows(0)).landed_rows, 20);
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
    fn the_deadline_runs_from_when_the_counting_began_whatever_was_posted_since() {
        let reposted = Window { posts: 3, attempts: 2, last_post: Some(at(1_700)), ..window() };
        assert!(matches!(judged(&reposted, 0, 0, 0, 1_801), Verdict::Failed(_)));
        let day = 86_400;
        let leftover = Window { counting_since: Some(at(day)), ..window() };
        assert_eq!(judged(&leftover, 0, 0, 0, day + 1), Verdict::Repost);
        assert_eq!(judged(&leftover, 9, 0, 0, day + 1), Verdict::Wait);
        assert_eq!(uncounted(&leftover, "503", at(day + 1), &Limits::scaled(1.0)), Verdict::Wait);
        assert!(matches!(uncounted(&leftover, "503", at(day + 1_801), &Limits::scaled(1.0)), Verdict::Failed(_)));
    }

    #[test]
    fn a_refusal_for_good_fails_the_window_at_once_with_its_words_but_not_before_a_count() {
        use crate::orchestration::outcome::Post;
        let refused = Post::Refused { reason: "no such role".into(), permanent: true };
        let hopeless = Window { outcome: Outcome::default().after(&refused), ..window() };
        assert!(reason(judged(&hopeless, 0, 0, 0, 1)).ends_with("could not be posted to T: no such role"));
        assert_eq!(judged(&hopeless, 10, 0, 0, 1), Verdict::Verified, "an earlier post has landed");
        assert_eq!(judged(&hopeless, 4, 0, 0, 1), Verdict::Wait);
        let next = hopeless.taken_up(at(9), &Limits::scaled(1.0)).unwrap();
        assert_eq!(judged(&next, 0, 0, 0, 10), Verdict::Repost);
        let reposted = next.reposted(at(10)).unwrap();
        assert_eq!(judged(&reposted, 0, 0, 0, 610), Verdict::Wait);
        let said = reason(judged(&reposted, 0, 0, 0, 611));
        assert!(said.contains("(2 posts; last: no such role). Start another run"), "{said}");
    }

    #[test]
    fn a_post_without_an_answer_is_told_where_nothing_landed() {
        use crate::orchestration::outcome::Post;
        let outcome = Outcome::default().after(&Post::Unknown("504".into()));
        let lost = Window { outcome, posts: 3, attempts: 4, ..window() };
        let said = reason(judged(&lost, 0, 0, 0, 1801));
        assert!(
            said.contains("shows 0 of the 10 rows") && said.contains("(3 posts; last: 504). Start another run"),
            "{said}"
        );
    }

    #[test]
    fn a_window_that_cannot_be_counted_waits_until_the_deadline() {
        let judged = |seconds| uncounted(&window(), "503", at(seconds), &Limits::scaled(1.0));
        assert_eq!(judged(1_800), Verdict::Wait);
        assert!(matches!(judged(1_801), Verdict::Failed(reason) if reason.ends_with("503")));
    }

    #[test]
    fn proved_windows_that_were_posted_more_than_once_are_in_doubt_until_a_count_after_their_last_post_could_land() {
        let mut head = Head::new(LedgerId(1), "s", "T", "Timestamp", posted());
        let proved = Window { state: WindowState::Verified, posts: 2, ..window() };
        assert!(is_doubtful(&proved), "however long ago it was posted");
        assert!(!is_doubtful(&Window { posts: 1, ..proved.clone() }));
        let surplus = doubted(&Window { posts: 1, settled: true, ..proved.clone() }).unwrap();
        assert!(is_doubtful(&surplus), "too many rows of it were seen");
        assert_eq!((doubted(&surplus), doubted(&window())), (None, None));
        assert!(!is_doubtful(&Window { state: WindowState::Submitted, ..proved.clone() }));
        let longest = 7 * 86_400 + 3_600 + 60;
        assert_eq!(again(&proved, rows(10), longest), Verdict::Wait);
        let single = again(&proved, rows(10), longest + 1);
        let settled = settle(&mut head, &proved, &single, at(longest + 2)).unwrap();
        assert!(!is_doubtful(&settled), "{single:?}");
        let twice = again(&proved, rows(20), longest + 1);
        let doubled = settle(&mut head, &proved, &twice, at(longest + 2)).unwrap();
        assert!(is_doubtful(&doubled) && doubled.error.is_some(), "until it is mended");
        let mended = settle(&mut head, &doubled, &again(&doubled, rows(10), longest + 3), at(longest + 4)).unwrap();
        assert_eq!((is_doubtful(&mended), mended.error), (false, None));
    }

    #[test]
    fn a_proved_window_with_a_second_copy_stays_proved_and_says_so_until_that_is_removed() {
        let mut head = Head::new(LedgerId(1), "s", "T", "Timestamp", posted());
        head.counts.verified = 1;
        let proved = Window { state: WindowState::Verified, posts: 2, ..window() };
        assert_eq!(again(&proved, rows(10), 1), Verdict::Wait);
        let twice = again(&proved, Found { first: Some(Landing { at: at(5), rows: 10 }), ..rows(20) }, 1);
        let doubled = settle(&mut head, &proved, &twice, at(9)).unwrap();
        assert!(reason(twice).contains(&place().remove_after(&proved.id, at(5))));
        assert_eq!((doubled.state, head.counts.verified, head.counts.failed), (WindowState::Verified, 1, 0));
        assert!(doubled.error.is_some());
        let single = again(&doubled, rows(10), 1);
        let mended = settle(&mut head, &doubled, &single, at(10)).unwrap();
        assert_eq!((mended.state, mended.error.clone(), head.progress.rows), (WindowState::Verified, None, 0));
        assert!(is_doubtful(&mended), "another post may still land");
        assert!(settle(&mut head, &window(), &single, at(10)).is_err());
        let mixed = reason(again(&proved, rows(20), 1));
        assert!(!mixed.contains("ChunkId"), "all rows of a proved window are not to be removed: {mixed}");
    }

    #[test]
    fn a_second_copy_of_an_adopted_window_is_told_by_the_rows_that_were_there() {
        let adopted = Window { state: WindowState::Verified, seal: None, posts: 2, ..window() };
        assert_eq!(again(&adopted, rows(10), 1), Verdict::Wait);
        let first = Some(Landing { at: at(5), rows: 10 });
        let said = reason(again(&adopted, Found { first, ..rows(20) }, 1));
        assert!(said.contains("20 rows") && said.contains("10 were sent"), "{said}");
        assert!(said.contains(&place().remove_after(&adopted.id, at(5))), "{said}");
        let told = Window { error: Some(said), ..adopted };
        assert_eq!(again(&told, rows(10), 1), Verdict::Single { settled: false });
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
        assert_eq!((failed.state, failed.failures, head.progress.refuted), (WindowState::Failed, 1, 1));
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
        head.counts.submitted = 1;
        let removed = settle(&mut head, &Window { landed_rows: 20, ..window() }, &Verdict::Renew, posted()).unwrap();
        assert_eq!((removed.id.generation, removed.landed_rows, removed.posts), (1, 0, 0));
    }
}
