//! What a run says of a table that is copied whole: its attempts, which of them readers see, and why not the others.

use super::{Attempt, Verdict, attempt, is_whole};
use crate::orchestration::ledger::Head;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// An attempt in the result of a table, as the audit and the run's output have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotResult {
    /// The `SnapshotTime` of its rows.
    pub snapshot_time: Timestamp,
    /// Whether readers see it.
    pub published: bool,
    /// Whether its source changed while it was copied.
    pub torn: bool,
}

/// The attempts that a result is about, the oldest first. `visible` says whether the watermark has the time of one that is
/// published.
pub fn results(head: &Head, visible: bool) -> Vec<SnapshotResult> {
    let Some(held) = head.snapshots.as_ref().filter(|_| is_whole(head)) else { return Vec::new() };
    let unseen = held.unpublished.iter();
    let unseen = unseen.map(|one| SnapshotResult { snapshot_time: one.time, published: false, torn: one.torn });
    let latest = held.attempt.as_ref().filter(|attempt| !attempt.told).map(|attempt| SnapshotResult {
        snapshot_time: attempt.time,
        published: visible && attempt.is_published(),
        torn: attempt.is_torn(),
    });
    unseen.chain(latest).collect()
}

/// Why readers do not see the latest attempt; `None` where they do.
pub fn error(head: &Head) -> Option<String> {
    let attempt = attempt(head).filter(|attempt| !attempt.is_published() && !attempt.told)?;
    let reason = match &attempt.verdict {
        Some(Verdict::Unchecked(error)) => {
            format!("whether {} stood still while it was copied is not known: {error}", head.source)
        }
        _ => "not all of its rows are proved".to_owned(),
    };
    let shown = match head.verified_up_to {
        Timestamp::MIN => "no rows".to_owned(),
        earlier => format!("that of {earlier}"),
    };
    Some(format!(
        "the snapshot of {} is not published, {}_latest shows {shown}: {reason}. The next run makes a new one",
        attempt.time, head.destination
    ))
}

/// What a person should know of the attempts.
pub fn warnings(head: &Head) -> Vec<String> {
    let Some(held) = head.snapshots.as_ref().filter(|_| is_whole(head)) else { return Vec::new() };
    let times = |torn| {
        let times = held.unpublished.iter().filter(|one| one.torn == torn).map(|one| one.time.to_string());
        times.collect::<Vec<_>>().join(", ")
    };
    let mut warnings = Vec::new();
    for (times, why) in [(times(true), "changed while it was copied"), (times(false), "was never finished")] {
        if !times.is_empty() {
            warnings.push(format!(
                "{}_latest never shows the rows of {times} in {}: that snapshot {why}, and a later one takes its place",
                head.destination, head.destination
            ));
        }
    }
    match held.attempt.as_ref().filter(|attempt| !attempt.told) {
        Some(torn @ Attempt { verdict: Some(Verdict::Torn), .. }) => warnings.push(format!(
            "{} changed each of the {} times that it was copied: the snapshot of {} is published torn, and may hold a row twice that \
             changed, or lack it",
            head.source, torn.number, torn.time
        )),
        Some(Attempt { counted, verdict: Some(Verdict::Whole), time, .. }) if counted.rows == 0 => {
            warnings.push(format!("{} shows no rows: the snapshot of {time} is empty", head.source));
        }
        _ => {}
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::Unpublished;
    use super::super::testing::attempted;
    use super::*;
    use crate::orchestration::ledger::TableState;

    fn finished(verdict: Option<Verdict>) -> Head {
        attempted(TableState::Finishing, 3, verdict)
    }

    #[test]
    fn every_attempt_since_the_last_audit_is_named_with_what_readers_see() {
        let at = Timestamp::from_ticks;
        let mut head = finished(Some(Verdict::Torn));
        let held = head.snapshots.as_mut().unwrap();
        held.unpublished = vec![Unpublished { time: at(13), torn: false }, Unpublished { time: at(15), torn: true }];
        let told: Vec<_> =
            results(&head, true).iter().map(|one| (one.snapshot_time.ticks(), one.published, one.torn)).collect();
        assert_eq!(told, [(13, false, false), (15, false, true), (20, true, true)]);
        assert!(!results(&head, false)[2].published, "the watermark could not be written");
        let said = warnings(&head);
        assert_eq!(said.len(), 3);
        assert!(said[0].contains("changed while") && said[1].contains("never finished"), "{said:?}");
        assert!(said[2].contains("each of the 3 times"), "{said:?}");
        assert_eq!(error(&head), None);
        let held = head.snapshots.take().unwrap();
        head.snapshots = Some(Box::new(held.told()));
        assert_eq!((results(&head, true), warnings(&head)), (vec![], vec![]), "the next audit is not about them");
    }

    #[test]
    fn what_readers_do_not_see_is_an_error_that_says_what_they_see() {
        let said = |verdict| error(&finished(verdict)).unwrap();
        assert!(said(None).contains("not all of its rows are proved"));
        assert!(said(Some(Verdict::Unchecked("no licence".into()))).contains("no licence"));
        assert!(said(None).contains("x_latest shows that of 0001-01-01T00:00:00.0000010Z"), "{}", said(None));
        assert_eq!(error(&finished(Some(Verdict::Whole))), None);
    }

    #[test]
    fn an_empty_table_is_an_empty_snapshot_and_said() {
        let mut head = finished(Some(Verdict::Whole));
        head.snapshots.as_mut().unwrap().attempt.as_mut().unwrap().counted.rows = 0;
        assert!(warnings(&head)[0].contains("is empty"));
    }
}
