//! The event *verify message*: which windows to count, what the counts prove, and when to count again. The head
//! holds the number of the next count; a message with an older one starts no second loop.

use crate::orchestration::IllegalTransition;
use crate::orchestration::fan_in::{fill_lanes, is_over, put_back, schedule_verify};
use crate::orchestration::ids::{InstanceId, TableKey, WindowName};
use crate::orchestration::ledger::{Head, HeadDebts, TableState, VerifyDue};
use crate::orchestration::limits::{Limits, TRANSACTION_WINDOWS};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::verification::{Verdict, is_doubtful, settle};
use crate::orchestration::window::{Window, WindowState};
use crate::orchestration::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// A verify message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<'a> {
    /// Which count it asks for.
    pub number: u64,
    /// Its id, the same in every delivery.
    pub message: &'a str,
}

/// What a verify message finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Nothing to do: the run is over, or another count has taken over.
    Over,
    /// All windows have ended: this run goes on with the end.
    Finish(InstanceId),
    /// This count is on record: send again what it owes.
    Again(Vec<Debt>),
    /// Count, for this run.
    Count(InstanceId),
}

/// Looks at the head for a verify message.
pub fn look(head: &Head, count: Count<'_>) -> Look {
    let Some(run) = head.run.clone() else { return Look::Over };
    if head.state == TableState::Finishing && count.number >= head.verify_number {
        return Look::Finish(run);
    }
    if is_current(head, count.number) {
        return Look::Count(run);
    }
    // A count that was overtaken. If it is the one before, its debts may not have been paid; by the message that made
    // them, or every copy of a message would start a chain of its own.
    let own = |by: &Option<String>| by.as_deref().is_none_or(|by| by == count.message);
    match &head.owed_verify {
        Some(debts) if debts.step == step_name(count.number) && own(&debts.by) => Look::Again(debts.messages.clone()),
        _ => Look::Over,
    }
}

/// Whether the count with this number is the one that is due.
pub fn is_current(head: &Head, number: u64) -> bool {
    head.state == TableState::Running && head.verify.as_ref().is_some_and(|due| due.number == number)
}

/// What the debts of count `number` stand under.
pub fn step_name(number: u64) -> String {
    format!("verify:{number}")
}

/// What goes out again when the count that is due does not come: the debts that its message is one of, chunks first.
/// `is_planned` says of a chunk message whether its window still waits for it.
///
/// A plan or a count may have been stored and its worker killed before it sent anything. Were this count's message alone
/// sent, the count would store its own debts over those, and no redelivery would pay them any more.
pub fn overdue(table: &TableKey, head: &Head, is_planned: impl Fn(&Debt) -> bool) -> Vec<Debt> {
    let Some(due) = &head.verify else { return Vec::new() };
    let count = message(table, due.number);
    let made_it = |debts: &&HeadDebts| debts.messages.iter().any(|debt| debt.message == count.message);
    let owed = head.owed_plan.iter().chain(&head.owed_verify).find(made_it);
    let chunks = owed.into_iter().flat_map(|debts| &debts.messages).filter(|debt| !head.stop && is_planned(debt));
    let mut debts: Vec<Debt> = chunks.map(|debt| Debt { delay: Duration::ZERO, ..debt.clone() }).collect();
    debts.push(count);
    debts
}

/// The message of count `number`, due at once.
pub fn message(table: &TableKey, number: u64) -> Debt {
    Debt::control(ControlMessage::Verify { table: table.clone(), number }, Duration::ZERO)
}

/// The windows to count; `None` when the run is to stop and nothing more can become of it: what is still planned is
/// for the next run, and so is what a dead worker holds.
pub fn to_count<V>(head: &Head, windows: Vec<Seen<V>>, now: Timestamp, limits: &Limits) -> Option<Vec<Seen<V>>> {
    let is_held = |w: &Window| matches!(w.state, WindowState::Claimed | WindowState::Sealed);
    let at_work = windows.iter().any(|w| is_held(&w.window) && !w.window.is_dead(now, limits));
    let submitted: Vec<_> = windows.into_iter().filter(|w| w.window.state == WindowState::Submitted).collect();
    (!head.stop || at_work || !submitted.is_empty()).then_some(submitted)
}

/// The proved windows to count once more in this run, because another post may have loaded them again.
pub fn to_count_again<V: Clone>(head: &Head, windows: &[Seen<V>]) -> Vec<Seen<V>> {
    let doubtful = windows.iter().filter(|seen| is_doubtful(&seen.window));
    if head.recount.is_some() { doubtful.cloned().collect() } else { Vec::new() }
}

/// What goes out when a count could not be made or stored although it is still the one that is due: its own message,
/// `pause` from now. Without it the count would have no message any more.
pub fn again(table: &TableKey, head: &Head, number: u64, pause: Duration) -> Option<Debt> {
    is_current(head, number).then(|| Debt { delay: pause, ..message(table, number) })
}

/// The head once the count that is due was put off for `pause`: the next one takes its place, so that of all copies of its message
/// only one goes on.
pub fn postponed(table: &TableKey, head: &Head, count: Count<'_>, pause: Duration, now: Timestamp) -> Option<Head> {
    let due = head.verify.as_ref().filter(|_| is_current(head, count.number))?;
    let number = head.verify_number + 1;
    let messages = vec![Debt { delay: pause, ..message(table, number) }];
    let owed = HeadDebts { step: step_name(count.number), by: Some(count.message.to_owned()), messages };
    let verify = VerifyDue { number, at: now + pause, ..due.clone() };
    Some(Head { verify_number: number, verify: Some(verify), owed_verify: Some(owed), ..head.clone() })
}

/// What a message owes for what it has on record in the head itself: not what a copy of it has.
pub fn owed_by(head: &Head, count: Count<'_>) -> Vec<Debt> {
    let own = |debts: &&HeadDebts| debts.step == step_name(count.number) && debts.by.as_deref() == Some(count.message);
    head.owed_verify.as_ref().filter(own).map(|debts| debts.messages.clone()).unwrap_or_default()
}

/// A window that was counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged<V> {
    /// It, with what the judgement found out about it.
    pub seen: Seen<V>,
    /// Whether that is to be kept even if nothing follows yet.
    pub learned: bool,
    /// What follows.
    pub verdict: Verdict,
}

/// The verdicts of one count in the order they are stored: a transaction each, and the last one, which may be empty,
/// makes the count's debts.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdicts<V> {
    /// All but the last.
    pub batches: Vec<Vec<Judged<V>>>,
    /// The last.
    pub last: Vec<Judged<V>>,
}

/// Sorts verdicts into transactions; those that change nothing and found nothing out are left out.
pub fn verdicts<V>(judged: Vec<Judged<V>>) -> Verdicts<V> {
    let kept = |judged: &Judged<V>| judged.learned || judged.verdict != Verdict::Wait;
    let mut last: Vec<_> = judged.into_iter().filter(kept).collect();
    let mut batches = Vec::new();
    while last.len() > TRANSACTION_WINDOWS {
        batches.push(last.drain(..TRANSACTION_WINDOWS).collect());
    }
    Verdicts { batches, last }
}

/// Which transaction of a count it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// More follow.
    Batch,
    /// The last one, which makes the count's debts.
    Last,
    /// The last one, and the proved windows in doubt are counted again.
    LastWithAgain,
}

/// What one transaction of a count stores and asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded<V> {
    /// The transaction.
    pub write: TableWrite<V>,
    /// Windows to post again once it is stored.
    pub posts: Vec<(WindowName, Window)>,
    /// Windows of which rows are to be removed once it is stored.
    pub removals: Vec<(WindowName, Window)>,
    /// What to send after that; chunks before the next count, whose message then proves that they were sent.
    pub owed: Vec<Debt>,
    /// Whether all windows have ended.
    pub finish: bool,
}

/// Records a batch of a count in the head as it is now.
///
/// # Errors
/// [`IllegalTransition`] when another count has taken over, or a window is not submitted.
pub fn record<V: Clone>(
    table: &TableKey,
    head: &Head,
    count: Count<'_>,
    batch: &[Judged<V>],
    part: Part,
    now: Timestamp,
    limits: &Limits,
) -> Result<Recorded<V>, IllegalTransition> {
    if !is_current(head, count.number) {
        return Err(IllegalTransition {
            what: format!("count {} of {}", count.number, head.source),
            event: "be recorded",
            state: format!("overtaken: the head is {:?} with {:?}", head.state, head.verify),
        });
    }
    let mut head = Head { updated: now, ..head.clone() };
    let (mut windows, mut posts, mut removals) = (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
    for Judged { seen, verdict, .. } in batch {
        let settled = settle(&mut head, &seen.window, verdict, now)?;
        match verdict {
            Verdict::Repost => posts.push((seen.name.clone(), settled.clone())),
            Verdict::Remove(_) => removals.push((seen.name.clone(), settled.clone())),
            Verdict::Renew => put_back(&mut head, seen.name.clone()),
            _ => {}
        }
        windows.push(WindowWrite::Swap(seen.name.clone(), settled, seen.version.clone()));
    }
    let mut owed = Vec::new();
    if part != Part::Batch {
        head.given_up = 0;
        // Longer than it waits for a proof the run waits for none of these; the next one counts them.
        let gives_up = |since: Timestamp| now.since(since) > limits.verify_deadline;
        head.recount = head.recount.filter(|since| part == Part::Last && !gives_up(*since));
        owed.extend(fill_lanes(&mut head, limits).into_iter().map(|name| Debt::chunk(table, name)));
        if batch.iter().any(|judged| judged.verdict != Verdict::Wait) || !owed.is_empty() {
            head.moved = now;
        }
        if is_over(&head, limits) {
            head.state = TableState::Finishing;
        } else {
            let pause = next_pause(&head, limits);
            owed.push(schedule_verify(table, &mut head, pause, now));
        }
        let (step, by) = (step_name(count.number), Some(count.message.to_owned()));
        head.owed_verify = Some(HeadDebts { step, by, messages: owed.clone() });
    }
    let finish = head.state == TableState::Finishing;
    Ok(Recorded { write: TableWrite { head, windows }, posts, removals, owed, finish })
}

/// 2 s rising to 60 s, whatever lands: each count reads the whole table. The end of the last window starts afresh.
fn next_pause(head: &Head, limits: &Limits) -> Duration {
    let last = head.verify.as_ref().map_or(limits.verify_first, |due| Duration::from_millis(due.pause_ms));
    (last * 2).clamp(limits.verify_first, limits.verify_longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{due, id, key, later, now, seen};
    use crate::orchestration::message::Message;

    fn limits() -> Limits {
        Limits { lanes: 2, ..Limits::scaled(1.0) }
    }

    fn judged(low: u64, verdict: Verdict) -> Judged<u64> {
        Judged { seen: seen(low, WindowState::Submitted), learned: false, verdict }
    }

    fn count(number: u64) -> Count<'static> {
        Count { number, message: "m" }
    }

    fn recorded(head: &Head, batch: &[Judged<u64>]) -> Recorded<u64> {
        record(&key(), head, count(4), batch, Part::Last, later(5), &limits()).unwrap()
    }

    fn name(low: u64) -> WindowName {
        seen(low, WindowState::Planned).name
    }

    #[test]
    fn an_older_number_starts_no_second_loop() {
        let head = due(4);
        assert_eq!(look(&head, count(4)), Look::Count(id(1)));
        assert_eq!(look(&head, count(3)), Look::Over);
        assert!(record::<u64>(&key(), &head, count(3), &[], Part::Batch, now(), &limits()).is_err());
    }

    #[test]
    fn a_count_that_comes_again_pays_again() {
        let mut before = due(4);
        before.counts.open = 1;
        before.ready = vec![name(10)];
        let Recorded { write, owed, .. } = recorded(&before, &[]);
        assert_eq!(look(&write.head, count(4)), Look::Again(owed));
        let copy = Count { message: "another", ..count(4) };
        assert_eq!(look(&write.head, copy), Look::Over, "it was not this message that counted");
        assert_eq!(look(&write.head, count(5)), Look::Count(id(1)));
    }

    #[test]
    fn chunks_are_sent_before_the_next_count() {
        let mut before = due(4);
        before.counts.open = 3;
        before.ready = vec![name(10), name(20), name(30)];
        let owed = recorded(&before, &[]).owed;
        let kinds: Vec<bool> = owed.iter().map(|debt| matches!(debt.message, Message::Chunk(_))).collect();
        assert_eq!(kinds, [true, true, false]);
    }

    #[test]
    fn a_count_killed_before_its_sends_leaves_its_chunks_to_the_overdue_count() {
        let mut before = due(4);
        before.counts.open = 2;
        before.ready = vec![name(10), name(20)];
        let Recorded { write, owed, .. } = recorded(&before, &[]);
        let sent = overdue(&key(), &write.head, |debt| debt.message == owed[1].message);
        assert_eq!(sent.iter().map(|debt| &debt.message).collect::<Vec<_>>(), [&owed[1].message, &owed[2].message]);
        assert!(sent.iter().all(|debt| debt.delay.is_zero()));
    }

    #[test]
    fn chunks_of_counts_that_were_paid_are_not_sent_again() {
        let head = due(7);
        let paid = HeadDebts { step: step_name(4), by: None, messages: vec![Debt::chunk(&key(), name(10))] };
        assert_eq!(overdue(&key(), &Head { owed_verify: Some(paid), ..head }, |_| true), [message(&key(), 7)]);
    }

    #[test]
    fn the_last_proof_finishes_the_table() {
        let mut before = due(4);
        before.counts.submitted = 1;
        let Recorded { write, owed, finish, .. } = recorded(&before, &[judged(10, Verdict::Verified)]);
        assert!(finish && owed.is_empty());
        assert_eq!(look(&write.head, count(4)), Look::Finish(id(1)));
        assert!(matches!(&write.windows[0], WindowWrite::Swap(_, window, 10) if window.state == WindowState::Verified));
    }

    #[test]
    fn a_repost_is_recorded_before_it_is_made() {
        let mut before = due(4);
        before.counts.submitted = 1;
        let Recorded { write, posts, .. } = recorded(&before, &[judged(10, Verdict::Repost)]);
        let (of, posted) = &posts[0];
        assert_eq!((of, posted.posts, posted.last_post), (&name(10), 2, Some(later(5))));
        assert!(matches!(&write.windows[0], WindowWrite::Swap(_, window, 10) if window == posted));
    }

    #[test]
    fn a_renewed_window_is_handed_out_first() {
        let mut before = due(4);
        before.counts.submitted = 1;
        before.counts.open = 1;
        before.counts.verified = 1;
        before.ready = vec![name(50)];
        let mut gone = judged(10, Verdict::Renew);
        gone.seen.window.gone_since = Some(now());
        let Recorded { write, owed, .. } = recorded(&before, &[gone]);
        assert_eq!(owed[0], Debt::chunk(&key(), name(10)));
        assert_eq!((write.head.lanes(), write.head.counts.open, write.head.counts.submitted), (2, 2, 0));
    }

    #[test]
    fn pauses_double_whatever_lands() {
        let mut head = due(4);
        head.counts.submitted = 2;
        assert_eq!(recorded(&head, &[]).owed[0].delay, Duration::from_secs(4));
        head.verify = head.verify.map(|due| VerifyDue { pause_ms: 50_000, ..due });
        assert_eq!(recorded(&head, &[]).owed[0].delay, Duration::from_secs(60));
        let proved = recorded(&head, &[judged(10, Verdict::Verified), judged(20, Verdict::Wait)]);
        assert_eq!(proved.owed.last().unwrap().delay, Duration::from_secs(60));
    }

    #[test]
    fn hundreds_of_verdicts_go_in_transactions_and_only_the_last_makes_debts() {
        let all = (0..250).map(|low| judged(low * 10, Verdict::Verified));
        let sorted = verdicts(all.chain([judged(9_000, Verdict::Wait)]).collect());
        assert_eq!((sorted.batches.len(), sorted.last.len()), (2, 52));
        let mut head = due(4);
        head.counts.submitted = 251;
        let batch = record(&key(), &head, count(4), &sorted.batches[0], Part::Batch, later(1), &limits()).unwrap();
        assert_eq!((batch.owed.len(), batch.write.head.verify, batch.write.head.owed_verify), (0, head.verify, None));
    }

    #[test]
    fn what_was_found_out_is_kept_even_where_the_count_has_to_wait() {
        let mut waits = judged(10, Verdict::Wait);
        waits.seen.window.null_watermarks = Some(3);
        waits.learned = true;
        let sorted = verdicts(vec![waits, judged(20, Verdict::Wait)]);
        assert_eq!((sorted.batches.len(), sorted.last.len()), (0, 1));
        let mut head = due(4);
        head.counts.submitted = 2;
        let Recorded { write, .. } = recorded(&head, &sorted.last);
        assert!(matches!(&write.windows[..], [WindowWrite::Swap(_, window, 10)] if window.null_watermarks == Some(3)));
        assert_eq!((write.head.counts, write.head.moved), (head.counts, head.moved));
    }

    #[test]
    fn proved_windows_in_doubt_are_counted_once_in_a_run_before_the_table_ends() {
        let mut doubtful = seen(10, WindowState::Verified);
        doubtful.window.posts = 2;
        let head = Head { recount: Some(now()), ..due(4) };
        let windows = [doubtful.clone(), seen(20, WindowState::Verified)];
        assert_eq!(to_count_again(&head, &windows), [doubtful.clone()]);
        assert_eq!(to_count_again(&due(4), &windows), []);

        let failed = recorded(&head, &[]);
        assert!(!failed.finish, "they could not be counted");
        let twice = Judged { seen: doubtful, learned: false, verdict: Verdict::Doubled("twice".into()) };
        let counted = record(&key(), &head, count(4), &[twice], Part::LastWithAgain, later(5), &limits()).unwrap();
        assert!(counted.finish && counted.write.head.recount.is_none());
        assert!(matches!(&counted.write.windows[..], [WindowWrite::Swap(_, window, 10)] if window.error.is_some()));
        let late = later(1_801);
        assert!(record::<u64>(&key(), &head, count(4), &[], Part::Last, late, &limits()).unwrap().finish);
    }

    #[test]
    fn a_table_of_which_nothing_can_be_proved_ends_with_windows_left() {
        let mut before = due(4);
        before.counts.submitted = 2;
        before.counts.open = 5;
        before.ready = vec![name(50)];
        let failed = |low| judged(low, Verdict::Failed("a wrong mapping".into()));
        let one = recorded(&before, &[failed(10)]);
        assert!(!one.finish && one.owed.len() == 1, "the other may be proved yet: {:?}", one.owed);
        let both = recorded(&before, &[failed(10), failed(20)]);
        assert!(both.finish && both.owed.is_empty());
        assert_eq!((both.write.head.state, both.write.head.counts.open), (TableState::Finishing, 5));
    }

    #[test]
    fn a_count_that_comes_to_nothing_keeps_its_message_as_long_as_it_is_due() {
        let pause = Duration::from_secs(9);
        assert_eq!(again(&key(), &due(4), 4, pause), Some(Debt { delay: pause, ..message(&key(), 4) }));
        assert_eq!(again(&key(), &due(5), 4, pause), None);
        assert_eq!(again(&key(), &Head { state: TableState::Finishing, ..due(4) }, 4, pause), None);
        let put_off = postponed(&key(), &due(4), count(4), pause, later(60)).unwrap();
        assert_eq!(put_off.verify.clone().map(|due| (due.number, due.at)), Some((5, later(69))));
        assert_eq!(owed_by(&put_off, count(4)), [Debt { delay: pause, ..message(&key(), 5) }]);
        assert_eq!(owed_by(&put_off, Count { number: 4, message: "copy" }), []);
        assert_eq!(postponed(&key(), &due(5), count(4), pause, later(60)), None);
    }

    #[test]
    fn a_stopped_table_is_counted_until_nothing_is_on_its_way() {
        let stopped = Head { stop: true, ..due(4) };
        let limits = limits();
        let mut claimed = seen(10, WindowState::Claimed);
        claimed.window.lease_until = Some(now() + limits.lease());
        let to_count = |head, seen: &Seen<_>, now| to_count(head, vec![seen.clone()], now, &limits);
        assert_eq!(to_count(&stopped, &seen(10, WindowState::Planned), now()), None);
        assert_eq!(to_count(&stopped, &claimed, now()), Some(vec![]));
        assert_eq!(
            to_count(&stopped, &claimed, now() + limits.lease() + limits.clock_margin),
            None,
            "its worker is dead"
        );
        assert_eq!(to_count(&due(4), &seen(10, WindowState::Planned), now()), Some(vec![]));
    }
}
