//! The planner over a source that only counts: whole tables of any shape without their rows, and the calls that they cost.

use super::*;
use crate::app::{App, Services};
use crate::config::Settings;
use crate::defender::queries::{Axis, RowFormat};
use crate::functions::testing;
use crate::orchestration::chunk::{self, Over, Split};
use crate::orchestration::fan_in::WindowEnd;
use crate::orchestration::head::testing::{head, seen, shape};
use crate::orchestration::ids::{WindowId, WindowName};
use crate::orchestration::ledger::{Head, TableState};
use crate::orchestration::limits::SAMPLE_ROWS;
use crate::orchestration::refine::bins_wanted;
use crate::orchestration::sizing::{self, Measured, Sample, Seen};
use crate::orchestration::window::{Window, WindowState};
use crate::outbound::{Exchange, Outbound, TrustedHosts, Unanswered, http_client};
use crate::storage::memory;
use crate::testing::cases;
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;
use uuid::Uuid;

const DAY: u64 = 86_400 * 10_000_000;
const BYTE_CAP: u64 = 50_000_000;
const MOST_ROWS: u64 = 99_999;
/// Windows that are split at once are not split for ever.
const MOST_CALLS: u64 = 20_000;

/// So many rows at one tick, of so many bytes each.
#[derive(Debug, Clone, Copy)]
struct Lot {
    at: u64,
    rows: u64,
    bytes: u64,
}

/// A table by what its count queries answer.
#[derive(Debug, Default, Clone)]
struct Table {
    lots: Vec<Lot>,
    /// Whether all rows of a tick are equal, so that no hash tells them apart.
    equal: bool,
    /// Rows that a query may count, where it is stopped for its cost beyond them.
    most_counted: Option<u64>,
}

/// A count without its total.
fn counts_of(query: &str) -> &str {
    query.split_once("\n| union (").unwrap().0
}

/// The range that a count asks for.
fn asked(query: &str) -> (Timestamp, Timestamp) {
    let instants: Vec<Timestamp> = counts_of(query)
        .match_indices("datetime(")
        .map(|(at, open)| &query[at + open.len()..])
        .map(|rest| rest.split(')').next().unwrap().parse().unwrap())
        .collect();
    match instants.as_slice() {
        [high] => (Timestamp::MIN, *high),
        [low, high] => (*low, *high),
        other => panic!("{other:?} in {query}"),
    }
}

impl Table {
    fn range(&self, low: Timestamp, high: Timestamp) -> &[Lot] {
        let from = self.lots.partition_point(|lot| lot.at <= low.ticks());
        let to = self.lots.partition_point(|lot| lot.at <= high.ticks());
        &self.lots[from..to.max(from)]
    }

    fn parts(&self, lot: &Lot, count: u64) -> impl Iterator<Item = (u64, u64)> {
        let (rows, at, equal) = (lot.rows, lot.at, self.equal);
        (0..count).map(move |part| match equal {
            true => (part, if part == at % count { rows } else { 0 }),
            false => (part, rows / count + u64::from(part < rows % count)),
        })
    }

    /// Rows and bytes of a piece.
    fn holds(&self, piece: &Piece) -> (u64, u64) {
        let in_part = |lot: &Lot| match piece.is_part() {
            true => {
                let mut parts = self.parts(lot, u64::from(piece.part.count));
                parts.nth(usize::from(piece.part.index)).map_or(0, |part| part.1)
            }
            false => lot.rows,
        };
        let lots = self.range(piece.low, piece.high).iter();
        lots.fold((0, 0), |all, lot| (all.0 + in_part(lot), all.1 + in_part(lot) * (lot.bytes + FRAME)))
    }

    fn is_too_costly(&self, query: &str) -> bool {
        let (low, high) = asked(query);
        let rows: u64 = self.range(low, high).iter().map(|lot| lot.rows).sum();
        self.most_counted.is_some_and(|most| rows > most)
    }

    fn answer(&self, query: &str) -> Value {
        let (low, high) = asked(query);
        let lots = self.range(low, high);
        let total = json!({"Total": lots.iter().map(|lot| lot.rows).sum::<u64>()});
        let query = counts_of(query);
        if let Some((_, hash)) = query.split_once("by Part = hash_xxhash64(tostring(DeviceId), ") {
            let count: u64 = hash.trim_end_matches(')').parse().unwrap();
            let mut parts = BTreeMap::<u64, u64>::new();
            for (part, rows) in lots.iter().flat_map(|lot| self.parts(lot, count)).filter(|part| part.1 > 0) {
                *parts.entry(part).or_default() += rows;
            }
            let parts = parts.into_iter().map(|(part, rows)| json!({"Part": part, "Rows": rows}));
            return parts.chain([total]).collect();
        }
        let (_, width) = query.rsplit_once("bin(ingestion_time(), ").unwrap();
        let width = ticks(width.trim_end_matches(')'));
        let mut bins = BTreeMap::<u64, (u64, u64, u64, u64)>::new();
        for lot in lots {
            let bin = bins.entry(lot.at - lot.at % width).or_insert((0, 0, lot.at, lot.at));
            *bin = (bin.0 + lot.rows, bin.1 + lot.rows * lot.bytes, bin.2, lot.at);
        }
        let text = |at: u64| Timestamp::from_ticks(at).to_string();
        let (close, weighed) = (query.contains("First ="), query.contains("Wire ="));
        bins.into_iter()
            .map(|(start, (rows, wire, first, last))| {
                let mut row = json!({"Bin": text(start), "Rows": rows});
                if close {
                    (row["First"], row["Last"]) = (json!(text(first)), json!(text(last)));
                }
                if weighed {
                    row["Wire"] = json!(wire);
                }
                row
            })
            .chain([total])
            .collect()
    }
}

const FRAME: u64 = crate::defender::queries::FRAME_BYTES;

fn ticks(span: &str) -> u64 {
    let digits = span.find(|c: char| !c.is_ascii_digit()).unwrap();
    let unit = match &span[digits..] {
        "d" => DAY,
        "h" => DAY / 24,
        "m" => 600_000_000,
        "s" => 10_000_000,
        "ms" => 10_000,
        "tick" => 1,
        other => panic!("{other}"),
    };
    span[..digits].parse::<u64>().unwrap() * unit
}

/// The hunting API over a table, which counts its calls.
#[derive(Debug)]
struct Counting {
    table: Table,
    calls: AtomicU64,
}

#[async_trait]
impl Exchange for Counting {
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, Unanswered> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap();
        let query = body["Query"].as_str().unwrap();
        if self.table.is_too_costly(query) {
            let error = json!({"error": {"code": "BadRequest", "message": "The query execution was preempted."}});
            let refused = axum::http::Response::builder().status(400).body(error.to_string()).unwrap();
            return Ok(reqwest::Response::from(refused));
        }
        let rows = self.table.answer(query);
        assert!(rows.as_array().unwrap().len() < 100_000);
        let columns = ["Bin", "First", "Last"].map(|name| json!({"name": name, "type": "DateTime"}));
        let numbers = ["Rows", "Wire", "Part", "Total"].map(|name| json!({"name": name, "type": "Int64"}));
        let schema = [columns.to_vec(), numbers.to_vec()].concat();
        let answer = json!({"schema": schema, "results": rows});
        Ok(reqwest::Response::from(axum::http::Response::new(answer.to_string())))
    }
}

#[derive(Debug)]
struct Anybody;

#[async_trait]
impl TokenCredential for Anybody {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new("t".to_owned(), OffsetDateTime::from_unix_timestamp(4_000_000_000).unwrap()))
    }
}

struct NoIds;

impl crate::adx::FreshIds for NoIds {
    fn fresh(&self) -> Uuid {
        Uuid::nil()
    }
}

/// What copying a table took.
#[derive(Debug, Default)]
struct Copied {
    /// Pieces that an answer held, and the rows and bytes of each.
    pulled: Vec<(Piece, u64, u64)>,
    /// Pieces that nothing divides.
    stuck: Vec<Piece>,
    /// Calls to plan and to divide.
    asked: u64,
    /// Calls that the caps refused.
    refused: u64,
    head: Option<Head>,
}

impl Copied {
    fn calls(&self) -> u64 {
        self.asked + self.refused + self.pulled.len() as u64
    }

    /// The fewest answers that hold all rows.
    fn bound(&self) -> u64 {
        let (rows, bytes) = self.pulled.iter().fold((0, 0), |all, piece| (all.0 + piece.1, all.1 + piece.2));
        rows.div_ceil(MOST_ROWS).max(bytes.div_ceil(BYTE_CAP)).max(1)
    }
}

fn beginning() -> u64 {
    "2026-04-01T00:00:00Z".parse::<Timestamp>().unwrap().ticks()
}

/// Plans a table and pulls its windows one after the other, as the worker decides on them.
fn copied(table: Table, days: u64, known: Option<f64>) -> Copied {
    copied_by(Head { bytes_per_row: known, margin: Some(0.03), ..head(TableState::Running) }, table, days)
}

/// The same on a first run, which knows what a sample of some rows tells.
fn copied_first(table: Table, days: u64) -> Copied {
    let all: u64 = table.lots.iter().map(|lot| lot.rows).sum();
    let part = (all / SAMPLE_ROWS).max(1);
    let mut hours = BTreeMap::<u64, Sample>::new();
    for lot in table.lots.iter().step_by(part as usize) {
        let (rows, each) = (lot.rows, (lot.bytes + FRAME) as f64);
        let known = hours.entry(lot.at - lot.at % (DAY / 24)).or_default();
        let count = rows as f64;
        let more = Sample { rows, bytes: count * each, squares: count * each * each };
        *known = Sample::of([*known, more].iter());
    }
    let sample: Vec<_> = hours.into_iter().map(|(at, sample)| (Timestamp::from_ticks(at), sample)).collect();
    copied_by(sizing::sampled(head(TableState::Running), shape(), &sample, BYTE_CAP), table, days)
}

fn copied_by(known: Head, table: Table, days: u64) -> Copied {
    let work = copy(table, Timestamp::from_ticks(beginning()), Timestamp::from_ticks(beginning() + days * DAY), known);
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

async fn copy(table: Table, low: Timestamp, high: Timestamp, mut head: Head) -> Copied {
    let settings = [
        ("ADX_CLUSTER_URI", "https://c.westeurope.kusto.windows.net"),
        ("ADX_DATABASE", "d"),
        ("HUNTING_CALLS_PER_MINUTE", "100000"),
    ];
    let settings =
        Settings::parse(&|name: &str| settings.iter().find(|s| s.0 == name).map(|s| s.1.to_owned())).unwrap();
    let source = Arc::new(Counting { table: table.clone(), calls: AtomicU64::new(0) });
    let outbound = Outbound::new(http_client().unwrap(), Arc::new(Anybody), TrustedHosts::default());
    let clock: Arc<testing::Set> = Arc::default();
    let services =
        Services::new(settings, outbound.through(Arc::clone(&source) as _), Arc::clone(&clock) as _, Arc::new(NoIds));
    let app: App = testing::app(memory(clock as _));
    let mut hunting = Hunting::new(&app, &services, Instant::now() + Duration::from_secs(1_000_000));
    let queried = queries::Source {
        table: Identifier::new("DeviceEvents").unwrap(),
        axis: Axis::ArrivalTime,
        handover: None,
        arrival_column: false,
        row_format: RowFormat::Compact,
    };
    let columns = vec![Identifier::new("DeviceId").unwrap()];
    let hashing = queries::Hashing { function: queries::HashFunction::Xxhash64, columns };
    let (caps, each) = sizing::caps(&head, &app.limits, BYTE_CAP);
    let wanted = bins_wanted(
        head.rows_per_day.unwrap_or_default(),
        Caps::of_rows(sizing::target_rows(&head, &app.limits, BYTE_CAP)),
    );
    let mut planner = Planner::new(&mut hunting, &queried, &hashing);
    let counted = planner.count(low, high, wanted, false, None).await.unwrap();
    let planned = planner.cut_below(counted, caps, each).await.unwrap();
    tiles(&planned, low, high);
    let mut copied = Copied::default();
    let mut open: Vec<Piece> = planned.into_iter().rev().filter(|piece| piece.rows > 0).collect();
    while let Some(piece) = open.pop() {
        let (rows, bytes) = table.holds(&piece);
        let window = window(&piece);
        let hopeless = chunk::too_much_already(&head, &window, BYTE_CAP);
        let fits = rows <= MOST_ROWS && bytes < BYTE_CAP;
        if fits && hopeless.is_none() {
            head = sizing::learned(head, Measured { rows, bytes, cap: BYTE_CAP }, (piece.low, piece.high));
            copied.pulled.push((piece, rows, bytes));
            continue;
        }
        copied.refused += u64::from(hopeless.is_none());
        let asked = hopeless.is_none();
        let refused = chunk::Reason { text: String::new(), size: rows <= MOST_ROWS, asked };
        let reason = hopeless.unwrap_or(refused);
        let weigh = reason.size.then_some(Weigh { chunk_id: None });
        let aim = chunk::aim(&head, &window, &reason, &app.limits, BYTE_CAP);
        let divided = planner.divide(piece, aim, weigh).await.unwrap();
        if let Some(bytes) = divided.bytes {
            assert_eq!((divided.rows, bytes), (rows, table.holds(&piece).1));
            let measured = Measured { rows, bytes, cap: BYTE_CAP };
            let seen = if asked { Seen::Refused(measured) } else { Seen::Given(measured) };
            head = sizing::taken_in(head, Some(seen), (piece.low, piece.high));
        }
        if divided.pieces.len() < 2 && fits {
            copied.pulled.push((piece, rows, bytes));
            continue;
        }
        let name = WindowName::new(piece.low, "0");
        let split = Split { reason: &reason, name: &name, shape: &shape() };
        match chunk::divided(&window, split, Ok(divided.pieces), high) {
            Over::End(WindowEnd::Split(children)) => {
                let pieces: Vec<Piece> = children.iter().map(|(_, child)| piece_of(child)).collect();
                if pieces.iter().all(|piece| !piece.is_part()) {
                    tiles(&pieces, piece.low, piece.high);
                }
                open.extend(pieces.into_iter().rev().filter(|piece| piece.rows > 0));
            }
            _ => copied.stuck.push(piece),
        }
        assert!(source.calls.load(Ordering::SeqCst) < MOST_CALLS, "{} open", open.len());
    }
    copied.asked = source.calls.load(Ordering::SeqCst);
    copied.head = Some(head);
    copied
}

fn window(piece: &Piece) -> Window {
    let template = seen(10, WindowState::Claimed).window;
    let id = WindowId { low: piece.low, high: piece.high, part: piece.part, ..template.id };
    Window { id, planned_rows: piece.rows, ..template }
}

fn piece_of(window: &Window) -> Piece {
    Piece { low: window.id.low, high: window.id.high, part: window.id.part, rows: window.planned_rows }
}

/// Pieces follow each other from end to end; the hash parts of one stretch are all there.
fn tiles(pieces: &[Piece], low: Timestamp, high: Timestamp) {
    let mut at = low;
    for stretch in pieces.chunk_by(|a, b| (a.low, a.high) == (b.low, b.high)) {
        assert_eq!((stretch[0].low, stretch[0].high > at), (at, true), "{pieces:?}");
        at = stretch[0].high;
        let covered: f64 = stretch.iter().map(|piece| 1.0 / f64::from(piece.part.count)).sum();
        assert!((covered - 1.0).abs() < 1e-9, "{stretch:?}");
    }
    assert_eq!(at, high);
}

/// The same rows at every second of some days.
fn smooth(days: u64, rows_per_day: u64, bytes: u64) -> Table {
    let every = (rows_per_day / 20_000).max(1);
    let lots = (0..days * rows_per_day / every).map(|lot| Lot {
        at: beginning() + 1 + lot * (DAY * every / rows_per_day),
        rows: every,
        bytes,
    });
    Table { lots: lots.collect(), ..Table::default() }
}

fn burst(rows: u64, ticks_apart: u64, bytes: u64) -> Table {
    let lots = rows.min(10_000);
    let at = beginning() + 3 * DAY + 5_000_000;
    let lot = |index| Lot { at: at + index * ticks_apart, rows: rows / lots, bytes };
    let mut table = smooth(7, 2_000, bytes);
    table.lots.extend((0..lots).map(lot));
    table.lots.sort_by_key(|lot| lot.at);
    table
}

fn complete(table: &Table, copied: &Copied) {
    let rows: u64 = table.lots.iter().map(|lot| lot.rows).sum();
    assert_eq!(copied.pulled.iter().map(|piece| piece.1).sum::<u64>(), rows, "stuck: {:?}", copied.stuck);
    let fits = |piece: &(Piece, u64, u64)| piece.1 <= MOST_ROWS && piece.2 < BYTE_CAP;
    assert!(copied.pulled.iter().all(fits));
}

/// Prints the figures of `docs/architecture.md`.
#[test]
fn smooth_tables_take_hardly_more_calls_than_the_caps_ask_for() {
    let mut dice = 7u64;
    let mut random = move || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        dice >> 33
    };
    let mut wide = smooth(30, 60_000, 24_000);
    wide.lots.iter_mut().for_each(|lot| lot.bytes = 12_000 + random() % 24_000);
    let months = {
        let mut table = smooth(3, 2_000_000, 600);
        table.lots.iter_mut().for_each(|lot| {
            if lot.at > beginning() + DAY {
                lot.at += 58 * DAY
            }
        });
        table
    };
    println!("| rows | calls | least | planning and dividing | refused |\n|---|---|---|---|---|");
    for (name, table, days, each, smooth) in [
        ("one row a day over a month", smooth(30, 1, 2_000), 30, 2_000.0, true),
        ("1,000 rows in a month", smooth(30, 33, 2_000), 30, 2_000.0, false),
        ("12 million in a month, 2 kB each", smooth(30, 400_000, 2_000), 30, 2_000.0, true),
        ("120 million in a month, 500 bytes each", smooth(30, 4_000_000, 489), 30, 500.0, true),
        ("a night of 500,000, 2 kB each", smooth(1, 500_000, 1_989), 1, 2_000.0, true),
        ("a night of 6 million, 500 bytes each", smooth(1, 6_000_000, 489), 1, 500.0, true),
        ("2,000 columns: 1.8 million rows of 12 to 36 kB", wide, 30, 24_000.0, true),
        ("two days with rows, 58 without between them", months, 61, 611.0, true),
        ("rows half as large again for six hours a day", uneven(30), 30, 1_575.0, false),
        ("1 million rows within a second", burst(1_000_000, 1_000, 489), 7, 500.0, false),
        ("1 million rows at one instant", burst(1_000_000, 0, 489), 7, 500.0, false),
        ("300 rows of 1 MB", smooth(30, 10, 1_000_000), 30, 1_000_000.0, false),
    ] {
        let first = copied_first(table.clone(), days);
        let later = copied(table.clone(), days, Some(each));
        for (run, copied) in [("first", first), ("later", later)] {
            complete(&table, &copied);
            let (calls, bound) = (copied.calls(), copied.bound());
            println!("| {name}, {run} run | {calls} | {bound} | {} | {} |", copied.asked, copied.refused);
            if !smooth {
                continue;
            }
            // One histogram, and one more query for each stretch of bins that is refined.
            let most = (bound as f64 * 1.05).ceil() as u64 + copied.asked;
            assert!(calls <= most, "{name}, {run} run: {calls} calls, {most} allowed");
            assert!(copied.asked as f64 <= 4.0 + bound as f64 * 0.025, "{name}: {} calls to plan", copied.asked);
        }
    }
}

/// The rows of six hours of each day are half as heavy again.
fn uneven(days: u64) -> Table {
    let mut table = smooth(days, 400_000, 1_500);
    table.lots.iter_mut().for_each(|lot| lot.bytes = if (lot.at / (DAY / 4)) % 4 == 1 { 2_100 } else { 1_400 });
    table
}

#[test]
fn hours_whose_rows_are_heavier_get_windows_of_fewer_rows() {
    let table = uneven(30);
    let first = copied_first(table.clone(), 30);
    complete(&table, &first);
    assert_eq!(first.refused, 0, "of {} calls", first.calls());
    assert!(first.calls() as f64 <= first.bound() as f64 * 1.08, "{} of {}", first.calls(), first.bound());
}

#[test]
fn nights_teach_how_heavy_the_rows_of_their_hours_are() {
    let mut table = uneven(1);
    let mut known = Head { bytes_per_row: Some(1_575.0), margin: Some(0.03), ..head(TableState::Running) };
    let mut nights = Vec::new();
    for night in 0..10 {
        let copied = copied_by(known, table.clone(), night + 1);
        complete(&table, &copied);
        println!("night {night}: {} calls, {} least, {} refused", copied.calls(), copied.bound(), copied.refused);
        nights.push(copied.calls());
        known = Head { rows_per_day: Some(400_000.0), ..copied.head.unwrap() };
        table.lots.iter_mut().for_each(|lot| lot.at += DAY);
    }
    assert!(nights[9] * 3 <= nights[0] * 2, "{nights:?}");
}

#[test]
fn a_burst_and_a_tie_take_few_calls_to_be_divided() {
    for (table, most) in [(burst(1_000_000, 1_000, 489), 4), (burst(1_000_000, 0, 489), 5)] {
        let copied = copied(table.clone(), 7, Some(500.0));
        complete(&table, &copied);
        assert!(copied.asked <= most, "{} calls to plan", copied.asked);
        assert_eq!(copied.refused, 0);
    }
}

#[test]
fn rows_that_nothing_tells_apart_come_to_an_end_and_the_rest_is_copied() {
    let mut table = burst(1_000_000, 0, 100);
    table.equal = true;
    let copied = copied(table.clone(), 7, Some(100.0));
    assert_eq!(copied.stuck.iter().map(|piece| piece.rows).sum::<u64>(), 1_000_000, "{:?}", copied.stuck);
    assert!(copied.asked < 12, "{}", copied.asked);
}

#[test]
fn a_table_whose_rows_are_heavier_than_known_is_copied_with_few_refusals() {
    let table = smooth(30, 100_000, 4_000);
    let copied = copied(table.clone(), 30, Some(2_000.0));
    complete(&table, &copied);
    assert!(copied.refused <= 4, "{} of {} calls", copied.refused, copied.calls());
    let head = copied.head.as_ref().unwrap();
    assert!(head.bytes_per_row.unwrap() > 3_400.0, "{:?}", head.bytes_per_row);
}

fn lots() -> impl Strategy<Value = Vec<Lot>> {
    let at = prop_oneof![
        // Anywhere in 40 days, on the ticks of one millisecond, or on few instants.
        (0..40 * DAY).prop_map(|at| at),
        (0..10_000u64).prop_map(|at| 20 * DAY + at),
        (0..3u64).prop_map(|at| 30 * DAY + at * 7_777_777),
    ];
    let rows = prop_oneof![3 => 1u64..2_000, 1 => 1u64..400_000];
    let bytes = prop_oneof![6 => 50u64..3_000, 1 => 20_000u64..60_000, 1 => 500_000u64..1_048_576];
    let lot = (at, rows, bytes).prop_map(|(at, rows, bytes)| {
        // A large cell is rare.
        let rows = if bytes > 10_000 { rows.min(300) } else { rows };
        Lot { at: beginning() + 1 + at, rows, bytes }
    });
    prop::collection::vec(lot, 0..120)
}

proptest! {
    #![proptest_config(cases(60))]

    /// Whatever the table and however wrong what is known of it: windows tile the range, none that is pulled is above a cap,
    /// and every row is in one of them.
    #[test]
    fn windows_tile_the_range_and_hold_every_row_below_the_caps(
        mut lots in lots(),
        known in prop::option::of(50.0f64..5_000.0),
    ) {
        lots.sort_by_key(|lot| lot.at);
        let table = Table { lots, ..Table::default() };
        let copied = copied(table.clone(), 41, known);
        complete(&table, &copied);
        prop_assert!(copied.stuck.is_empty());
        for (piece, rows, _) in &copied.pulled {
            prop_assert_eq!(piece.rows, *rows);
        }
    }
}

#[test]
fn a_count_that_is_stopped_for_its_cost_is_made_of_counts_that_are_not() {
    let lots: Vec<Lot> =
        (0..24).map(|hour| Lot { at: beginning() + hour * DAY / 24 + 7, rows: 30_000, bytes: 300 }).collect();
    let table = Table { lots, most_counted: Some(100_000), ..Table::default() };
    let copied = copied(table, 1, Some(311.0));
    let rows: u64 = copied.pulled.iter().map(|piece| piece.1).sum();
    assert_eq!((rows, copied.stuck.len()), (24 * 30_000, 0), "{copied:?}");
    // The whole, its halves, quarters and eighths.
    assert!(copied.asked <= 20, "{copied:?}");
}
