//! A run that was asked for a part of the time only (`since`, `until`). Where a table was never copied, `since` says where it
//! begins for good. Where it was, the plan covers the whole new range all the same, so that windows lie side by side; those up to
//! `since` are left for a later run, and as long as they are, the watermark stays below them. `until` is an earlier end, and
//! what comes after it is the next run's new range.

use super::plan::Scope;
use crate::orchestration::instance::{LoadType, StartInput, TableResult, TableRun};
use crate::orchestration::ledger::{CutAxis, Head};
use crate::orchestration::limits::SOURCE_KEPT;
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;

/// A table of a run as the run was asked for it: with an earlier end, or the result that there is nothing to be copied. Snapshots have
/// no range.
pub fn bounded(table: TableRun, input: &StartInput) -> TableRun {
    if table.config.load_type == Some(LoadType::Snapshot) {
        return table;
    }
    let high = input.until.map_or(table.high, |until| table.high.min(until));
    let table = TableRun { high, ..table };
    match input.since {
        Some(since) if since >= high && table.result.is_none() => {
            let error = format!(
                "`since` ({since}) is not before the end of this run's range ({high}), so that nothing lies between them: give an \
                 earlier one"
            );
            table.with_result(TableResult { error: Some(error), ..TableResult::default() })
        }
        _ => table,
    }
}

/// Why a table cannot be copied up to `until` only; `None` where it can. A `Full` table is loaded once, so nobody would come back for the
/// rest.
pub fn refused(table: &TableRun, scope: Scope, input: &StartInput) -> Option<String> {
    let is_cut = |until: &Timestamp| *until <= table.high;
    let is_first = scope == Scope::NewRange && table.config.is_loaded_once();
    let until = input.until.filter(is_cut).filter(|_| is_first)?;
    Some(format!(
        "{} has LoadType Full, which loads a table once: with `until` ({until}) no later run would load what comes after. Leave \
         `until` out, or set LoadType to Incremental in the configuration table",
        table.config.source
    ))
}

/// The head as its first plan begins where the run was told to. Not where the source keeps nothing from before that, nor where another
/// app has copied the table: then the plan is only narrowed.
pub fn began(head: Head, table: &TableRun, now: Timestamp) -> Head {
    let has_times = head.shape.as_ref().is_some_and(|shape| shape.axis != CutAxis::Whole);
    let is_first = head.plan.is_none() && head.planned_to == Timestamp::MIN && table.config.high_watermark.is_none();
    match head.since.filter(|since| has_times && is_first && *since > now - SOURCE_KEPT) {
        Some(since) => Head { planned_to: since, verified_up_to: since, begins_after: Some(since), ..head },
        None => head,
    }
}

/// The head without a beginning of which no plan ever came.
pub fn forgotten(head: Head) -> Head {
    match head.begins_after {
        Some(_) if head.plan.is_none() => {
            Head { planned_to: Timestamp::MIN, verified_up_to: Timestamp::MIN, begins_after: None, ..head }
        }
        _ => head,
    }
}

/// What a person is to know of a table that has just begun later than its source does.
pub fn note(head: &Head) -> Option<String> {
    let begins = head.begins_after.filter(|_| head.plan.is_none())?;
    Some(format!(
        "{} begins behind {begins}, as this first run was told to: what lies before is not copied, by later runs neither",
        head.source
    ))
}

/// What a person is to know of a table of which nothing was asked, since earlier runs have come further.
pub fn nothing_asked(head: &Head, input: &StartInput) -> Option<String> {
    let has_times = head.shape.as_ref().is_some_and(|shape| shape.axis != CutAxis::Whole);
    let until = input.until.filter(|until| has_times && *until < head.planned_to)?;
    Some(format!(
        "nothing new was asked of {}: `until` ({until}) lies before {}, up to which earlier runs have come",
        head.source, head.planned_to
    ))
}

/// Where the range `(low, high]` of a plan is cut, so that what is left for later ends there.
pub fn edge(head: &Head, low: Timestamp, high: Timestamp) -> Option<Timestamp> {
    head.since.filter(|since| low < *since && *since < high)
}

/// A window that is to be pulled as it is left for a later run; `None` where this one pulls it. What is not on the cut axis, and what
/// came late to windows of before, is not left.
pub fn left_for_later(head: &Head, window: &Window, now: Timestamp) -> Option<Window> {
    let has_times = head.shape.as_ref().is_none_or(|shape| shape.axis != CutAxis::Whole);
    let is_plain = !window.id.is_null_axis() && !window.id.is_repair();
    let waits = matches!(window.state, WindowState::Planned | WindowState::Later);
    let is_left = has_times && is_plain && waits && head.since.is_some_and(|since| window.id.high <= since);
    is_left.then(|| Window { state: WindowState::Later, updated: now, ..window.clone() })
}

/// Whether the proved prefix ends where a window begins that was left for later.
pub fn ends_there(verified_up_to: Timestamp, windows: &[Window]) -> bool {
    windows.iter().any(|window| window.state == WindowState::Later && window.id.low <= verified_up_to)
}

/// What a person is to know of what was left for later.
pub fn warning(head: &Head, windows: &[Window]) -> Option<String> {
    let left = windows.iter().filter(|window| window.state == WindowState::Later);
    let (count, rows, end) = left.fold((0_u64, 0_u64, Timestamp::MIN), |(count, rows, end), window| {
        (count + 1, rows + window.planned_rows, end.max(window.id.high))
    });
    let since = head.since.filter(|_| count > 0)?;
    Some(format!(
        "{count} windows with {rows} rows up to {end} are left for a later run, as this one was to begin at {since}: until then the \
         watermark stays below them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, later, now, seen, shape, table};
    use crate::orchestration::ids::Part;
    use crate::orchestration::ledger::{Shape, TableState};

    fn asked(since: Option<Timestamp>, until: Option<Timestamp>) -> StartInput {
        StartInput { since, until, ..StartInput::default() }
    }

    #[test]
    fn an_end_that_lies_before_what_was_copied_is_told() {
        let planned = |shape: Option<Shape>| Head { planned_to: now(), shape, ..head(TableState::Planning) };
        let told = |head: &Head, until| nothing_asked(head, &asked(None, until));
        let said = told(&planned(Some(shape())), Some(now() - std::time::Duration::from_secs(1))).unwrap();
        assert!(said.contains("nothing new was asked of s") && said.contains(&now().to_string()), "{said}");
        assert_eq!(told(&planned(Some(shape())), Some(now())), None, "the same end again is no mistake");
        assert_eq!(told(&planned(Some(shape())), None), None);
        let whole = Shape { axis: CutAxis::Whole, ..shape() };
        assert_eq!(told(&planned(Some(whole)), Some(now() - std::time::Duration::from_secs(1))), None);
    }

    fn planning(since: Option<Timestamp>) -> Head {
        Head { since, shape: Some(shape()), ..head(TableState::Planning) }
    }

    #[test]
    fn an_end_is_only_ever_moved_to_before() {
        let table = TableRun { high: later(100), ..table() };
        let high = |until| bounded(table.clone(), &asked(None, Some(until))).high;
        assert_eq!((high(later(50)), high(later(150))), (later(50), later(100)));
        let snapshot = Some(LoadType::Snapshot);
        let config = crate::orchestration::instance::TableConfig { load_type: snapshot, ..table.config.clone() };
        let whole = TableRun { config, ..table };
        assert_eq!(bounded(whole.clone(), &asked(Some(later(200)), Some(later(50)))), whole);
    }

    #[test]
    fn a_beginning_behind_the_end_is_the_tables_error() {
        let table = TableRun { high: later(100), ..table() };
        let error = |since, until| bounded(table.clone(), &asked(Some(since), until)).result.and_then(|r| r.error);
        assert_eq!(error(later(99), None), None);
        assert!(error(later(100), None).unwrap().contains("give an earlier one"));
        assert!(error(later(60), Some(later(50))).is_some());
    }

    #[test]
    fn what_is_loaded_once_is_not_loaded_in_part() {
        let mut full = table();
        full.config.load_type = Some(LoadType::Full);
        full.high = later(5);
        let until = asked(None, Some(later(5)));
        assert!(refused(&full, Scope::NewRange, &until).unwrap().contains("Incremental"));
        assert_eq!(refused(&full, Scope::NewRange, &asked(None, Some(later(6)))), None, "it cuts nothing off");
        assert_eq!(refused(&full, Scope::Leftovers, &until), None);
        assert_eq!(refused(&full, Scope::NewRange, &asked(Some(later(5)), None)), None);
        full.config.load_type = Some(LoadType::Incremental);
        assert_eq!(refused(&full, Scope::NewRange, &until), None);
    }

    #[test]
    fn only_a_table_that_nobody_has_copied_begins_where_it_is_told_to() {
        let begun = |head: Head, table: &TableRun| {
            let head = began(head, table, later(9));
            (head.planned_to, head.begins_after.is_some())
        };
        let since = planning(Some(now()));
        assert_eq!(begun(since.clone(), &table()), (now(), true));
        assert_eq!(begun(planning(None), &table()), (Timestamp::MIN, false));
        let planned = Head { plan: Some("p".into()), ..since.clone() };
        assert!(!begun(planned, &table()).1);
        let mut taken_over = table();
        taken_over.config.high_watermark = Some(now());
        assert!(!begun(since.clone(), &taken_over).1);
        let long_ago = now() - SOURCE_KEPT;
        assert!(!begun(planning(Some(long_ago)), &table()).1, "the source has nothing from before");
        let whole = Head { shape: Some(Shape { axis: CutAxis::Whole, ..shape() }), ..since };
        assert!(!begun(whole, &table()).1);
    }

    #[test]
    fn a_beginning_of_which_no_plan_came_binds_nobody() {
        let begun = began(planning(Some(now())), &table(), later(9));
        assert!(note(&begun).unwrap().contains("begins behind"));
        assert_eq!(forgotten(begun.clone()).planned_to, Timestamp::MIN);
        let planned = Head { plan: Some("p".into()), ..begun };
        assert_eq!((forgotten(planned.clone()), note(&planned)), (planned, None));
    }

    #[test]
    fn windows_up_to_the_beginning_of_the_run_are_left_and_others_are_not() {
        let head = planning(Some(Timestamp::from_ticks(30)));
        let state = |window: Window| left_for_later(&head, &window, now()).map(|window| window.state);
        let planned = |low| seen(low, WindowState::Planned).window;
        assert_eq!((state(planned(20)), state(planned(25))), (Some(WindowState::Later), None));
        assert_eq!(state(seen(10, WindowState::Later).window), Some(WindowState::Later));
        for other in [WindowState::Claimed, WindowState::Sealed, WindowState::Submitted, WindowState::Failed] {
            assert_eq!(state(seen(10, other).window), None, "{other:?}");
        }
        let (mut repair, mut nulls) = (planned(10), planned(10));
        repair.id.repair = 1;
        (nulls.id.low, nulls.id.high, nulls.id.part) = (Timestamp::MIN, Timestamp::MIN, Part::WHOLE);
        assert_eq!((state(repair), state(nulls)), (None, None));
        assert_eq!(left_for_later(&planning(None), &planned(10), now()), None);
    }

    #[test]
    fn what_was_left_is_told_with_its_end() {
        let head = planning(Some(Timestamp::from_ticks(30)));
        let left = [seen(10, WindowState::Later).window, seen(20, WindowState::Later).window];
        let said = warning(&head, &left).unwrap();
        assert!(said.starts_with("2 windows") && said.contains(&Timestamp::from_ticks(30).to_string()), "{said}");
        assert_eq!(warning(&head, &[seen(10, WindowState::Verified).window]), None);
        assert!(ends_there(Timestamp::from_ticks(10), &left) && !ends_there(Timestamp::from_ticks(9), &left));
    }
}
