//! Deliberate faults, one at a time, which the simulation of whole runs has to notice. They are compiled in by the feature
//! `mutants` alone, for its tests; without it every `mutated!` is `false`.

use std::cell::Cell;

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The end of a window and the counts of its table are two transactions.
    FanInOutsideTransaction,
    /// What the end of a window owes stands in the head, where the next end overwrites it.
    DebtInHead,
    /// All claims of a window write the same blob.
    BlobNamedByWindow,
    /// A window is posted before its content is on record.
    PostBeforeSeal,
    /// A sealed window goes back to where it may be split.
    SplitAfterSeal,
    /// A window whose blob is gone is pulled again although a post of it may still land.
    NewGenerationTooEarly,
    /// A window is posted again whatever its count and age say.
    CountSkippedBeforeRepost,
    /// The last child of a split is handed out to nobody.
    ChildForgotten,
    /// Only a submitted window owes a count.
    NoCountWhenAllFail,
    /// A plan reads the configuration a second time.
    ConfigReadAgain,
    /// Whether a plan is still the valid one is checked before its windows are written.
    PlanCheckedTooEarly,
    /// Any message takes a live claim over.
    LeaseIgnored,
    /// A message is carried out whatever the state of its window.
    MessageOverLedger,
    /// The watermark is the highest end of a window that is done.
    WatermarkAsMaximum,
    /// The watermark stays where it is until all windows are done.
    WatermarkLeftBehind,
    /// The watermark passes over windows that are posted and not proved.
    WatermarkBeforeProof,
    /// The windows of one dispatch share a permit.
    PermitTwice,
    /// A message is done although what it did could not be stored.
    DoneBeforeCommit,
    /// Copies of a table to two destinations share a ledger.
    KeyWithoutDestination,
    /// Windows above the watermark are purged too.
    PurgeAboveWatermark,
    /// Windows into which rows came late are left as they are.
    LateRowsIgnored,
    /// A repair copies all rows of its range.
    RepairOfEverything,
    /// What a look at the destination shows of proved windows is not held against the ledger.
    LandingAgainIgnored,
    /// Whether rows are hidden is not looked at before a window is pulled again.
    RenewUnderSecurity,
    /// A count takes whatever consistency a query gets.
    WeakCount,
    /// A count is asked in the same words as the one before.
    CountInTheSameWords,
    /// What stands in the metadata tables is asked in the same words each time.
    LookInTheSameWords,
    /// A count takes what the results cache has.
    CachedCount,
}

thread_local! {
    static PRESENT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether this fault is present.
pub fn is_present(mutant: Mutant) -> bool {
    PRESENT.get() == Some(mutant)
}

/// Does `work` with the fault present on this thread.
pub fn with<T>(mutant: Mutant, work: impl FnOnce() -> T) -> T {
    /// Takes the fault away again, after a panic too.
    struct Absent;
    impl Drop for Absent {
        fn drop(&mut self) {
            PRESENT.set(None);
        }
    }
    let _absent = Absent;
    PRESENT.set(Some(mutant));
    work()
}
