//! The audit of a table that comes to its end without windows: once, also where no tag keeps a second one out.

use super::gate::{Death, Point, Site, Verdict};
use super::simulated;
use super::world::{Setting, World};
use adxingestor::orchestration::instance::RuntimeStatus;
use std::time::Duration;

/// A table that the tenant does not have.
const UNKNOWN: &str = "NoSuchEvents";
const PLAN: &str = r##"send adxingestor-control {"kind":"plan","instance":"#","table":"#"."##;
const AUDIT: &str = r#"POST /v1/rest/mgmt {"csl":".set-or-append meta_MigrationAudit with (tags='[\"ingest-by:aud."#;

fn first(effect: &str, verdict: Verdict) -> Point {
    Point { site: Site::Named(effect.to_owned(), 0), verdict, death: Death::Host }
}

/// The rows of the audit once a run over a table that cannot be planned has ended, of which this goes wrong.
fn audited(points: Vec<Point>) -> usize {
    simulated(async || {
        let count = points.len();
        let mut world = World::new(&Setting { ignores_tags: true, points, ..Setting::quiet(1, Vec::new()) });
        world.configure(UNKNOWN, UNKNOWN);
        let id = world.start().await;
        let run = world.ended(&id, Duration::from_secs(3_600)).await.unwrap();
        world.settled(Duration::from_secs(3_600)).await;
        assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 1), "{run:?}");
        assert_eq!(world.fate.struck().len(), count, "{:?}", world.fate.struck());
        world.adx("meta_MigrationAudit").len()
    })
}

#[test]
fn a_table_without_windows_is_audited_once_although_two_messages_end_it() {
    // The second one comes while the audit of the first is on its way.
    let on_its_way = Verdict::Delay(Duration::from_secs(60));
    assert_eq!(audited(vec![first(PLAN, Verdict::Double), first(AUDIT, on_its_way)]), 1);
}

#[test]
fn a_table_without_windows_is_audited_although_whoever_was_at_it_is_gone() {
    for verdict in [Verdict::DieBefore, Verdict::DieAfter] {
        assert_eq!(audited(vec![first(AUDIT, verdict)]), 1, "{verdict:?}");
        assert_eq!(audited(vec![first(PLAN, Verdict::Double), first(AUDIT, verdict)]), 1, "{verdict:?} of two");
    }
}
