//! The scalar functions that are no more than a function of their arguments. Each is one row of a table:
//! what it takes, what it gives, how a column is named after it, and the code. Those that look at the row,
//! the catalog or the clock are compiled elsewhere.

mod convert;
mod dates;
mod dynamic;
mod numbers;
mod text;

pub(super) use dynamic::access;
pub(super) use numbers::{arithmetic, bin};
pub(super) use text::text_test;

use super::cx::Function;
use super::{Type, Value};

/// What an argument may be. Dynamic values fit everywhere: they are converted at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Any,
    /// Anything, taken as its text.
    Text,
    Number,
    Whole,
    Datetime,
    Timespan,
    Dynamic,
}

/// What a function gives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gives {
    A(Type),
    /// The first argument's type.
    First,
    /// The widest of the arguments' types.
    Widest,
}

/// How a column is called that has no name but a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Not after the call.
    None,
    /// After the first argument.
    First,
    /// After function and first argument.
    Both,
}

/// How the code is got.
#[derive(Clone, Copy)]
pub(super) enum Code {
    Plain(fn(&[Value]) -> Value),
    /// Some arguments, such as patterns, are worked on once.
    Prepared(fn(&[Option<Value>]) -> Result<Function, String>),
}

/// A function of the table.
#[derive(Clone, Copy)]
pub(super) struct Signature {
    pub name: &'static str,
    /// What each argument may be; the last one stands for all that follow if `open`.
    pub takes: &'static [Takes],
    pub least: usize,
    pub open: bool,
    pub gives: Gives,
    pub naming: Naming,
    pub code: Code,
}

impl Signature {
    /// A function of exactly these arguments.
    const fn new(name: &'static str, takes: &'static [Takes], gives: Type, code: fn(&[Value]) -> Value) -> Self {
        let gives = Gives::A(gives);
        Self { name, takes, least: takes.len(), open: false, gives, naming: Naming::None, code: Code::Plain(code) }
    }

    const fn least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// The last argument may be repeated.
    const fn open(mut self, least: usize) -> Self {
        self.open = true;
        self.least = least;
        self
    }

    const fn gives(mut self, gives: Gives) -> Self {
        self.gives = gives;
        self
    }

    const fn named(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    const fn prepared(mut self, prepare: fn(&[Option<Value>]) -> Result<Function, String>) -> Self {
        self.code = Code::Prepared(prepare);
        self
    }
}

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static Signature> {
    let tables = [convert::TABLE, dates::TABLE, dynamic::TABLE, numbers::TABLE, text::TABLE];
    tables.into_iter().flatten().find(|signature| signature.name == name)
}

/// The names of all functions of the table.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let tables = [convert::TABLE, dates::TABLE, dynamic::TABLE, numbers::TABLE, text::TABLE];
    tables.into_iter().flatten().map(|signature| signature.name).collect()
}

/// The argument, or null when it was left out.
fn argument(values: &[Value], index: usize) -> &Value {
    values.get(index).unwrap_or(&Value::Null)
}
