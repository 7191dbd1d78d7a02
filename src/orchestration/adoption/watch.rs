//! What a run looks for in the destination before it plans: windows that its ledger does not know, and second copies of
//! those that it does. Rows of a lost ledger may land until its last post is over.

use super::Landed;
use super::coverage::overlaps;
use crate::orchestration::ids::WindowId;
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::Limits;
use crate::orchestration::removal::Place;
use crate::orchestration::verification;
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How far the times of ingestion are trusted: they are approximate (dataexplorer-docs `query/ingestion-time-function`), and
/// the cluster's clock is not the store's.
const ROUGHLY: Duration = Duration::from_secs(3600);
/// Doubts that a run spells out.
const MOST_DOUBTS: usize = 10;

/// Windows of the destination that the ledger does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{destination} holds {windows} windows that the ledger in this state store does not know, the first of them {first}: its ledger was \
     lost, or another app copies to it. Run `adxingestor adopt --table {source_table}` with this STATE_STORE, or run with the STATE_STORE \
     that holds its ledger"
)]
pub struct Unknown {
    destination: String,
    source_table: String,
    windows: usize,
    first: WindowId,
}

/// A destination that another ledger owns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{destination} belongs to another ledger ({owner}; ours is {ours}): its rows are on record in another state store, or this one was \
     used with another spelling of AZURE_TENANT_ID or ADX_DATABASE (now: {now}). Run with that STATE_STORE or spelling; or, if that is \
     lost, run `adxingestor adopt --table {source_table}` with this one"
)]
pub struct Foreign {
    destination: String,
    source_table: String,
    owner: String,
    ours: String,
    now: String,
}

/// What is wrong with a destination whose owner is the ledger `owner`, if anything: what nobody owns may be ours. `now` shows the
/// settings that our ledger was found by.
pub fn foreign(head: &Head, owner: Option<&str>, now: &str) -> Option<Foreign> {
    let ours = head.ledger.to_string();
    owner.filter(|owner| *owner != ours).map(|owner| Foreign {
        destination: head.destination.clone(),
        source_table: head.source.clone(),
        owner: owner.to_owned(),
        ours: ours.clone(),
        now: now.to_owned(),
    })
}

/// Whether rows of a window may be in the destination.
pub fn is_posted(window: &Window) -> bool {
    match window.state {
        WindowState::Sealed | WindowState::Submitted | WindowState::Verified => true,
        WindowState::Failed => window.seal.is_some(),
        _ => false,
    }
}

/// The rows of a window that was posted; of one that was adopted, the rows that were there.
pub fn rows(window: &Window) -> u64 {
    window.seal.as_ref().map_or(window.planned_rows, |seal| seal.rows)
}

/// Where a look at the destination begins. A window that reaches beyond what is proved ends later than that, and was
/// ingested after its end. After an adoption all that lands is looked at, wherever it belongs.
pub fn look_after(head: &Head, now: Timestamp, limits: &Limits) -> Timestamp {
    let adopted = head.adopted.filter(|at| now.since(*at) <= limits.post_lifetime);
    adopted.map_or(head.verified_up_to, |at| at.min(head.verified_up_to)) - ROUGHLY
}

/// Whether a window may have been on record: wholly below what is proved, and as old as windows that are purged.
/// Those of rows without a time never are.
pub fn may_be_purged(head: &Head, landed: &Landed, now: Timestamp, limits: &Limits) -> bool {
    let is_proved = !landed.id.is_null_axis() && landed.id.high <= head.verified_up_to;
    is_proved && now.since(landed.last) + ROUGHLY > limits.history
}

/// Holds what has landed against the windows of the ledger. Gives what is there twice.
///
/// # Errors
/// [`Unknown`]: windows that stand for rows which the ledger has yet to copy.
pub fn examine(
    head: &Head,
    windows: &[Window],
    landed: &[Landed],
    now: Timestamp,
    limits: &Limits,
) -> Result<Vec<String>, Unknown> {
    let known: HashSet<WindowId> = windows.iter().map(|window| window.id).collect();
    let is_known = |one: &Landed| known.contains(&one.id) || may_be_purged(head, one, now, limits);
    let unknown: Vec<&Landed> = landed.iter().filter(|one| !is_known(one)).collect();
    let posted = windows.iter().filter(|window| is_posted(window)).map(|window| window.id);
    let ids: Vec<WindowId> = unknown.iter().map(|one| one.id).chain(posted).collect();
    let mut partner: Vec<Option<WindowId>> = vec![None; unknown.len()];
    for (left, right) in overlaps(&ids) {
        let (new, old) = (left.min(right), left.max(right));
        if new < unknown.len() && old >= unknown.len() {
            partner[new] = Some(ids[old]);
        }
    }
    let is_proved = |id: &WindowId| !id.is_null_axis() && id.high <= head.verified_up_to;
    let (twice, new): (Vec<_>, Vec<_>) =
        unknown.into_iter().zip(partner).partition(|(one, partner)| partner.is_some() || is_proved(&one.id));
    if let Some((first, _)) = new.first() {
        return Err(Unknown {
            destination: head.destination.clone(),
            source_table: head.source.clone(),
            windows: new.len(),
            first: first.id,
        });
    }
    let place = Place::of(head);
    let told = |(one, older): (&Landed, Option<WindowId>)| {
        place.as_ref().map(|place| place.overlap(&one.id, one.rows, older.as_ref()))
    };
    Ok(twice.into_iter().filter_map(told).collect())
}

/// Proved windows that may have landed again: the look shows more rows of them than were proved, or rows that were ingested after
/// the proof. Of those that a count has in mind already nothing is said.
pub fn landed_again(windows: &[Window], landed: &[Landed], limits: &Limits) -> HashSet<WindowId> {
    if mutated!(LandingAgainIgnored) {
        return HashSet::new();
    }
    let landed: HashMap<WindowId, &Landed> = landed.iter().map(|one| (one.id, one)).collect();
    let again = windows.iter().filter(|window| {
        let is_more = |one: &&Landed| one.rows > rows(window) || one.last > window.updated + limits.clock_margin;
        landed.get(&window.id).is_some_and(is_more) && verification::doubted(window).is_some()
    });
    again.map(|window| window.id).collect()
}

/// Whether what was posted of these windows, all of them proved, may still land again.
pub fn may_land_again(windows: &[Window], now: Timestamp, limits: &Limits) -> bool {
    let is_fresh = |window: &Window| window.last_post.is_some_and(|post| now.since(post) <= limits.landing_longest());
    windows.iter().any(is_fresh)
}

/// The head with what was found, cut to what a person can read.
pub fn doubted(head: Head, mut doubts: Vec<String>) -> Head {
    if doubts.len() > MOST_DOUBTS {
        let more = doubts.split_off(MOST_DOUBTS).len();
        doubts.push(format!("and {more} more like these"));
    }
    Head { doubts, ..head }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, later, now, seen};
    use crate::orchestration::ids::{LedgerId, Part};
    use crate::orchestration::ledger::TableState;

    fn landed(low: u64, high: u64) -> Landed {
        let at = Timestamp::from_ticks;
        let id =
            WindowId { ledger: LedgerId(9), low: at(low), high: at(high), part: Part::WHOLE, generation: 0, repair: 0 };
        Landed { id, rows: 3, first: now(), last: now() }
    }

    fn verified(to: u64) -> Head {
        Head { verified_up_to: Timestamp::from_ticks(to), ..head(TableState::Planning) }
    }

    fn examined(windows: &[Window], landed: &[Landed]) -> Result<Vec<String>, Unknown> {
        examine(&verified(20), windows, landed, later(60), &Limits::scaled(1.0))
    }

    fn windows() -> Vec<Window> {
        let states = [(10, WindowState::Verified), (20, WindowState::Submitted), (30, WindowState::Planned)];
        states.map(|(low, state)| seen(low, state).window).to_vec()
    }

    #[test]
    fn a_proved_window_is_in_doubt_of_which_more_rows_or_younger_ones_are_there() {
        let limits = Limits::scaled(1.0);
        let proved = |posts| Window { posts, ..seen(10, WindowState::Verified).window };
        let sent = rows(&proved(1));
        let shown = |window: &Window, rows, last| {
            let landed = Landed { id: window.id, rows, first: now(), last };
            !landed_again(std::slice::from_ref(window), &[landed], &limits).is_empty()
        };
        let at = proved(1).updated;
        assert!(!shown(&proved(1), sent, at) && shown(&proved(1), sent + 1, at));
        assert!(!shown(&proved(1), 1, at + limits.clock_margin), "clocks are apart");
        assert!(shown(&proved(1), 1, at + limits.clock_margin * 2), "the first copy is older than what was looked at");
        assert!(!shown(&proved(2), sent + 1, at), "it is counted again anyway");
        for state in [WindowState::Submitted, WindowState::Failed] {
            assert!(!shown(&seen(10, state).window, sent + 1, at), "{state:?} is for the count");
        }
    }

    #[test]
    fn a_loaded_table_is_looked_at_for_as_long_as_a_post_may_land() {
        let limits = Limits::scaled(1.0);
        let window = Window { last_post: Some(now()), ..seen(10, WindowState::Verified).window };
        let may = |after: u64| may_land_again(std::slice::from_ref(&window), later(after), &limits);
        assert!(may(7 * 86_400) && !may(8 * 86_400));
        let never = Window { last_post: None, ..window.clone() };
        assert!(!may_land_again(&[never], now(), &limits), "nothing was posted");
    }

    #[test]
    fn only_what_another_ledger_owns_is_refused() {
        let ours = head(TableState::Planning);
        assert_eq!(foreign(&ours, None, ""), None);
        assert_eq!(foreign(&ours, Some(&ours.ledger.to_string()), ""), None);
        let said = foreign(&ours, Some("00000000000000ff"), "ADX_DATABASE d").unwrap().to_string();
        assert!(said.contains("another spelling of AZURE_TENANT_ID or ADX_DATABASE (now: ADX_DATABASE d)"), "{said}");
        assert!(
            said.contains("x belongs to another ledger (00000000000000ff;") && said.contains("--table s"),
            "{said}"
        );
    }

    #[test]
    fn a_window_that_the_ledger_has_yet_to_copy_is_refused_with_the_command() {
        for foreign in [landed(30, 40), landed(35, 60), landed(100, 110), landed(0, 0)] {
            let said = examined(&windows(), &[landed(0, 5), foreign]).unwrap_err().to_string();
            assert!(said.contains("`adxingestor adopt --table s`") && said.contains("x holds 1 windows"), "{said}");
        }
    }

    #[test]
    fn what_lands_of_a_lost_ledger_over_posted_or_proved_windows_is_flagged_with_the_command() {
        let found = examined(&windows(), &[landed(25, 28), landed(0, 5)]).unwrap();
        assert_eq!(found.len(), 2);
        assert!(
            found[0].contains(&format!(
                ".delete table ['x'] records <| ['x'] | where ChunkId == \"{}\"",
                landed(25, 28).id
            ))
        );
        assert!(found[0].contains("which window 0000000000000001") && found[1].contains("has proved"), "{found:?}");
        let own: Vec<Landed> = windows().iter().map(|window| Landed { id: window.id, ..landed(10, 20) }).collect();
        assert_eq!(examined(&windows(), &own), Ok(vec![]));
    }

    #[test]
    fn a_window_that_was_purged_is_no_doubt() {
        let limits = Limits::scaled(1.0);
        let told = |days: u64| examine(&verified(20), &[], &[landed(0, 5)], later(days * 86_400), &limits).unwrap();
        assert_eq!((told(29).len(), told(30).len()), (1, 0));
        let unnoted = Landed { last: Timestamp::MIN, ..landed(0, 5) };
        assert_eq!(examine(&verified(20), &[], &[unnoted], later(60), &limits), Ok(vec![]));
        let beyond = [landed(15, 25)];
        for never in [beyond, [landed(0, 0)]] {
            assert!(
                examine(&verified(20), &[], &never, later(99 * 86_400), &limits).is_err(),
                "{never:?} is never purged"
            );
        }
    }

    #[test]
    fn a_look_begins_at_the_proved_end_and_for_a_week_after_an_adoption_before_it() {
        let limits = Limits::scaled(1.0);
        let proved = Head { verified_up_to: later(90_000), ..head(TableState::Idle) };
        assert_eq!(look_after(&proved, later(100_000), &limits), later(90_000) - ROUGHLY);
        let adopted = Head { adopted: Some(later(50_000)), ..proved };
        assert_eq!(look_after(&adopted, later(100_000), &limits), later(50_000) - ROUGHLY);
        assert_eq!(look_after(&adopted, later(50_000 + 7 * 86_400), &limits), later(50_000) - ROUGHLY);
        assert_eq!(look_after(&adopted, later(50_001 + 7 * 86_400), &limits), later(90_000) - ROUGHLY);
    }

    #[test]
    fn a_head_keeps_what_a_person_can_read() {
        let doubts = |count: usize| doubted(verified(0), (0..count).map(|n| n.to_string()).collect()).doubts;
        assert_eq!(doubts(10).len(), 10);
        assert_eq!(doubts(25).last().unwrap(), "and 15 more like these");
    }
}
