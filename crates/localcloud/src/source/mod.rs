//! The tenant's tables, generated: a cell is a pure function of (seed, table, row, column), so that millions
//! of rows need no memory and the same seed gives the same tenant. Knows no HTTP and no query language.

mod bags;
mod cell;
mod compare;
mod dice;
mod identity;
mod kind;
mod pool;
mod schema;
mod segment;
mod store;
mod table;
pub mod ticks;
mod words;

pub use compare::Comparison;
pub(crate) use dice::Dice;
pub use identity::row_identity;
pub(crate) use pool::guid;
pub use schema::{Damaged, Schema, documented};
pub use segment::Segment;

use crate::kql::{Column, Table, Type, Value};
use pool::Pools;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::{Generated, Layout};

/// A tenant to be generated.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The same seed gives the same rows.
    pub seed: u64,
    /// How many computers the tenant has; 0 stands for 400.
    pub devices: u32,
    /// Rows that arrived longer ago are gone. `None` keeps all.
    pub retention: Option<Duration>,
    /// The tables that the tenant has.
    pub tables: Vec<TableSettings>,
}

/// One table of the tenant.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// A documented table name.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// When the first of them arrived, in ticks.
    pub arrival_from: i64,
    /// When the last of them arrives, in ticks. Equal to `arrival_from`, all rows arrive in one tick. Rows
    /// that arrive in the future come into sight as time goes by.
    pub arrival_to: i64,
    /// Departures from an ordinary table.
    pub options: TableOptions,
}

/// Departures from an ordinary table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableOptions {
    /// The tenant has no licence for it: it has rows, and no query can see it.
    pub hidden: bool,
    /// Whether `ingestion_time()` has a value. `None`: as expected of the table.
    pub has_arrival_time: Option<bool>,
    /// How many rows of a thousand have a null `Timestamp`.
    pub null_timestamps_per_mille: u16,
    /// How many rows of a thousand repeat the row before them exactly.
    pub duplicates_per_mille: u16,
    /// A row with one very large cell.
    pub huge_cell: Option<HugeCell>,
    /// How many rows share an arrival time; 0: about a two-thousandth of an append, at most 500.
    pub rows_per_commit: u64,
    /// Rows whose `Timestamp` lies long before their arrival; `None`: as expected of sensors.
    pub late: Option<TimeShift>,
    /// Rows whose `Timestamp` lies behind their arrival, whatever the others do; `None`: as expected of sensors.
    pub ahead: Option<TimeShift>,
    /// Commits come into sight up to this long after their arrival time, each after its own delay: an earlier
    /// one may follow a later one.
    pub visibility_lag_seconds: u32,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            hidden: false,
            has_arrival_time: None,
            null_timestamps_per_mille: 0,
            duplicates_per_mille: 1,
            huge_cell: None,
            rows_per_commit: 0,
            late: None,
            ahead: None,
            visibility_lag_seconds: 0,
        }
    }
}

/// Rows that tell of a time far from their arrival. The others happened up to two minutes before, and none in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeShift {
    /// How many rows of a thousand.
    pub per_mille: u16,
    /// How far at most.
    pub up_to_seconds: u32,
}

/// One very large cell, in `AdditionalFields` or else the last column that can hold text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugeCell {
    /// The row's number, counted from the table's beginning.
    pub row: u64,
    /// How many bytes of text it holds.
    pub bytes: usize,
}

impl TableSettings {
    /// An ordinary table whose `rows` arrive between two instants, in ticks.
    pub fn new(name: impl Into<String>, rows: u64, arrival_from: i64, arrival_to: i64) -> Self {
        Self { name: name.into(), rows, arrival_from, arrival_to, options: TableOptions::default() }
    }

    /// The same with other options.
    #[must_use]
    pub fn with(mut self, options: TableOptions) -> Self {
        self.options = options;
        self
    }
}

/// Why the tenant cannot be as asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a documented table.
    #[error("`{0}` is not a documented hunting table; names are case-sensitive")]
    UnknownTable(String),
    /// The table is not part of this tenant.
    #[error("the tenant has no table `{0}`; name it in the settings first")]
    NotInTenant(String),
    /// The arrival times are not in order or out of range.
    #[error(
        "rows of `{table}` cannot arrive from tick {from} to tick {to}; give two instants in order, in ticks since year 1, before the year 3000"
    )]
    Arrival {
        /// The table.
        table: String,
        /// The first instant given.
        from: i64,
        /// The last instant given.
        to: i64,
    },
    /// The column is there already.
    #[error("`{table}` already has a column `{column}`; choose another name")]
    ColumnExists {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// There is no such column.
    #[error("`{table}` has no column `{column}`; names are case-sensitive")]
    NoColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The schemas in the program are damaged.
    #[error(transparent)]
    Schema(#[from] Damaged),
    /// The state file cannot be read or written.
    #[error("the tenant's state file {path}: {message}; mend or remove it")]
    Store {
        /// The file.
        path: PathBuf,
        /// What happened.
        message: String,
    },
}

/// The tenant's tables and their rows. All methods may be called from several threads.
pub struct Source {
    seed: u64,
    devices: u32,
    retention: Option<Duration>,
    pools: Arc<Pools>,
    store: Option<PathBuf>,
    state: Mutex<Arc<State>>,
}

/// Columns, options and origin of a table: what its layout is made from.
#[derive(Clone)]
pub(crate) struct Shape {
    /// The columns, each with the first row that has it.
    pub(crate) columns: Vec<(Column, u64)>,
    pub(crate) has_arrival_time: bool,
    pub(crate) options: TableOptions,
}

#[derive(Clone)]
struct TableState {
    shape: Shape,
    layout: Arc<Layout>,
    segments: Vec<Segment>,
}

type State = BTreeMap<String, TableState>;

impl Source {
    /// Lays out the tenant in memory.
    ///
    /// # Errors
    /// [`Error`] names the table that cannot be.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let mut source = Self::bare(settings.seed, settings.devices, settings.retention);
        let documented = documented()?;
        let mut state = State::new();
        for table in &settings.tables {
            let schema = documented.get(&table.name).ok_or_else(|| Error::UnknownTable(table.name.clone()))?.clone();
            let shape = Shape {
                columns: schema.columns.into_iter().map(|column| (column, 0)).collect(),
                has_arrival_time: table.options.has_arrival_time.unwrap_or(schema.has_arrival_time),
                options: table.options.clone(),
            };
            let mut entry = source.table_state(&table.name, shape, Vec::new());
            entry.append(&table.name, table.rows, table.arrival_from, table.arrival_to, 0)?;
            state.insert(table.name.clone(), entry);
        }
        source.state = Mutex::new(Arc::new(state));
        Ok(source)
    }

    fn bare(seed: u64, devices: u32, retention: Option<Duration>) -> Self {
        let devices = if devices == 0 { 400 } else { devices };
        let pools = Arc::new(Pools::new(Dice::new(seed), devices));
        Self { seed, devices, retention, pools, store: None, state: Mutex::default() }
    }

    fn table_state(&self, name: &str, shape: Shape, segments: Vec<Segment>) -> TableState {
        let layout = Arc::new(Layout::new(name, &shape, Dice::new(self.seed), self.pools.clone()));
        TableState { shape, layout, segments }
    }

    /// Lets `count` more rows arrive in `table` between two instants, in ticks.
    ///
    /// # Errors
    /// [`Error::NotInTenant`], [`Error::Arrival`], [`Error::Store`].
    pub fn append(&self, table: &str, count: u64, arrival_from: i64, arrival_to: i64) -> Result<(), Error> {
        self.append_unseen(table, count, arrival_from, arrival_to, 0)
    }

    /// The same, but the rows come into sight at `visible_from`, in ticks, whenever they arrived.
    ///
    /// # Errors
    /// As [`Source::append`].
    pub fn append_unseen(
        &self,
        table: &str,
        count: u64,
        arrival_from: i64,
        arrival_to: i64,
        visible_from: i64,
    ) -> Result<(), Error> {
        self.change(table, |_, entry| entry.append(table, count, arrival_from, arrival_to, visible_from))
    }

    /// Adds a column at the end of `table`. Rows that are there already have no value in it.
    ///
    /// # Errors
    /// [`Error::NotInTenant`], [`Error::ColumnExists`], [`Error::Store`].
    pub fn add_column(&self, table: &str, column: &str, ty: Type) -> Result<(), Error> {
        self.change(table, |source, entry| {
            if entry.shape.columns.iter().any(|(known, _)| known.name == column) {
                return Err(Error::ColumnExists { table: table.to_owned(), column: column.to_owned() });
            }
            let mut shape = entry.shape.clone();
            shape.columns.push((Column { name: column.to_owned(), ty }, entry.next_row()));
            *entry = source.table_state(table, shape, std::mem::take(&mut entry.segments));
            Ok(())
        })
    }

    /// Takes a column from `table`: no row shows it any more.
    ///
    /// # Errors
    /// [`Error::NotInTenant`], [`Error::NoColumn`], [`Error::Store`].
    pub fn drop_column(&self, table: &str, column: &str) -> Result<(), Error> {
        self.change_columns(table, column, |columns, at| drop(columns.remove(at)))
    }

    /// Gives a column of `table` another type, and with it other values in all rows.
    ///
    /// # Errors
    /// As [`Source::drop_column`].
    pub fn retype_column(&self, table: &str, column: &str, ty: Type) -> Result<(), Error> {
        self.change_columns(table, column, |columns, at| columns[at].0.ty = ty)
    }

    fn change_columns(
        &self,
        table: &str,
        column: &str,
        change: impl FnOnce(&mut Vec<(Column, u64)>, usize),
    ) -> Result<(), Error> {
        self.change(table, |source, entry| {
            let mut shape = entry.shape.clone();
            let at = shape.columns.iter().position(|(known, _)| known.name == column);
            let no = || Error::NoColumn { table: table.to_owned(), column: column.to_owned() };
            change(&mut shape.columns, at.ok_or_else(no)?);
            *entry = source.table_state(table, shape, std::mem::take(&mut entry.segments));
            Ok(())
        })
    }

    /// All tables' names, hidden ones too.
    pub fn table_names(&self) -> Vec<String> {
        self.now_state().keys().cloned().collect()
    }

    /// The tables as they are at `now`, in ticks: what has arrived and has not expired. It does not change
    /// when rows are added.
    pub fn at(&self, now: i64) -> Snapshot {
        let expired = self.retention.map_or(-1, |kept| now - ticks::of(kept));
        Snapshot { state: self.now_state(), expired, now, turn: None }
    }

    /// (row number, identity) of every row that ever arrived or will, in order.
    ///
    /// # Errors
    /// [`Error::NotInTenant`].
    pub fn identities(&self, table: &str) -> Result<impl Iterator<Item = (u64, u64)> + use<>, Error> {
        self.identities_within(table, -1, i64::MAX)
    }

    /// The same of the rows with `after < arrival <= until`, in ticks. The rows are numbered from 0 among these.
    ///
    /// # Errors
    /// [`Error::NotInTenant`].
    pub fn identities_within(
        &self,
        table: &str,
        after: i64,
        until: i64,
    ) -> Result<impl Iterator<Item = (u64, u64)> + use<>, Error> {
        let state = self.now_state();
        let entry = state.get(table).ok_or_else(|| Error::NotInTenant(table.to_owned()))?;
        let view = Generated::arrived(entry.layout.clone(), &entry.segments, after, until);
        Ok((0..view.row_count()).map(move |row| (row, view.identity(row))))
    }

    /// What the same rows have in a column of type datetime, in ticks; without a column, when they arrived.
    ///
    /// # Errors
    /// [`Error::NotInTenant`], [`Error::NoColumn`].
    pub fn times_within(
        &self,
        table: &str,
        column: Option<&str>,
        after: i64,
        until: i64,
    ) -> Result<Vec<Option<i64>>, Error> {
        let state = self.now_state();
        let entry = state.get(table).ok_or_else(|| Error::NotInTenant(table.to_owned()))?;
        let view = Generated::arrived(entry.layout.clone(), &entry.segments, after, until);
        let Some(column) = column else {
            return Ok((0..view.row_count()).map(|row| Some(view.arrival(row))).collect());
        };
        let at = view.columns().iter().position(|known| known.name == column);
        let at = at.ok_or_else(|| Error::NoColumn { table: table.to_owned(), column: column.to_owned() })?;
        let time = |row| match view.value(row, at) {
            Value::Datetime(ticks) => Some(ticks),
            _ => None,
        };
        Ok((0..view.row_count()).map(time).collect())
    }

    /// The identities of the rows from number `first` on, in order, of all that ever arrived or will.
    ///
    /// # Errors
    /// [`Error::NotInTenant`].
    pub fn identities_from(&self, table: &str, first: u64) -> Result<impl Iterator<Item = u64> + use<>, Error> {
        let state = self.now_state();
        let entry = state.get(table).ok_or_else(|| Error::NotInTenant(table.to_owned()))?;
        let view = Generated::arrived(entry.layout.clone(), &entry.segments, -1, i64::MAX);
        Ok((first..view.row_count()).map(move |row| view.identity(row)))
    }

    fn change(
        &self,
        table: &str,
        change: impl FnOnce(&Self, &mut TableState) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        let mut next = State::clone(&state);
        let entry = next.get_mut(table).ok_or_else(|| Error::NotInTenant(table.to_owned()))?;
        change(self, entry)?;
        if let Some(path) = &self.store {
            self.write(&next, path)?;
        }
        *state = Arc::new(next);
        Ok(())
    }

    fn now_state(&self) -> Arc<State> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<State>> {
        // The state is replaced as a whole, so a panic elsewhere cannot have left it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TableState {
    fn next_row(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.first_row + last.count)
    }

    fn append(
        &mut self,
        table: &str,
        count: u64,
        arrival_from: i64,
        arrival_to: i64,
        visible_from: i64,
    ) -> Result<(), Error> {
        if arrival_from < 0 || arrival_to < arrival_from || arrival_to > segment::LATEST {
            return Err(Error::Arrival { table: table.to_owned(), from: arrival_from, to: arrival_to });
        }
        if count > 0 {
            let rows_per_commit = match self.shape.options.rows_per_commit {
                0 => (count / 2_000).clamp(1, 500),
                rows => rows,
            };
            let first_row = self.next_row();
            self.segments.push(Segment { first_row, count, arrival_from, arrival_to, rows_per_commit, visible_from });
        }
        Ok(())
    }
}

/// The tenant at one instant.
#[derive(Clone)]
pub struct Snapshot {
    state: Arc<State>,
    expired: i64,
    now: i64,
    turn: Option<u64>,
}

impl Snapshot {
    /// The same rows in another order, as a service that promises none gives them. The order depends on
    /// `turn` alone.
    #[must_use]
    pub fn turned(mut self, turn: u64) -> Self {
        self.turn = Some(turn);
        self
    }

    /// The instant, in ticks.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// The table of that name, unless the tenant has none or no licence for it.
    pub fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        self.view(name).map(|view| Arc::new(view) as _)
    }

    fn view(&self, name: &str) -> Option<Generated> {
        let entry = self.state.get(name).filter(|entry| !entry.shape.options.hidden)?;
        let view = Generated::visible(entry.layout.clone(), &entry.segments, self.expired, self.now);
        Some(match self.turn {
            None => view,
            Some(turn) => view.turned(turn),
        })
    }

    /// Whether every row of that table has an event time.
    pub fn all_have_event_times(&self, name: &str) -> bool {
        self.state.get(name).is_some_and(|entry| entry.shape.options.null_timestamps_per_mille == 0)
    }

    /// The numbers, among all rows that its table ever had, of the rows that [`Snapshot::table`] shows, in the same order.
    pub fn row_numbers(&self, name: &str) -> Option<Vec<u64>> {
        self.view(name).map(|view| view.numbers())
    }

    /// Whether the tenant has that table, hidden or not.
    pub fn knows(&self, name: &str) -> bool {
        self.state.contains_key(name)
    }
}

#[cfg(test)]
mod tests;
