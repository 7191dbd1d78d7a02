//! What a rule wants to be stored, as data: one value is one transaction, all or nothing. A version (`V`) is what a
//! record was read at; the rules carry it and never look at it.

use super::ids::{TableKey, WindowName};
use super::instance::{Instance, TableRun};
use super::ledger::Head;
use super::window::Window;

/// A window as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen<V> {
    /// Its name.
    pub name: WindowName,
    /// What it was.
    pub window: Window,
    /// The version it was read at.
    pub version: V,
}

/// A change of one window.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowWrite<V> {
    /// A new one.
    Insert(WindowName, Window),
    /// Replaces the one that was read at this version.
    Swap(WindowName, Window, V),
    /// Removes the one that was read at this version.
    Delete(WindowName, V),
}

/// One transaction in the partition of a table. The head is always in it, swapped at the version it was read at, so
/// that of two who decide at the same time only one writes.
#[derive(Debug, Clone, PartialEq)]
pub struct TableWrite<V> {
    /// The head.
    pub head: Head,
    /// Windows, at most [`super::limits::TRANSACTION_WINDOWS`].
    pub windows: Vec<WindowWrite<V>>,
}

/// A change of one table's row in a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RowWrite<V> {
    /// A new one.
    Insert(TableRun),
    /// Replaces the one that was read at this version.
    Swap(TableRun, V),
    /// Removes the one that was read at this version.
    Delete(TableKey, V),
}

/// One transaction in the partition of a run, which is always in it, swapped at the version it was read at.
#[derive(Debug, Clone, PartialEq)]
pub struct RunWrite<V> {
    /// The run.
    pub run: Instance,
    /// Rows of its tables, at most [`super::limits::TRANSACTION_WINDOWS`].
    pub rows: Vec<RowWrite<V>>,
}
