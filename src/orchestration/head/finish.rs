//! The event *all windows have ended*: what the run says of the table, and letting go of it. Every step may be
//! repeated: what is done already changes nothing.

use super::narrow;
use super::take::is_of;
use super::verify::{Count, step_name};
use crate::orchestration::auditor::{Turn, turn};
use crate::orchestration::ids::{TableKey, WindowId};
use crate::orchestration::instance::{Instance, TableResult, TableRun};
use crate::orchestration::ledger::{Head, HeadDebts, Progress, TableState};
use crate::orchestration::limits::Limits;
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::repair;
use crate::orchestration::snapshot::{is_whole, result as snapshot};
use crate::orchestration::window::{Window, WindowState};
use crate::remedy;
use crate::timestamp::Timestamp;

/// Windows of a kind that a result spells out: those with a second copy, those of which rows were removed, those that expired,
/// those whose rows had left the source. A result is kept with its run, and a month of windows may be gone at once.
const MOST_SPELLED_OUT: usize = 10;

/// What became of the watermark in the configuration table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watermark {
    /// It stands where the proved prefix ends.
    Moved,
    /// `meta_Ledger` has another range on record.
    Held,
    /// It could not be written now.
    Failed(String),
    /// The service refuses to write it, and would refuse the next run.
    Refused(String),
    /// Another ledger owns the destination: nothing was written.
    Foreign(String),
}

/// Whether a run, in the life that it leads, still has to end this table.
pub fn is_due(head: &Head, run: &Instance) -> bool {
    is_of(head, run) && head.state == TableState::Finishing
}

/// Whether the end of a table may still wait until ADX takes its watermark and its audit: as long as a count may.
pub fn may_wait(head: &Head, now: Timestamp, limits: &Limits) -> bool {
    now < head.moved + limits.verify_deadline
}

/// The head once the audit row of a run counts what is proved; `None` when that is on record already.
pub fn audited(head: &Head, run: &Instance, now: Timestamp) -> Option<Head> {
    (is_due(head, run) && head.audited_rows.is_none()).then(|| Head {
        audited_rows: Some(head.unaudited_rows),
        unaudited_rows: 0,
        updated: now,
        ..head.clone()
    })
}

/// Whether a message may write the audit of a table whose windows have ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Audits {
    /// It may: the head says so.
    Yes,
    /// It may once this head is stored.
    Once(Box<Head>),
    /// Not now: another message does, or the end is not due any more. Should that one's worker die, it comes again.
    No,
}

/// Decides whether the message `by` writes the audit of a table.
pub fn audits(head: &Head, run: &Instance, by: &str, now: Timestamp, limits: &Limits) -> Audits {
    match turn(head.auditor.as_ref(), by, now, limits) {
        _ if !is_due(head, run) => Audits::No,
        Turn::Own => Audits::Yes,
        Turn::Other => Audits::No,
        Turn::Free(auditor) => Audits::Once(Box::new(Head { auditor: Some(auditor), updated: now, ..head.clone() })),
    }
}

/// What the source was asked before an end is put off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Hunting calls.
    pub calls: u64,
    /// Whether it told something that is not to be asked again.
    pub came_further: bool,
}

/// The head once `end`, a message that found this number in it, has put the end of the table off; `None` when another one has. The
/// message that comes back has the next number: of all copies of this one only one goes on. That it is under way is no reason
/// to send another.
pub fn postponed(
    table: &TableKey,
    head: &Head,
    run: &Instance,
    end: Count<'_>,
    asked: Asked,
    now: Timestamp,
    limits: &Limits,
) -> Option<Head> {
    let Count { number, message } = end;
    (is_due(head, run) && head.verify_number == number).then(|| {
        let next = ControlMessage::Verify { table: table.clone(), number: number + 1 };
        let messages = vec![Debt::control(next, limits.verify_longest)];
        let owed = HeadDebts { step: step_name(number), by: Some(message.to_owned()), messages };
        let progress = Progress { calls: head.progress.calls + asked.calls, ..head.progress };
        let moved = if asked.came_further { now } else { head.moved };
        let owed_verify = Some(owed);
        // The message that comes back is another one.
        Head { verify_number: number + 1, owed_verify, auditor: None, progress, moved, updated: now, ..head.clone() }
    })
}

/// Whether the run that holds a table did something to a window, in the life that it leads.
pub fn is_work_of(window: &Window, head: &Head) -> bool {
    window.tenure == head.tenure
}

/// What came of a table in its run. `windows` are all of the table, `verified_up_to` is the end of their proved prefix.
pub fn result(
    head: &Head,
    table: &TableRun,
    windows: &[Window],
    verified_up_to: Timestamp,
    watermark: &Watermark,
) -> TableResult {
    let errors = errors(head, windows, verified_up_to, watermark);
    TableResult {
        success: errors.is_empty(),
        skipped: None,
        error: (!errors.is_empty()).then(|| errors.join("; ")),
        warnings: warnings(head, table, windows, watermark),
        // Those that a run which was stopped had proved are counted by the next one, here as in the audit.
        rows: head.audited_rows.unwrap_or(head.unaudited_rows),
        windows_failed: windows.iter().filter(|window| window.state == WindowState::Failed).count() as u64,
        snapshots: snapshot::results(head, *watermark == Watermark::Moved),
        verified_up_to: (verified_up_to != Timestamp::MIN).then_some(verified_up_to),
        ended: None,
        ..progressed(head)
    }
}

/// What a result says of the progress that a head has counted.
pub(super) fn progressed(head: &Head) -> TableResult {
    let progress = &head.progress;
    TableResult {
        planned_rows: progress.planned_rows,
        posted_rows: progress.posted_rows,
        bytes: progress.bytes,
        windows: progress.windows,
        windows_done: progress.verified + progress.empty,
        windows_expired: progress.expired,
        windows_failed: progress.failed,
        leftovers: progress.leftovers,
        repaired: progress.repaired,
        calls: progress.calls,
        proof: progress.proof,
        ..TableResult::default()
    }
}

fn errors(head: &Head, windows: &[Window], verified_up_to: Timestamp, watermark: &Watermark) -> Vec<String> {
    let mut errors: Vec<String> =
        head.plan_error.iter().map(|error| format!("nothing new could be planned: {error}")).collect();
    let failed: Vec<&Window> = windows.iter().filter(|window| window.state == WindowState::Failed).collect();
    if let Some(first) = failed.first() {
        let reason = first.error.clone().unwrap_or_default();
        let (count, all) = (failed.len(), head.progress.windows);
        errors.push(format!("{count} of {all} windows failed; the first ({}): {reason}", first.id));
    }
    let waiting = windows.iter().filter(|window| window.state == WindowState::Planned).count();
    if waiting > 0 && head.progress.refuted > 0 && head.counts.verified == 0 {
        errors.push(format!(
            "{waiting} more were not begun: none of those that were posted could be proved. The next run goes on with them"
        ));
    } else if waiting > 0 && head.progress.refused > 0 {
        errors.push(format!(
            "{waiting} more were not begun, as they would be refused, too. The next run goes on with them"
        ));
    }
    let doubled = windows.iter().filter(|window| window.state == WindowState::Verified);
    errors.extend(spelled_out(doubled.filter_map(|window| window.error.clone()), "windows are there twice"));
    match watermark {
        Watermark::Failed(error) => errors.push(format!(
            "everything up to {verified_up_to} is proved, but the watermark could not be written ({error}); the next run writes it"
        )),
        Watermark::Refused(error) => errors.push(format!(
            "everything up to {verified_up_to} is proved, but ADX refuses to write the watermark ({error}): see to what it says; until then \
             HighWatermark stays where it is, and each run goes on from what is proved"
        )),
        Watermark::Foreign(error) => errors.push(error.clone()),
        Watermark::Moved | Watermark::Held => {}
    }
    errors.extend(head.doubts.iter().cloned());
    errors.extend(snapshot::error(head));
    if errors.is_empty() && verified_up_to < head.planned_to && !narrow::ends_there(verified_up_to, windows) {
        errors.push(format!(
            "only what arrived up to {verified_up_to} is proved, of what was planned up to {}",
            head.planned_to
        ));
    }
    errors
}

fn warnings(head: &Head, table: &TableRun, windows: &[Window], watermark: &Watermark) -> Vec<String> {
    let mut warnings = head.advice.clone();
    let removed = windows.iter().filter_map(|window| repair::told(window, head));
    warnings.extend(spelled_out(removed, "windows had rows removed"));
    if *watermark == Watermark::Held {
        warnings.push("the watermark was not moved: meta_Ledger already has another range on record".to_owned());
    }
    warnings.extend(head.notes.iter().cloned());
    if head.shape.as_ref().is_some_and(|shape| shape.row_format.is_plain()) {
        warnings.push(
            "the hunting service refuses to pack rows, so they are read plain and packed here: slower, and with the same content"
                .to_owned(),
        );
    }
    if is_whole(head) {
        warnings.extend(snapshot::warnings(head));
        return warnings;
    }
    let expired = windows.iter().filter(|w| w.state == WindowState::Expired && is_work_of(w, head));
    warnings.extend(spelled_out(expired.filter_map(|window| window.error.clone()), "windows expired"));
    warnings.extend(narrow::warning(head, windows));
    if head.progress.vanished_rows > 0 {
        warnings.push(format!(
            "{} rows that were planned had left the source before they were pulled{}",
            head.progress.vanished_rows,
            ranges_of_vanished(head, windows)
        ));
    }
    if let Some(moved) = table.config.high_watermark
        && head.plan.is_some()
        && head.shape.as_ref().is_some_and(|shape| shape.handover.is_none())
        // Where it lags, it is the app that has not written it: a write failed or was held, or the ledger was adopted.
        && moved > head.verified_up_to
        && head.verified_up_to != Timestamp::MIN
    {
        warnings.push(format!(
            "HighWatermark was {moved} when the run began, but the ledger has proved everything up to {}: the ledger decides, and writes \
             HighWatermark again. {}",
            head.verified_up_to,
            begin_at(table, moved)
        ));
    }
    warnings
}

/// What windows of a kind say, and of how many more the same is true.
fn spelled_out(texts: impl Iterator<Item = String>, of_more: &str) -> Vec<String> {
    let mut said: Vec<String> = texts.collect();
    let more = said.len().saturating_sub(MOST_SPELLED_OUT);
    said.truncate(MOST_SPELLED_OUT);
    if more > 0 {
        said.push(format!("and {more} more {of_more}"));
    }
    said
}

/// Where rows of this run had left the source.
fn ranges_of_vanished(head: &Head, windows: &[Window]) -> String {
    let lost = |window: &Window| match (&window.seal, window.state) {
        (_, WindowState::Expired) => window.planned_rows,
        (Some(seal), _) if window.difference.is_none() => window.planned_rows.saturating_sub(seal.rows),
        _ => 0,
    };
    let of_run = windows.iter().filter(|window| is_work_of(window, head));
    let all: Vec<(u64, &WindowId)> =
        of_run.map(|window| (lost(window), &window.id)).filter(|(rows, _)| *rows > 0).collect();
    let mut named: Vec<String> =
        all.iter().take(MOST_SPELLED_OUT).map(|(rows, id)| format!("{rows} of ({}, {}]", id.low, id.high)).collect();
    if all.len() > MOST_SPELLED_OUT {
        named.push(format!("and those of {} more windows", all.len() - MOST_SPELLED_OUT));
    }
    if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) }
}

/// How to have what a user wants who moves a watermark: another destination, which begins there.
fn begin_at(table: &TableRun, moved: Timestamp) -> String {
    let config = &table.config;
    let other = format!("{}_2", config.destination);
    format!(
        "To copy only what comes after {moved}, run `{}` (with your own names, if CONFIG_TABLE is another table): from then on \
         {} is copied to {other} instead of {}, which gets no more rows",
        remedy::begin_elsewhere("meta_MigrationConfiguration", &config.source, &other, moved),
        config.source,
        config.destination
    )
}

/// The head without its run, which keeps how far it is proved; `None` when that is done already.
pub fn let_go(head: &Head, run: &Instance, verified_up_to: Timestamp, now: Timestamp) -> Option<Head> {
    is_due(head, run).then(|| Head {
        run: None,
        state: TableState::Idle,
        verify: None,
        audited_rows: None,
        auditor: None,
        snapshots: head.snapshots.as_ref().map(|held| Box::new(held.told())),
        verified_up_to: head.verified_up_to.max(verified_up_to),
        updated: now,
        ..head.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, key, later, now, run, seen, shape, table};
    use crate::orchestration::head::verify::{Look, look, owed_by};

    fn at(ticks: u64) -> Timestamp {
        Timestamp::from_ticks(ticks)
    }

    fn count(number: u64, message: &str) -> Count<'_> {
        Count { number, message }
    }

    fn finishing(planned_to: u64) -> Head {
        Head { planned_to: at(planned_to), ..head(TableState::Finishing) }
    }

    #[test]
    fn one_message_at_a_time_writes_the_audit_of_a_table() {
        let (limits, due) = (Limits::scaled(1.0), finishing(10));
        let Audits::Once(first) = audits(&due, &run(1), "m", now(), &limits) else { panic!() };
        let audits = |head: &Head, by, after| audits(head, &run(1), by, later(after), &limits);
        assert_eq!((audits(&first, "m", 1), audits(&first, "copy", 1)), (Audits::Yes, Audits::No));
        let lease = limits.lease().as_secs();
        assert!(matches!(audits(&first, "copy", lease), Audits::Once(_)), "nobody is at it any more");
        assert!(matches!(audits(&first, "m", lease), Audits::Once(_)), "it came again, and takes its time");
        assert_eq!(audits(&Head { state: TableState::Idle, ..due }, "m", 1), Audits::No);
        let end = Count { number: first.verify_number, message: "m" };
        let put_off = postponed(&key(), &first, &run(1), end, Asked::default(), later(1), &limits).unwrap();
        assert!(matches!(audits(&put_off, "next", 60), Audits::Once(_)), "the one that comes back is another");
    }

    #[test]
    fn a_table_is_a_success_only_when_everything_planned_is_proved() {
        let proved = [seen(0, WindowState::Verified).window];
        assert!(result(&finishing(10), &table(), &proved, at(10), &Watermark::Moved).success);
        let short = result(&finishing(20), &table(), &proved, at(10), &Watermark::Moved);
        assert!(!short.success && short.error.unwrap().contains("only what arrived up to"));
    }

    #[test]
    fn what_could_not_be_planned_is_an_error_whatever_was_proved() {
        let proved = [seen(0, WindowState::Verified).window];
        let refused = Head { plan_error: Some("no licence".into()), ..finishing(10) };
        let said = result(&refused, &table(), &proved, at(10), &Watermark::Moved);
        assert!(!said.success && said.error.unwrap().ends_with("no licence"));
        assert_eq!(said.verified_up_to, Some(at(10)));
    }

    #[test]
    fn rows_that_had_left_the_source_are_named_with_their_ranges() {
        let progress = Progress { vanished_rows: 6, ..Progress::default() };
        let head = Head { progress, tenure: 2, ..finishing(30) };
        let of_run = |low, planned_rows, state| {
            let window = seen(low, state).window;
            Window { planned_rows, tenure: 2, ..window }
        };
        let half_gone = of_run(10, 5, WindowState::Verified);
        let expired = of_run(20, 4, WindowState::Expired);
        let of_before = Window { tenure: 1, ..half_gone.clone() };
        let windows = [of_run(0, 3, WindowState::Verified), half_gone, expired, of_before];
        let said = result(&head, &table(), &windows, at(30), &Watermark::Moved).warnings.join("\n");
        let ranges = format!("pulled: 2 of ({}, {}], 4 of ({}, {}]", at(10), at(20), at(20), at(30));
        assert!(said.starts_with("6 rows") && said.ends_with(&ranges), "{said}");
    }

    #[test]
    fn of_a_month_of_windows_that_expired_or_are_there_twice_the_first_are_spelled_out_and_the_rest_is_counted() {
        let head = Head { run: Some(id(1)), ..finishing(30) };
        let of = |state| {
            move |low| {
                let error = Some(format!("window {low}"));
                Window { error, run: Some(id(1)), ..seen(low, state).window }
            }
        };
        let expired = (0..5_000).map(of(WindowState::Expired)).collect::<Vec<_>>();
        let said = result(&head, &table(), &expired, at(30), &Watermark::Moved).warnings;
        assert_eq!(
            (said.len(), said[9].as_str(), said[10].as_str()),
            (11, "window 9", "and 4990 more windows expired")
        );
        let said = result(&head, &table(), &expired[..10], at(30), &Watermark::Moved).warnings;
        assert_eq!(said.len(), 10);
        let twice = (0..12).map(of(WindowState::Verified)).collect::<Vec<_>>();
        let error = result(&head, &table(), &twice, at(30), &Watermark::Moved).error.unwrap();
        assert!(error.ends_with("window 9; and 2 more windows are there twice"), "{error}");
    }

    #[test]
    fn a_failed_window_is_named_with_its_reason() {
        let failed = Window { error: Some("no luck".into()), ..seen(0, WindowState::Failed).window };
        let said = result(&finishing(10), &table(), &[failed], at(0), &Watermark::Moved);
        assert_eq!((said.success, said.windows_failed), (false, 1));
        assert!(said.error.unwrap().ends_with("no luck"));
    }

    #[test]
    fn a_watermark_that_could_not_be_written_is_an_error_and_one_that_was_held_a_warning() {
        let said = |watermark| result(&finishing(10), &table(), &[], at(10), &watermark);
        for (watermark, is_later) in
            [(Watermark::Failed("503".into()), true), (Watermark::Refused("400".into()), false)]
        {
            let said = said(watermark);
            assert_eq!(said.error.map(|error| error.contains("next run writes it")), Some(is_later));
            assert!(!said.success);
        }
        assert_eq!(
            said(Watermark::Foreign("x belongs to another".into())).error.as_deref(),
            Some("x belongs to another")
        );
        let held = said(Watermark::Held);
        assert!(held.success && held.warnings.len() == 1);
    }

    #[test]
    fn a_proved_window_that_is_there_twice_is_an_error_and_the_watermark_stays() {
        let doubled = Window { error: Some("run `.delete table x`".into()), ..seen(0, WindowState::Verified).window };
        let said = result(&finishing(10), &table(), &[doubled], at(10), &Watermark::Moved);
        assert_eq!((said.success, said.error.as_deref()), (false, Some("run `.delete table x`")));
        assert_eq!((said.verified_up_to, said.windows_failed), (Some(at(10)), 0));
    }

    #[test]
    fn a_table_that_was_given_up_says_what_was_not_begun() {
        let mut head = finishing(30);
        head.progress.refuted = 1;
        let failed = Window { error: Some("a wrong mapping".into()), ..seen(0, WindowState::Failed).window };
        let windows = [failed, seen(10, WindowState::Planned).window, seen(20, WindowState::Planned).window];
        let said = result(&head, &table(), &windows, at(0), &Watermark::Moved).error.unwrap();
        assert!(said.contains("a wrong mapping; 2 more were not begun"), "{said}");
    }

    #[test]
    fn a_table_whose_windows_are_refused_says_what_was_not_begun() {
        let mut head = finishing(30);
        head.progress.refused = 1;
        let failed = Window { error: Some("no permission".into()), ..seen(0, WindowState::Failed).window };
        let windows = [failed, seen(10, WindowState::Planned).window];
        let said = result(&head, &table(), &windows, at(0), &Watermark::Moved).error.unwrap();
        assert!(said.contains("no permission; 1 more were not begun"), "{said}");
    }

    #[test]
    fn a_watermark_that_a_user_moved_is_said_with_the_command_that_begins_there() {
        let head = Head { plan: Some("p".into()), shape: Some(shape()), verified_up_to: later(0), ..finishing(10) };
        let mut table = table();
        table.config.high_watermark = Some(later(0));
        assert_eq!(result(&head, &table, &[], later(0), &Watermark::Moved).warnings, Vec::<String>::new());
        table.config.high_watermark = Some(later(60));
        let said = result(&head, &table, &[], later(0), &Watermark::Moved).warnings.remove(0);
        let moved = "datetime(2026-05-01T00:01:00.0000000Z)";
        let extended =
            format!("extend DestinationTable = \"x_2\", HighWatermark = {moved}, LastRefreshedTime = {moved} |");
        assert!(said.contains("where SourceTable == \"s\"") && said.contains(&extended), "{said}");
        assert!(said.ends_with("s is copied to x_2 instead of x, which gets no more rows"), "{said}");
    }

    #[test]
    fn a_watermark_that_lags_behind_the_ledger_is_nobodys_doing() {
        let head = Head { plan: Some("p".into()), shape: Some(shape()), verified_up_to: later(60), ..finishing(10) };
        let mut table = table();
        table.config.high_watermark = Some(later(0));
        assert_eq!(result(&head, &table, &[], later(60), &Watermark::Moved).warnings, Vec::<String>::new());
    }

    #[test]
    fn what_is_there_twice_is_an_error_with_its_command_although_all_else_is_proved() {
        let doubted = Head { doubts: vec!["run `.delete table x`".into()], ..finishing(10) };
        let said = result(&doubted, &table(), &[], at(10), &Watermark::Moved);
        assert_eq!((said.success, said.error.as_deref()), (false, Some("run `.delete table x`")));
    }

    #[test]
    fn the_audit_of_a_run_is_about_its_own_windows_whatever_clocks_say_and_not_about_those_of_its_former_life() {
        let former = Head { tenure: 3, ..head(TableState::Finishing) };
        let of = |tenure, updated| Window { tenure, updated, ..seen(0, WindowState::Failed).window };
        let rewound = Head { tenure: 4, ..former.clone() };
        assert!(is_work_of(&of(3, later(9)), &former) && !is_work_of(&of(3, later(9)), &rewound));
        assert!(is_work_of(&of(4, Timestamp::MIN), &rewound), "a worker's clock is behind the run's");
    }

    #[test]
    fn an_end_that_is_put_off_is_under_way_and_its_patience_still_runs_out() {
        let limits = Limits::scaled(1.0);
        let due = finishing(10);
        let put_off =
            postponed(&key(), &due, &run(1), count(due.verify_number, "m"), Asked::default(), later(90), &limits)
                .unwrap();
        assert_eq!((put_off.updated, put_off.moved), (later(90), due.moved));
        let asked = Asked { calls: 2, came_further: true };
        let further =
            postponed(&key(), &due, &run(1), count(due.verify_number, "m"), asked, later(90), &limits).unwrap();
        assert_eq!((further.moved, further.progress.calls), (later(90), due.progress.calls + 2), "it has begun anew");
        let deadline = due.moved + limits.verify_deadline;
        assert!(may_wait(&put_off, later(90), &limits) && !may_wait(&put_off, deadline, &limits));
        assert_eq!(
            postponed(&key(), &due, &run(2), count(due.verify_number, "m"), Asked::default(), later(90), &limits),
            None
        );
    }

    #[test]
    fn of_the_copies_of_a_message_that_puts_an_end_off_only_one_goes_on() {
        let (limits, before) = (Limits::scaled(1.0), Head { verify_number: 7, ..finishing(10) });
        let put_off = postponed(&key(), &before, &run(1), count(7, "m"), Asked::default(), later(90), &limits).unwrap();
        let next = Debt::control(ControlMessage::Verify { table: key(), number: 8 }, limits.verify_longest);
        assert_eq!(owed_by(&put_off, count(7, "m")), std::slice::from_ref(&next));
        assert_eq!(owed_by(&put_off, count(7, "copy")), []);
        assert_eq!(postponed(&key(), &put_off, &run(1), count(7, "copy"), Asked::default(), later(91), &limits), None);
        let look = |head, number, message| look(head, count(number, message));
        assert_eq!(look(&before, 7, "m"), Look::Finish(id(1)));
        assert_eq!(look(&put_off, 7, "m"), Look::Again(vec![next]), "it may have been killed before it sent it");
        assert_eq!(look(&put_off, 7, "copy"), Look::Over);
        assert_eq!(look(&put_off, 8, "next"), Look::Finish(id(1)));
    }

    #[test]
    fn letting_go_keeps_the_farthest_proof_and_happens_once() {
        let due = Head { verified_up_to: at(50), ..finishing(60) };
        let idle = let_go(&due, &run(1), at(40), later(1)).unwrap();
        assert_eq!((idle.run.clone(), idle.verified_up_to), (None, at(50)));
        assert_eq!(let_go(&idle, &run(1), at(60), later(2)), None);
        assert_eq!(let_go(&due, &run(2), at(60), later(2)), None);
    }

    #[test]
    fn what_came_late_of_a_former_life_ends_no_table_of_the_next() {
        let (former, next) = (run(1), Instance { lives: 1, ..run(1) });
        let due = Head { life: 1, unaudited_rows: 3, ..finishing(60) };
        assert_eq!(let_go(&due, &former, at(40), later(1)), None);
        assert_eq!(audited(&due, &former, later(1)), None);
        assert!(let_go(&due, &next, at(40), later(1)).is_some() && audited(&due, &next, later(1)).is_some());
    }
}
