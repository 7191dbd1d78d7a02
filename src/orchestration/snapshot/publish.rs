//! The event *all windows of an attempt have ended*: is it all there, did the source stand still, and who sees it.

use super::{ATTEMPTS, Attempt, Counted, Snapshots, Verdict, attempt, is_whole};
use crate::orchestration::head::finish::is_due;
use crate::orchestration::head::verify::{Count, step_name};
use crate::orchestration::ids::TableKey;
use crate::orchestration::instance::Instance;
use crate::orchestration::ledger::{Head, HeadDebts, TableState, verified_prefix};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// What is to be found out before an attempt is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing: it is judged, not all of it is proved, or the table is not copied whole.
    Nothing,
    /// Whether the source still shows what its plan counted.
    Ask(Attempt),
    /// Nothing: what was pulled is not what its plan counted, so the source has changed.
    Changed(Attempt),
}

/// Looks at a table whose windows have all ended.
pub fn look(head: &Head, windows: &[Window]) -> Look {
    let Some(attempt) = attempt(head).filter(|attempt| attempt.verdict.is_none() && !attempt.told) else {
        return Look::Nothing;
    };
    let mut own = windows.iter().filter(|w| w.id.high == attempt.time && w.state != WindowState::Split).peekable();
    if own.peek().is_none() {
        return Look::Nothing;
    }
    let (mut rows, mut as_planned) = (0, true);
    for window in own {
        let pulled = match (window.state, &window.seal) {
            // A second copy of it would be seen.
            (WindowState::Verified, Some(seal)) if window.error.is_none() => seal.rows,
            (WindowState::Empty, _) => 0,
            _ => return Look::Nothing,
        };
        rows += pulled;
        as_planned &= pulled == window.planned_rows;
    }
    // The parts of a window that was split were counted later than the others.
    if as_planned && rows == attempt.counted.rows { Look::Ask(attempt.clone()) } else { Look::Changed(attempt.clone()) }
}

/// What the source showed once all of an attempt was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// This.
    Shown(Counted),
    /// Something else than what was counted.
    Changed,
    /// It could not be asked.
    Unknown(String),
}

/// Judges an attempt whose rows are all proved. A run that is over repeats none.
pub fn judge(attempt: &Attempt, after: After, run: &Instance) -> Verdict {
    match after {
        After::Shown(counted) if counted == attempt.counted => Verdict::Whole,
        After::Unknown(error) => Verdict::Unchecked(error),
        After::Shown(_) | After::Changed if attempt.number >= ATTEMPTS => Verdict::Torn,
        After::Shown(_) | After::Changed if run.status.is_final() => {
            Verdict::Unchecked("it changed, and the run was stopped before it could be copied again".to_owned())
        }
        After::Shown(_) | After::Changed => Verdict::Repeat,
    }
}

/// A verdict that is to be put on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// On the attempt of this time.
    pub time: Timestamp,
    /// It.
    pub verdict: Verdict,
    /// Hunting calls that were made for it.
    pub calls: u64,
}

/// The head with the verdict on its attempt, for `end`, a message that found this number in it; `None` where a verdict is on
/// record already, or the table is another run's. An attempt that is repeated is planned at once, which that message owes.
pub fn judged(
    table: &TableKey,
    head: &Head,
    run: &Instance,
    judgement: &Judgement,
    end: Count<'_>,
    now: Timestamp,
) -> Option<Head> {
    let Judgement { time, verdict, calls } = judgement;
    let judged = attempt(head).filter(|attempt| attempt.time == *time && attempt.verdict.is_none())?;
    let held = head.snapshots.as_ref().filter(|_| is_due(head, run))?;
    let repeats = *verdict == Verdict::Repeat;
    let attempt = Attempt { verdict: Some(verdict.clone()), ..judged.clone() };
    let snapshots = Some(Box::new(Snapshots { attempt: Some(attempt), ..Snapshots::clone(held) }));
    let mut next = Head { snapshots, updated: now, ..head.clone() };
    next.progress.calls += calls;
    if repeats {
        next.state = TableState::Planning;
        next.draft = None;
        next.verify = None;
        next.owed_plan = None;
        let (step, by) = (step_name(end.number), Some(end.message.to_owned()));
        next.owed_verify = Some(HeadDebts { step, by, messages: vec![plan_again(table, run)] });
        next.moved = now;
    }
    Some(next)
}

/// The message that plans the next attempt of a run.
fn plan_again(table: &TableKey, run: &Instance) -> Debt {
    let plan = ControlMessage::Plan { instance: run.id.clone(), table: table.clone(), attempt: 0 };
    Debt::control(plan, Duration::ZERO)
}

/// How far a table is proved: of one that is copied whole, the time of the snapshot that readers see.
pub fn proved_up_to(head: &Head, windows: &[Window]) -> Timestamp {
    if !is_whole(head) {
        return verified_prefix(head.verified_up_to, windows);
    }
    let published = attempt(head).filter(|attempt| attempt.is_published()).map(|attempt| attempt.time);
    published.map_or(head.verified_up_to, |at| at.max(head.verified_up_to))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attempted, counted};
    use super::*;
    use crate::orchestration::head::take::{Fresh, Take, take};
    use crate::orchestration::head::testing::{id, key, later, run, seen, table};
    use crate::orchestration::head::verify::{Look as Found, look as looked};
    use crate::orchestration::instance::RuntimeStatus;
    use crate::orchestration::ledger::Progress;

    fn running() -> Instance {
        Instance { status: RuntimeStatus::Running, ..run(1) }
    }

    fn due(number: u32, verdict: Option<Verdict>) -> Head {
        attempted(TableState::Finishing, number, verdict)
    }

    /// Windows of the attempt, of three rows each.
    fn windows(states: &[WindowState]) -> Vec<Window> {
        states.iter().map(|state| seen(10, *state).window).collect()
    }

    #[test]
    fn the_source_is_asked_again_only_when_all_that_was_planned_is_proved() {
        use WindowState::{Empty, Failed, Split, Verified};
        let ask = |windows: &[Window]| look(&due(1, None), windows);
        assert!(matches!(ask(&windows(&[Verified, Verified, Split])), Look::Ask(_)));
        assert_eq!(ask(&windows(&[Verified, Failed])), Look::Nothing);
        assert_eq!(ask(&windows(&[])), Look::Nothing);
        assert!(matches!(ask(&windows(&[Verified])), Look::Changed(_)), "three of six rows");
        assert!(matches!(ask(&windows(&[Verified, Verified, Empty])), Look::Changed(_)), "three rows went away");
        let mut moved = windows(&[Verified, Verified]);
        (moved[0].planned_rows, moved[1].planned_rows) = (2, 4);
        assert!(matches!(ask(&moved), Look::Changed(_)), "the sum is right and the parts are not");
        let mut doubled = windows(&[Verified, Verified]);
        doubled[0].error = Some("there twice".into());
        assert_eq!(ask(&doubled), Look::Nothing);
        assert_eq!(look(&due(1, Some(Verdict::Whole)), &windows(&[Verified, Verified])), Look::Nothing);
        // What an earlier attempt left is not of this one.
        let earlier = Window { id: seen(0, Failed).window.id, ..seen(0, Failed).window };
        assert!(matches!(ask(&[windows(&[Verified, Verified]), vec![earlier]].concat()), Look::Ask(_)));
    }

    #[test]
    fn what_changed_is_copied_again_twice_and_then_published_torn() {
        let verdict = |number, after| {
            let head = due(number, None);
            judge(attempt(&head).unwrap(), after, &running())
        };
        assert_eq!(verdict(1, After::Shown(counted(6))), Verdict::Whole);
        assert_eq!(verdict(3, After::Shown(counted(6))), Verdict::Whole);
        assert_eq!(verdict(1, After::Shown(counted(7))), Verdict::Repeat);
        assert_eq!(verdict(2, After::Changed), Verdict::Repeat);
        assert_eq!(verdict(3, After::Changed), Verdict::Torn);
        let other = Counted { fingerprint: "g".into(), ..counted(6) };
        assert_eq!(verdict(3, After::Shown(other)), Verdict::Torn);
        assert_eq!(verdict(3, After::Unknown("no".into())), Verdict::Unchecked("no".into()), "that proves no change");
    }

    #[test]
    fn a_run_that_was_stopped_repeats_nothing() {
        let head = due(1, None);
        let stopped = running().terminated("enough", later(1)).unwrap();
        assert!(matches!(judge(attempt(&head).unwrap(), After::Changed, &stopped), Verdict::Unchecked(_)));
    }

    fn judged_by(head: &Head, run: &Instance, verdict: Verdict) -> Option<Head> {
        let judgement = Judgement { time: Timestamp::from_ticks(20), verdict, calls: 1 };
        judged(&key(), head, run, &judgement, Count { number: 4, message: "m" }, later(1))
    }

    fn judged_as(head: &Head, verdict: Verdict) -> Option<Head> {
        judged_by(head, &running(), verdict)
    }

    #[test]
    fn a_verdict_is_on_record_once_and_decides_what_readers_see() {
        for (verdict, shown) in [(Verdict::Whole, 20), (Verdict::Torn, 20), (Verdict::Unchecked("no".into()), 10)] {
            let next = judged_as(&due(3, None), verdict.clone()).unwrap();
            assert_eq!((next.state, next.progress.calls), (TableState::Finishing, 1));
            assert_eq!(proved_up_to(&next, &windows(&[WindowState::Verified])).ticks(), shown, "{verdict:?}");
            assert_eq!(judged_as(&next, Verdict::Whole), None);
        }
        let unjudged = due(1, None);
        assert_eq!(proved_up_to(&unjudged, &windows(&[WindowState::Verified])).ticks(), 10, "proved, and not compared");
        assert_eq!(judged_by(&unjudged, &run(2), Verdict::Whole), None);
        let next = attempted(TableState::Running, 2, None);
        assert_eq!(judged_as(&next, Verdict::Whole), None, "it is being copied again");
    }

    #[test]
    fn an_attempt_that_is_repeated_is_planned_by_the_same_run_whose_figures_go_on() {
        let before =
            Head { verify_number: 4, progress: Progress { windows: 7, ..Progress::default() }, ..due(1, None) };
        let next = judged_as(&before, Verdict::Repeat).unwrap();
        assert_eq!((next.state, proved_up_to(&next, &[]).ticks()), (TableState::Planning, 10));
        assert_eq!(next.run, Some(id(1)));
        let found = |message| looked(&next, Count { number: 4, message });
        assert_eq!(
            found("m"),
            Found::Again(vec![plan_again(&key(), &running())]),
            "it may have been killed before it sent it"
        );
        assert_eq!(found("copy"), Found::Over);
        let Take::Ours(taken) = take(Some(&next), &table(), &running(), None, Fresh::from_bits(7), later(2)) else {
            panic!("not taken")
        };
        assert_eq!((taken.state, taken.progress.windows), (TableState::Planning, 7), "the run's figures go on");
        let another =
            take(Some(&next), &table(), &Instance { lives: 1, ..running() }, None, Fresh::from_bits(7), later(2));
        assert!(matches!(another, Take::Ours(taken) if taken.progress.windows == 0));
    }
}
