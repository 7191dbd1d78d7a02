//! The promises of the storage ports, one function each. Every adapter runs all of them through
//! [`conformance_tests`]; a case knows only the ports and the [`Harness`].

pub mod blobs;
pub mod limits;
pub mod queues;
pub mod tables;
pub mod transactions;

use adxingestor::storage::{Continuation, ETag, Error, Key, Operation, Properties, Range, Row, Storage};
use adxingestor::timestamp::{Clock, Timestamp};
use serde_json::Value;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Makes a module `$adapter` with a test for each case; `$harness` is an expression that opens a [`Harness`], or
/// gives `None` where the service of the adapter cannot run.
macro_rules! conformance_tests {
    ($adapter:ident, $harness:expr) => {
        conformance_tests! { $adapter, $harness;
            blobs: a_missing_blob_is_none, a_blob_is_replaced_as_a_whole, blobs_hold_any_bytes, blobs_of_similar_names_are_apart,
                a_deleted_blob_is_gone, concurrent_puts_never_mix;
            limits: an_entity_of_a_mebibyte_is_the_largest, a_merge_cannot_make_a_row_too_large,
                a_text_of_32_ki_units_is_the_longest, a_row_has_at_most_252_properties, other_values_are_refused,
                other_property_names_are_refused, a_transaction_has_at_most_4_mebibytes,
                one_refused_operation_refuses_its_transaction, a_star_is_no_version,
                queue_names_are_checked, a_message_of_48_kibibytes_is_the_largest, a_receive_takes_1_to_32,
                nothing_is_hidden_for_more_than_7_days, blob_names_are_checked;
            queues: an_unknown_queue_is_empty, a_message_says_how_it_was_delivered, any_bytes_come_back,
                foreign_text_comes_back, foreign_text_keeps_its_line_ends_and_white_space, text_that_is_base64_counts_as_bytes,
                a_received_message_is_hidden_until_its_time, a_delayed_message_is_hidden_until_its_time,
                a_message_never_expires, a_backlog_is_received_once_in_parts, an_extended_message_stays_hidden,
                a_message_extended_by_nothing_is_visible_at_once, a_newer_delivery_makes_a_receipt_stale,
                an_extension_makes_a_receipt_stale, a_receipt_outlives_its_time_until_the_next_delivery,
                a_receipt_is_good_for_its_message_only, a_deleted_message_is_gone, queues_are_apart,
                concurrent_receivers_share_no_message;
            tables: a_missing_row_is_none, values_come_back_exactly, keys_are_taken_literally, keys_differ_by_case,
                partitions_are_apart, a_replace_drops_the_other_properties, a_merge_keeps_the_other_properties,
                every_write_gives_a_new_version, a_stale_version_is_refused, an_insert_over_a_row_is_refused,
                a_row_inserted_again_is_another_version, changes_of_a_missing_row_are_not_found,
                many_rows_come_in_pages_in_the_order_of_their_bytes, a_range_has_its_start_and_lacks_its_end,
                pages_go_on_although_rows_come_and_go,
                a_page_stays_in_its_range_wherever_it_goes_on, large_rows_are_paged;
            transactions: from_1_to_100_operations, more_than_100_operations_are_refused, no_operations_are_refused,
                two_partitions_are_refused, a_row_named_twice_is_refused, all_kinds_of_operations_go_together,
                a_refused_operation_undoes_the_others, the_last_of_a_hundred_undoes_the_others,
                values_that_look_like_a_batch_are_values, one_of_many_writers_wins, one_of_many_inserts_wins,
                no_increment_is_lost, concurrent_transactions_do_not_mix;
        }
    };
    ($adapter:ident, $harness:expr; $($area:ident: $($case:ident),+;)+) => {
        mod $adapter {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let Some(harness): Option<crate::conformance::Harness> = ($harness).into() else { return };
                    let case = crate::conformance::$area::$case(&harness);
                    let ended = tokio::time::timeout(std::time::Duration::from_secs(120), case).await;
                    assert!(ended.is_ok(), "the case did not end");
                }
            )+)+
        }
    };
}

/// A store under test, shared with others or not, and a way to let time pass.
pub struct Harness {
    pub storage: Storage,
    /// Part of every name of this case, so that cases can share a store.
    name: String,
    time: Time,
    /// Whether the store knows how large a merge makes a row. Azurite does not look, Azure does (rest-api-ref
    /// `Merge-Entity`), and no client can know without reading the row.
    pub bounds_merged_rows: bool,
    _keep: Box<dyn Any + Send + Sync>,
}

/// How time passes for the store under test.
#[allow(dead_code, reason = "a store has one of them")]
pub enum Time {
    /// By setting its clock.
    Set(Arc<SettableClock>),
    /// By waiting, for a service with a clock of its own.
    Wait,
}

/// A clock that stands still until it is moved.
pub struct SettableClock(AtomicU64);

impl SettableClock {
    #[allow(dead_code, reason = "a service has a clock of its own")]
    pub fn new() -> Arc<Self> {
        let start: Timestamp = "2026-04-14T07:00:00.1234567Z".parse().unwrap();
        Arc::new(Self(AtomicU64::new(start.ticks())))
    }

    fn pass(&self, time: Duration) {
        let later = self.now() + time;
        self.0.store(later.ticks(), Ordering::SeqCst);
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(self.0.load(Ordering::SeqCst))
    }
}

impl Harness {
    /// `keep` lives as long as the harness: a directory or process of the store.
    pub fn new(storage: Storage, time: Time, keep: impl Any + Send + Sync) -> Self {
        let name = format!("c{}", uuid::Uuid::new_v4().simple());
        Self { storage, name, time, bounds_merged_rows: true, _keep: Box::new(keep) }
    }

    /// The same with another store in front.
    #[allow(dead_code, reason = "for the decorators of adapters")]
    pub fn map(mut self, wrap: impl FnOnce(Storage) -> Storage) -> Self {
        self.storage = wrap(self.storage);
        self
    }

    /// A row of this case's partition.
    pub fn key(&self, row: &str) -> Key {
        Key::new(&self.name, row).unwrap()
    }

    /// A row of another partition of this case.
    pub fn key_in(&self, partition: &str, row: &str) -> Key {
        Key::new(format!("{}{partition}", self.name), row).unwrap()
    }

    /// A queue of this case.
    pub fn queue(&self) -> &str {
        &self.name
    }

    /// A blob of this case.
    pub fn blob(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// A range of this case's partition.
    pub fn range(&self, from: &str, to: Option<&str>) -> Range {
        Range { partition: self.name.clone(), from: from.to_owned(), to: to.map(str::to_owned) }
    }

    /// Lets some seconds pass.
    pub async fn pass(&self, time: Duration) {
        match &self.time {
            Time::Set(clock) => clock.pass(time),
            Time::Wait => tokio::time::sleep(time).await,
        }
    }

    /// Lets days pass, where that takes none.
    pub fn skip_days(&self, days: u64) {
        if let Time::Set(clock) = &self.time {
            clock.pass(Duration::from_secs(days * 24 * 60 * 60));
        }
    }

    /// Whether two times of the store are the same, as far as it tells.
    pub fn same_time(&self, one: Timestamp, other: Timestamp) -> bool {
        match self.time {
            Time::Set(_) => one == other,
            Time::Wait => one.since(other).max(other.since(one)) < Duration::from_secs(10),
        }
    }

    /// The row, if it is there.
    pub async fn get(&self, row: &str) -> Option<Row> {
        self.storage.tables.get(&self.key(row)).await.unwrap()
    }

    /// The properties of a row that is there.
    pub async fn properties(&self, row: &str) -> Properties {
        self.get(row).await.expect("the row is there").properties
    }

    pub async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        self.storage.tables.commit(operations).await
    }

    /// A new row and its version.
    pub async fn insert(&self, row: &str, properties: Value) -> ETag {
        one(self.commit(&[Operation::Insert(self.key(row), object(properties))]).await)
    }

    /// All rows of a range, over as many pages as it takes.
    pub async fn rows(&self, range: &Range) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut after: Option<Continuation> = None;
        loop {
            let page = self.storage.tables.page(range, after.as_ref()).await.unwrap();
            assert!(page.rows.len() <= 1000, "a page of {} rows", page.rows.len());
            rows.extend(page.rows);
            let Some(next) = page.next else { return rows };
            after = Some(next);
        }
    }

    /// The row keys of a range, over as many pages as it takes.
    pub async fn row_keys(&self, from: &str, to: Option<&str>) -> Vec<String> {
        self.rows(&self.range(from, to)).await.into_iter().map(|row| row.key.row().to_owned()).collect()
    }
}

/// Properties written as JSON.
pub fn object(value: Value) -> Properties {
    value.as_object().expect("an object").clone()
}

/// The version that a transaction of one operation gave.
pub fn one(committed: Result<Vec<Option<ETag>>, Error>) -> ETag {
    match committed.unwrap().as_slice() {
        [Some(etag)] => etag.clone(),
        other => panic!("one version expected: {other:?}"),
    }
}
