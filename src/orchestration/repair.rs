//! What the app removes by itself of a window that landed otherwise than it was sent, where `REPAIR=delete` lets it: the younger of
//! two copies, or all rows of a window that can be pulled again. What is to be removed is on record before it goes, and a count
//! after it decides, so that a crash anywhere repeats it and changes nothing.

use super::adoption::watch;
use super::ids::InstanceId;
use super::ledger::Head;
use super::limits::{Limits, SOURCE_KEPT};
use super::removal::Place;
use super::verification::{Found, Verdict};
use super::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often a removal is tried in a run.
const TRIES: u32 = 3;
/// What is pulled again has to be at the source for this long yet.
const TO_SPARE: Duration = Duration::from_secs(86_400);

/// Rows of a window that the app removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Only those that were ingested after this instant; all, if unset.
    #[serde(default)]
    pub after: Option<Timestamp>,
    /// How many they are, by the count.
    pub rows: u64,
    /// Of which window: another generation keeps what was removed of the one before.
    pub window: String,
    /// In which run.
    #[serde(default)]
    pub run: Option<InstanceId>,
    /// In which tenure of its table ([`Head::tenure`]).
    #[serde(default)]
    pub tenure: u64,
    /// How often it was tried in it.
    #[serde(default)]
    pub tries: u32,
    /// Why the last try came to nothing.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether another try would come to nothing too.
    #[serde(default)]
    pub refused: bool,
}

/// What follows where the app may remove rows: their removal instead of a failure that asks a person for it. `head` is that of the
/// table, held by the run that counts.
pub fn instead(
    place: &Place,
    window: &Window,
    found: Found,
    verdict: Verdict,
    head: &Head,
    now: Timestamp,
    limits: &Limits,
) -> Verdict {
    let (Verdict::Failed(reason) | Verdict::Doubled(reason)) = &verdict else { return verdict };
    let Some((after, rows)) = surplus(place, window, found, now, limits) else { return verdict };
    let before = window.removal.as_ref().filter(|removal| removal.tenure == head.tenure);
    let tries = before.map_or(0, |removal| removal.tries);
    if let Some(before) = before {
        let is_another = before.window != window.id.to_string();
        if before.refused || tries >= TRIES || is_another {
            let why = if is_another {
                "its rows were removed in this run already, and what was pulled again landed no better"
            } else {
                before.error.as_deref().unwrap_or("the rows were removed, and are there again")
            };
            let told = format!("{reason}. REPAIR=delete could not mend it: {why}");
            return if matches!(verdict, Verdict::Doubled(_)) { Verdict::Doubled(told) } else { Verdict::Failed(told) };
        }
    }
    Verdict::Remove(Removal {
        after,
        rows,
        window: window.id.to_string(),
        run: head.run.clone(),
        tenure: head.tenure,
        tries: tries + 1,
        error: None,
        refused: false,
    })
}

/// The rows that are too many, if their removal mends the window: from when on, and how many.
fn surplus(
    place: &Place,
    window: &Window,
    found: Found,
    now: Timestamp,
    limits: &Limits,
) -> Option<(Option<Timestamp>, u64)> {
    let sent = watch::rows(window);
    if found.rows == 0 || place.of_snapshots {
        return None;
    }
    if found.rows > sent {
        if let Some(first) = found.first.filter(|first| first.rows == sent) {
            return Some((Some(first.at), found.rows - sent));
        }
    } else if found.rows == sent {
        // Rows without content and watermarks that are not the source's would be the same after another pull: the column that
        // takes them has to be mended first, and until then the other rows of the window are good where they are.
        return None;
    }
    can_be_pulled_again(window, now, limits).then_some((None, found.rows))
}

/// Whether all rows of a window can be removed and pulled again without losing or doubling any: the source surely has them yet,
/// and no second post of it can be at work, which might have looked for the tag before the first one set it.
fn can_be_pulled_again(window: &Window, now: Timestamp, limits: &Limits) -> bool {
    let is_kept = window.id.low != Timestamp::MIN && now + TO_SPARE < window.id.low + SOURCE_KEPT;
    let is_alone = window.posts == 1
        || window.last_post.is_some_and(|post| now.since(post) > limits.ingestion_longest + limits.clock_margin);
    window.state == WindowState::Submitted && window.seal.is_some() && is_kept && is_alone
}

/// The window with the removal on record that is about to be made.
pub fn intended(window: &Window, removal: &Removal) -> Window {
    // What is gone then is pulled again; of two copies one stays.
    let landed_rows = if removal.after.is_none() { window.landed_rows.max(removal.rows) } else { window.landed_rows };
    Window { removal: Some(removal.clone()), landed_rows, ..window.clone() }
}

/// The window with what its removal came to, where that failed. `refused`: another try would come to nothing too.
pub fn failed(window: Window, error: String, refused: bool) -> Window {
    let removal = window.removal.map(|removal| Removal { error: Some(error), refused, ..removal });
    Window { removal, ..window }
}

/// What was removed of a window by the run that holds its table, for its result.
pub fn told(window: &Window, head: &Head) -> Option<String> {
    let removal = window.removal.as_ref().filter(|removal| removal.tenure == head.tenure && removal.error.is_none())?;
    let which = removal.after.map_or_else(
        || "all of them, which were pulled again under another id".to_owned(),
        |after| format!("a second copy, ingested after {after}"),
    );
    Some(format!("REPAIR=delete removed {} rows of window {}: {which}", removal.rows, removal.window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kql::Identifier;
    use crate::orchestration::head::testing::{head, later, now, seen};
    use crate::orchestration::ledger::{ChunkIdPlace, TableState};
    use crate::orchestration::renewal::renewed;
    use crate::orchestration::verification::Landing;

    fn place() -> Place {
        Place { table: Identifier::new("T").unwrap(), chunk_id: ChunkIdPlace::Column, of_snapshots: false }
    }

    /// Of the last hour, sealed with three rows and posted once.
    fn window() -> Window {
        let mut window = seen(10, WindowState::Submitted).window;
        window.id.low = now();
        Window { posts: 1, last_post: Some(now()), ..window }
    }

    /// The head of a table in its `tenure`.
    fn held(tenure: u64) -> Head {
        Head { tenure, ..head(TableState::Running) }
    }

    fn asked(place: &Place, window: &Window, found: Found) -> Verdict {
        let failed = Verdict::Failed("wrong".into());
        instead(place, window, found, failed, &held(1), later(3_600), &Limits::scaled(1.0))
    }

    fn rows(rows: u64) -> Found {
        Found { rows, ..Found::default() }
    }

    fn twice() -> Found {
        Found { first: Some(Landing { at: later(5), rows: sent() }), ..rows(2 * sent()) }
    }

    fn sent() -> u64 {
        watch::rows(&window())
    }

    fn removal(verdict: Verdict) -> Removal {
        match verdict {
            Verdict::Remove(removal) => removal,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_two_copies_the_younger_goes_and_of_half_a_one_all_of_it() {
        let younger = removal(asked(&place(), &window(), twice()));
        assert_eq!((younger.after, younger.rows, younger.tries), (Some(later(5)), sent(), 1));
        let all = removal(asked(&place(), &window(), rows(1)));
        assert_eq!((all.after, all.rows), (None, 1));
        let mixed = Found { first: Some(Landing { at: later(5), rows: 1 }), ..rows(2 * sent()) };
        assert_eq!(removal(asked(&place(), &window(), mixed)).after, None);
    }

    #[test]
    fn nothing_is_removed_that_could_not_be_pulled_again_or_may_yet_be_doubled() {
        let kept = |place: &Place, window: &Window, found| {
            assert!(matches!(asked(place, window, found), Verdict::Failed(_)), "{window:?}");
        };
        kept(&place(), &window(), rows(0));
        kept(&place(), &window(), Found { without_watermark: 1, ..rows(sent()) });
        kept(&place(), &window(), Found { without_content: 1, ..rows(sent()) });
        kept(&Place { of_snapshots: true, ..place() }, &window(), twice());
        let mut first = window();
        first.id.low = Timestamp::MIN;
        kept(&place(), &first, rows(1));
        let mut old = window();
        old.id.low = now() - Duration::from_secs(29 * 86_400);
        kept(&place(), &old, rows(1));
        kept(&place(), &Window { posts: 2, ..window() }, rows(1));
        assert_eq!(removal(asked(&place(), &Window { posts: 2, ..window() }, twice())).rows, sent());
    }

    #[test]
    fn only_a_failure_is_replaced() {
        for verdict in [Verdict::Verified, Verdict::Wait, Verdict::Repost, Verdict::Renew] {
            let same = instead(&place(), &window(), rows(1), verdict.clone(), &held(1), later(9), &Limits::scaled(1.0));
            assert_eq!(same, verdict);
        }
    }

    #[test]
    fn what_cannot_be_removed_is_for_a_person_who_is_told_why() {
        let intent = removal(asked(&place(), &window(), twice()));
        let intended = intended(&window(), &intent);
        assert_eq!(removal(asked(&place(), &intended, twice())).tries, 2, "a crash repeats it");
        let refused = failed(intended.clone(), "denied".into(), true);
        let said = asked(&place(), &refused, twice());
        assert_eq!(said, Verdict::Failed("wrong. REPAIR=delete could not mend it: denied".into()));
        let passing = failed(intended.clone(), "503".into(), false);
        assert_eq!(removal(asked(&place(), &passing, twice())).tries, 2);
        let tired = Window { removal: Some(Removal { tries: 3, ..intent.clone() }), ..intended };
        assert!(matches!(asked(&place(), &tired, twice()), Verdict::Failed(_)));
        let of_another_run = Window { removal: Some(Removal { tries: 3, tenure: 2, ..intent }), ..tired };
        assert_eq!(removal(asked(&place(), &of_another_run, twice())).tries, 1, "nor is one of its former life");
    }

    #[test]
    fn a_window_that_was_removed_is_pulled_again_once_in_a_run() {
        let removed = intended(&window(), &removal(asked(&place(), &window(), rows(1))));
        assert_eq!(removed.landed_rows, 1);
        let again = renewed(&removed, later(9)).unwrap();
        assert!(told(&again, &held(1)).unwrap().contains("removed 1 rows of window "));
        assert_eq!(told(&again, &held(2)), None);
        let again = Window { removal: again.removal, ..window() };
        let mut landed = again;
        landed.id.generation = 1;
        assert!(matches!(asked(&place(), &landed, rows(1)), Verdict::Failed(reason) if reason.contains("no better")));
    }
}
