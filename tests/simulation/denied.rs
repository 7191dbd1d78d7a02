//! What an administrator or the service takes away while a run is on: roles, and the right to use storage that was lent. What is
//! affected fails with what gives it back, and the next run ends exact.

use super::simulated;
use super::told::world_of;
use super::world::{Setting, SimulatedTable, World};
use localcloud::adx::ingestion::Mishap;
use localcloud::faults::{Area, Fault};
use std::time::Duration;

const TABLE: &str = "DeviceEvents";
const ROWS: u64 = 60;
/// Windows of the first run.
const WINDOWS: u64 = 6;
/// What a run needs (docs/destination.md).
const ROLES: [&str; 3] = ["viewers", "users", "ingestors"];

fn world() -> World {
    world_of(SimulatedTable { name: TABLE, rows: ROWS, days: 3 }, 10, |_| {})
}

/// A cluster that asks for roles, and gives the app those that it needs.
fn guarded() -> World {
    let world = world();
    for role in ROLES {
        change(&world, "add", role);
    }
    world.cloud.adx().ask_for_roles();
    world
}

/// The principal of the app.
fn principal(world: &World) -> String {
    let principal = world.cloud.principal();
    format!("aadapp=app;{}", principal.rsplit(';').next().unwrap())
}

fn change(world: &World, verb: &str, role: &str) {
    world.adx(&format!(".{verb} database Defender {role} ('{}')", principal(world)));
}

/// A run from which a role is taken away once two windows are posted; gives what is told of it, and the role back.
async fn loses(world: &mut World, role: &str) -> super::told::Told {
    let id = world.start().await;
    world.posted(2).await;
    change(world, "drop", role);
    let told = world.told(&id, TABLE).await;
    change(world, "add", role);
    told
}

fn posts(world: &World) -> u64 {
    world.cloud.ingestion().statistics().messages
}

async fn the_next_run_is_whole(world: &mut World) {
    let told = world.run_of(TABLE).await;
    assert!(told.result.success, "{told:#?}");
    world.whole(TABLE).await;
}

#[test]
fn three_roles_are_enough_for_a_run() {
    simulated(async || {
        let mut world = guarded();
        the_next_run_is_whole(&mut world).await;
        world.more_of(TABLE, 20).await;
        the_next_run_is_whole(&mut world).await;
    });
}

#[test]
fn where_nothing_is_lent_to_it_the_app_asks_for_no_row() {
    for denied in [".get ingestion resources", ".get kusto identity token"] {
        simulated(async || {
            let mut world = world();
            world.cloud.adx().deny(&[denied]);
            let told = world.run_of(TABLE).await;
            assert_eq!((told.result.success, told.result.calls, posts(&world)), (false, 0, 0), "{denied}: {told:#?}");
            let role = "needs the role Database Ingestor: run `.add database Defender ingestors (";
            assert!(told.output.contains(role), "{denied}: {told:#?}");
            world.cloud.adx().deny(&[]);
            the_next_run_is_whole(&mut world).await;
        });
    }
}

#[test]
fn a_process_that_comes_up_without_the_role_to_ingest_asks_for_no_row_of_its_windows() {
    simulated(async || {
        let mut world = world();
        let id = world.start().await;
        world.posted(2).await;
        world.cloud.adx().deny(&[".get ingestion resources"]);
        world.restart_all();
        let before = world.cloud.hunting_statistics().log.len();
        let told = world.told(&id, TABLE).await;
        let after = world.cloud.hunting_statistics().log.len();
        assert!(after <= before + 1, "{} calls for windows that nobody takes: {told:#?}", after - before);
        told.failed_saying(&["needs the role Database Ingestor"]);
        world.cloud.adx().deny(&[]);
        world.restart_all();
        the_next_run_is_whole(&mut world).await;
    });
}

#[test]
fn a_policy_that_may_not_be_looked_at_is_a_warning_where_nothing_depends_on_it() {
    simulated(async || {
        let mut world = world();
        let denied = ["encoding", "extent_tags_retention", "row_level_security", "retention"];
        world.cloud.adx().deny(&denied.map(|policy| format!("policy {policy}")).each_ref().map(String::as_str));
        for _ in 0..2 {
            let told = world.run_of(TABLE).await;
            let warned =
                told.result.warnings.iter().filter(|warning| warning.contains("could not be looked at")).count();
            assert_eq!((told.result.success, warned), (true, denied.len()), "{told:#?}");
            world.whole(TABLE).await;
            world.more_of(TABLE, 20).await;
        }
    });
}

#[test]
fn rows_that_are_missing_are_not_posted_again_where_it_may_not_be_looked_whether_they_are_hidden() {
    simulated(async || {
        let mut world = world_of(SimulatedTable { name: TABLE, rows: ROWS, days: 3 }, 10, |setting| {
            setting.mishaps = vec![(Mishap::Lost, 1.0)];
        });
        world.cloud.adx().deny(&["policy row_level_security"]);
        let told = world.run_of(TABLE).await;
        told.failed_saying(&["whether DeviceEvents hides rows is not known"]);
        assert_eq!((posts(&world), told.result.rows), (1, 0), "{told:#?}");
        world.cloud.ingestion().end_mishaps();
        world.cloud.adx().deny(&[]);
        the_next_run_is_whole(&mut world).await;
    });
}

#[test]
fn a_run_that_may_not_ingest_any_more_names_the_role_and_posts_each_window_once() {
    simulated(async || {
        let mut world = guarded();
        let told = loses(&mut world, "ingestors").await;
        assert!(!told.result.success, "{told:#?}");
        let role = "needs the role Database Ingestor: run `.add database Defender ingestors (";
        assert!(
            told.output.contains("BadRequest_TableAccessDenied (Permanent)") && told.output.contains(role),
            "{told:#?}"
        );
        // The audit is an ingestion too.
        let unwritten = told.result.warnings.iter().find(|warning| warning.contains("could not be written"));
        assert!(unwritten.is_some_and(|warning| warning.contains("Database User and Database Ingestor")), "{told:#?}");
        let before = posts(&world);
        assert!(before <= WINDOWS, "{before} posts, and none of them could have landed");
        the_next_run_is_whole(&mut world).await;
    });
}

#[test]
fn a_run_that_may_neither_look_nor_make_tables_any_more_sends_nothing_again_and_names_the_roles() {
    simulated(async || {
        let mut world = guarded();
        let id = world.start().await;
        world.posted(2).await;
        change(&world, "drop", "viewers");
        change(&world, "drop", "users");
        let told = world.told(&id, TABLE).await;
        assert!(!told.result.success, "{told:#?}");
        let role = "needs the role Database Viewer: run `.add database Defender viewers (";
        assert!(told.output.contains("could not be found out") && told.output.contains(role), "{told:#?}");
        let before = posts(&world);
        assert!(before <= WINDOWS, "{before} posts, and any of them may have landed");
        change(&world, "add", "viewers");
        change(&world, "add", "users");
        the_next_run_is_whole(&mut world).await;
        assert_eq!(posts(&world), WINDOWS, "what had landed is not posted again");
    });
}

#[test]
fn a_queue_that_refuses_every_post_fails_each_window_once_with_its_reason() {
    simulated(async || {
        let mut world = world();
        world.cloud.faults().script(Area::Queues, vec![Some(Fault::Preempted); 10_000]);
        let told = world.run_of(TABLE).await;
        told.failed_saying(&["could not be posted", "/messages: status 403", "refuses the signature that it gave"]);
        assert_eq!((told.failures.len(), posts(&world)), (1, 0), "after one that is refused no other is begun");
        world.cloud.faults().unscript(Area::Queues);
        the_next_run_is_whole(&mut world).await;
    });
}

#[test]
fn storage_that_refuses_every_upload_fails_with_its_reason_and_nothing_is_posted() {
    simulated(async || {
        let mut world = world();
        world.cloud.faults().script(Area::Blobs, vec![Some(Fault::Preempted); 10_000]);
        let told = world.run_of(TABLE).await;
        told.failed_saying(&["PUT ", "status 403", "refuses the signature that it gave"]);
        assert_eq!(posts(&world), 0);
        world.cloud.faults().unscript(Area::Blobs);
        the_next_run_is_whole(&mut world).await;
    });
}

#[test]
fn signatures_that_end_in_the_middle_of_a_run_are_renewed_and_no_window_fails() {
    simulated(async || {
        // A permit each six seconds: what is posted is read before the next is.
        let slow = |setting: &mut Setting| setting.settings.push(("HUNTING_CALLS_PER_MINUTE", "10".to_owned()));
        let mut world = world_of(SimulatedTable { name: TABLE, rows: ROWS, days: 3 }, 10, slow);
        let id = world.start().await;
        for posted in 1..WINDOWS {
            world.posted(posted).await;
            while !world.cloud.ingestion().is_idle() {
                world.pass(Duration::from_millis(100)).await;
            }
            world.cloud.storage().expire_all();
        }
        let told = world.told(&id, TABLE).await;
        assert!(told.result.success && told.failures.is_empty(), "{told:#?}");
        assert_eq!(posts(&world), WINDOWS);
        world.whole(TABLE).await;
    });
}

#[test]
fn an_upload_that_is_cut_at_any_of_its_requests_is_made_again() {
    for fault in [Fault::CutBody, Fault::TruncatedBody, Fault::GatewayTimeout, Fault::Internal, Fault::Throttled] {
        for request in 0..4 {
            simulated(async || {
                let mut world = world();
                let script = std::iter::repeat_n(None, request).chain([Some(fault)]);
                world.cloud.faults().script(Area::Blobs, script);
                let told = world.run_of(TABLE).await;
                let happened = world.cloud.faults().happened().get(&(Area::Blobs, fault)).copied();
                assert_eq!((told.result.success, happened), (true, Some(1)), "{fault:?} at {request}: {told:#?}");
                world.whole(TABLE).await;
            });
        }
    }
}

#[test]
fn a_post_whose_answer_is_lost_is_counted_and_not_made_again() {
    for fault in [Fault::TruncatedBody, Fault::GatewayTimeout] {
        simulated(async || {
            let mut world = world();
            world.cloud.faults().script(Area::Queues, vec![Some(fault); WINDOWS as usize]);
            let told = world.run_of(TABLE).await;
            assert!(told.result.success, "{told:#?}");
            assert_eq!(posts(&world), WINDOWS, "{fault:?}");
            world.whole(TABLE).await;
        });
    }
}

#[test]
fn a_status_row_that_cannot_be_made_or_read_changes_nothing() {
    simulated(async || {
        let mut world = world();
        let faults = [Fault::Internal, Fault::TruncatedBody, Fault::Preempted, Fault::GatewayTimeout, Fault::CutBody];
        world.cloud.faults().script(Area::Tables, faults.into_iter().cycle().take(10_000).map(Some));
        let told = world.run_of(TABLE).await;
        assert!(told.result.success && told.result.proof.longest_ms < 1_800_000, "{told:#?}");
        assert!(world.cloud.faults().happened().keys().any(|(area, _)| *area == Area::Tables));
        world.pass(Duration::from_secs(60)).await;
        world.whole(TABLE).await;
    });
}
