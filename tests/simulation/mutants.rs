//! Each rule that matters is broken in turn, and a schedule must come to light in which that is noticed.

use super::oracle::Findings;
use super::schedule::{Schedule, Trait};
use super::tenant;
use super::{answers, edge, hidden, played_as};
use adxingestor::mutants::{Mutant, with};
use std::panic::catch_unwind;

/// How many schedules are tried for one mutant.
const TRIED: usize = 600;

/// Plays schedules that have one of `traits` (or any, if there are none) until one of them has findings that it does not have
/// without the fault.
fn is_noticed(mutant: Mutant, traits: &[Trait]) {
    let fits = |schedule: &Schedule| traits.is_empty() || traits.iter().any(|wanted| schedule.has(*wanted));
    let mut tried = 0;
    for seed in 0..50_000 {
        let schedule = Schedule::of(seed);
        let hopeless = traits
            .iter()
            .any(|wanted| matches!(wanted, Trait::Hopeless | Trait::HopelessAndAMonth | Trait::LandsAgain));
        if schedule.hopeless && !hopeless || !fits(&schedule) {
            continue;
        }
        let findings = with(mutant, || played_as(&schedule));
        tried += 1;
        // What fails anyway notices nothing.
        if let Some(first) = findings.first()
            && played_as(&schedule).is_empty()
        {
            println!("{mutant:?} is noticed by the schedule {seed}, the {tried}. of those tried: {first}");
            return;
        }
        if tried == TRIED {
            break;
        }
    }
    panic!("{mutant:?} is not noticed by {tried} schedules");
}

macro_rules! mutants {
    ($($test:ident: $mutant:ident [$($wanted:ident),*];)+) => {
        $(#[test]
        fn $test() {
            is_noticed(Mutant::$mutant, &[$(Trait::$wanted),*]);
        })+
    };
}

mutants! {
    a_fan_in_outside_the_transaction_is_noticed: FanInOutsideTransaction [Crashes];
    a_debt_in_the_head_is_noticed: DebtInHead [CrashesUnwatched];
    a_blob_named_by_its_window_is_noticed: BlobNamedByWindow [Crashes];
    a_post_before_the_seal_is_noticed: PostBeforeSeal [Crashes];
    a_split_after_the_seal_is_noticed: SplitAfterSeal [Crashes];
    a_new_generation_while_the_old_post_can_still_land_is_noticed: NewGenerationTooEarly [LostBlobs];
    a_repost_without_a_count_is_noticed: CountSkippedBeforeRepost [LateIsBlind];
    a_child_that_is_never_dispatched_is_noticed: ChildForgotten [CutAnswers];
    a_second_read_of_the_configuration_is_noticed: ConfigReadAgain [Reconfigured];
    a_plan_that_is_checked_too_early_is_noticed: PlanCheckedTooEarly [OvertakenPlan];
    a_lease_that_is_not_checked_is_noticed: LeaseIgnored [];
    a_message_that_is_trusted_over_the_ledger_is_noticed: MessageOverLedger [];
    a_watermark_that_is_a_maximum_is_noticed: WatermarkAsMaximum [GivenUp, Hopeless];
    a_watermark_that_is_left_behind_is_noticed: WatermarkLeftBehind [GivenUp, Hopeless];
    a_watermark_before_the_proof_is_noticed: WatermarkBeforeProof [LostBlobs, Hopeless];
    a_permit_that_is_used_twice_is_noticed: PermitTwice [Quota];
    a_message_that_is_done_before_the_commit_is_noticed: DoneBeforeCommit [Unwatched];
    a_key_without_the_destination_is_noticed: KeyWithoutDestination [OtherDestinations];
    a_purge_above_the_watermark_is_noticed: PurgeAboveWatermark [HopelessAndAMonth];
    late_rows_that_are_left_alone_are_noticed: LateRowsIgnored [Late];
    a_second_copy_that_is_not_looked_for_is_noticed: LandingAgainIgnored [LandsAgain];
    a_repair_that_copies_its_whole_range_is_noticed: RepairOfEverything [Late];
}

#[test]
fn counts_that_are_not_of_their_moment_and_a_pull_of_what_is_hidden_are_noticed() {
    let cases: [(Mutant, fn() -> Findings); 5] = [
        (Mutant::WeakCount, answers::weak),
        (Mutant::CountInTheSameWords, answers::cached),
        (Mutant::LookInTheSameWords, answers::cached),
        (Mutant::CachedCount, answers::insisting),
        (Mutant::RenewUnderSecurity, hidden::half_hidden),
    ];
    for (mutant, found) in cases {
        let found = with(mutant, || catch_unwind(found)).unwrap_or_else(|_| vec!["it panicked".to_owned()]);
        println!("{mutant:?}: {found:?}");
        assert!(!found.is_empty(), "{mutant:?} is not noticed");
    }
}

#[test]
fn no_count_when_all_windows_fail_is_noticed() {
    let ended = with(Mutant::NoCountWhenAllFail, || catch_unwind(edge::all_given_up));
    assert!(ended.is_err(), "NoCountWhenAllFail is not noticed");
}

#[test]
fn rows_of_a_tenant_that_are_lost_or_doubled_are_noticed() {
    for mutant in [Mutant::LateRowsIgnored, Mutant::RepairOfEverything, Mutant::PermitTwice] {
        let played = with(mutant, || catch_unwind(|| tenant::nights(10_000)));
        assert!(played.is_err(), "{mutant:?} is not noticed");
    }
}
