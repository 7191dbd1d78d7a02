//! Compiled scalar expressions and how one row is evaluated. Names are gone by now: a column is an index.
//! What a query computes once and uses often sits in a slot, filled for a row when first asked for.

use super::ast::BinaryOp;
use super::json;
use super::value::{Cell, order};
use super::{Table, Value};
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// A scalar function at run time.
pub(super) type Function = Arc<dyn Fn(&[Value]) -> Value + Send + Sync>;

/// A compiled expression.
#[derive(Clone)]
pub(super) enum Cx {
    Const(Value),
    /// A column of the base row.
    Column(usize),
    /// Whether a column of the base row is null.
    IsNull(usize),
    /// A computed column.
    Slot(usize),
    /// When the base row arrived.
    Arrival,
    Not(Box<Cx>),
    And(Arc<[Cx]>),
    Or(Arc<[Cx]>),
    Compare(BinaryOp, Arc<(Cx, Cx)>),
    Call(Function, Arc<[Cx]>),
    /// Condition, value, condition, value, …, otherwise.
    Case(Arc<[Cx]>),
    Coalesce(Arc<[Cx]>),
    Member(Arc<HashSet<Cell>>, Function, Arc<Cx>),
    /// A datetime or timespan cut down to a multiple of ticks.
    BinTicks(i64, Arc<Cx>),
    Pack(Arc<Pack>),
    /// Bytes of the values, as `estimate_data_size()` counts them.
    Size(Arc<[Cx]>),
}

/// `pack_all()`.
pub(super) struct Pack {
    /// Names as JSON text with the colon, and what stands for the value.
    pub members: Vec<(String, Cx)>,
    /// Whether null and empty values are left out.
    pub compact: bool,
    /// Whether the text is wanted rather than the dynamic value.
    pub as_text: bool,
}

/// Where the base row is.
pub(super) enum Base {
    Table(Arc<dyn Table>, u64),
    Row(Vec<Value>),
}

/// One row under evaluation.
pub(super) struct Frame {
    base: Base,
    slots: Vec<OnceCell<Value>>,
}

impl Frame {
    /// A frame for rows with `slots` computed columns.
    pub fn new(base: Base, slots: usize) -> Self {
        Self { base, slots: (0..slots).map(|_| OnceCell::new()).collect() }
    }

    /// Goes to another row of the same table.
    pub fn seek(&mut self, row: u64) {
        if let Base::Table(_, at) = &mut self.base {
            *at = row;
        }
        self.clear();
    }

    /// Goes to another row of values.
    pub fn load(&mut self, row: Vec<Value>) {
        self.base = Base::Row(row);
        self.clear();
    }

    fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.take();
        }
    }

    /// Fills a slot that is not an expression.
    pub fn set(&mut self, slot: usize, value: Value) {
        self.slots[slot] = OnceCell::from(value);
    }

    /// The number of the base row in its table.
    pub fn row(&self) -> Option<u64> {
        match &self.base {
            Base::Table(_, row) => Some(*row),
            Base::Row(_) => None,
        }
    }

    fn column(&self, index: usize) -> Value {
        match &self.base {
            Base::Table(table, row) => table.value(*row, index),
            Base::Row(values) => values.get(index).cloned().unwrap_or(Value::Null),
        }
    }

    fn is_null(&self, index: usize) -> bool {
        match &self.base {
            Base::Table(table, row) => table.is_null(*row, index),
            Base::Row(values) => values.get(index).is_none_or(|value| *value == Value::Null),
        }
    }

    fn arrival(&self) -> Value {
        match &self.base {
            Base::Table(table, row) => table.ingestion_time(*row).map_or(Value::Null, Value::Datetime),
            Base::Row(_) => Value::Null,
        }
    }
}

impl Cx {
    /// The value for a row; `slots` are the expressions of its computed columns.
    pub fn eval(&self, frame: &Frame, slots: &[Cx]) -> Value {
        match self {
            Self::Const(value) => value.clone(),
            Self::Column(index) => frame.column(*index),
            Self::IsNull(index) => Value::Bool(frame.is_null(*index)),
            Self::Slot(index) => frame.slots[*index].get_or_init(|| slots[*index].eval(frame, slots)).clone(),
            Self::Arrival => frame.arrival(),
            Self::Not(inner) => inner.eval(frame, slots).as_bool().map_or(Value::Null, |b| Value::Bool(!b)),
            Self::And(terms) => junction(terms, false, frame, slots),
            Self::Or(terms) => junction(terms, true, frame, slots),
            Self::Compare(op, sides) => compare(*op, &sides.0.eval(frame, slots), &sides.1.eval(frame, slots)),
            Self::Call(function, arguments) => call(function, arguments, frame, slots),
            Self::Case(arms) => choose(arms, frame, slots),
            Self::Coalesce(items) => coalesce(items, frame, slots),
            Self::Member(set, key, value) => member(set, key, value.eval(frame, slots)),
            Self::BinTicks(size, inner) => match inner.eval(frame, slots) {
                Value::Datetime(ticks) => Value::Datetime(ticks - ticks.rem_euclid(*size)),
                Value::Timespan(ticks) => Value::Timespan(ticks.saturating_sub(ticks.rem_euclid(*size))),
                _ => Value::Null,
            },
            Self::Pack(pack) => pack.eval(frame, slots),
            Self::Size(items) => Value::Long(items.iter().map(|item| size_of(&item.eval(frame, slots))).sum()),
        }
    }

    /// Whether a row passes; null is no.
    pub fn holds(&self, frame: &Frame, slots: &[Cx]) -> bool {
        match self {
            Self::And(terms) => terms.iter().all(|term| term.holds(frame, slots)),
            _ => self.eval(frame, slots).as_bool() == Some(true),
        }
    }

    /// The value, if it is the same for every row.
    pub fn constant(&self) -> Option<&Value> {
        match self {
            Self::Const(value) => Some(value),
            _ => None,
        }
    }

    /// The value of an expression without columns, for folding.
    pub fn eval_constant(&self) -> Value {
        self.eval(&Frame::new(Base::Row(Vec::new()), 0), &[])
    }
}

#[inline(never)]
fn junction(terms: &[Cx], decisive: bool, frame: &Frame, slots: &[Cx]) -> Value {
    let mut unknown = false;
    for term in terms {
        match term.eval(frame, slots).as_bool() {
            Some(value) if value == decisive => return Value::Bool(decisive),
            Some(_) => {}
            None => unknown = true,
        }
    }
    if unknown { Value::Null } else { Value::Bool(!decisive) }
}

#[inline(never)]
fn call(function: &Function, arguments: &[Cx], frame: &Frame, slots: &[Cx]) -> Value {
    match arguments {
        [one] => function(&[one.eval(frame, slots)]),
        [one, two] => function(&[one.eval(frame, slots), two.eval(frame, slots)]),
        [one, two, three] => function(&[one.eval(frame, slots), two.eval(frame, slots), three.eval(frame, slots)]),
        more => {
            let values: Vec<_> = more.iter().map(|argument| argument.eval(frame, slots)).collect();
            function(&values)
        }
    }
}

#[inline(never)]
fn choose(arms: &[Cx], frame: &Frame, slots: &[Cx]) -> Value {
    let mut arms = arms.iter();
    while let Some(first) = arms.next() {
        let Some(value) = arms.next() else { return first.eval(frame, slots) };
        if first.eval(frame, slots).as_bool() == Some(true) {
            return value.eval(frame, slots);
        }
    }
    Value::Null
}

#[inline(never)]
fn coalesce(items: &[Cx], frame: &Frame, slots: &[Cx]) -> Value {
    let mut last = Value::Null;
    for item in items {
        last = item.eval(frame, slots);
        if !last.is_empty() {
            break;
        }
    }
    last
}

#[inline(never)]
fn member(set: &HashSet<Cell>, key: &Function, value: Value) -> Value {
    if value == Value::Null {
        // `in` is an `or` of equalities, and null equals no value that is not null.
        return if set.contains(&Cell(Value::Null)) { Value::Null } else { Value::Bool(false) };
    }
    Value::Bool(set.contains(&Cell(key(&[value]))))
}

/// Null is neither equal to nor ordered with anything: `==` and `!=` of one null are false and true, all
/// else is null (dataexplorer-docs `query/scalar-data-types/null-values.md`).
fn compare(op: BinaryOp, a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Null, Value::Null) => return Value::Null,
        (Value::Null, _) | (_, Value::Null) => {
            return match op {
                BinaryOp::Equal => Value::Bool(false),
                BinaryOp::NotEqual => Value::Bool(true),
                _ => Value::Null,
            };
        }
        (Value::Real(number), _) | (_, Value::Real(number)) if number.is_nan() => {
            return Value::Bool(op == BinaryOp::NotEqual);
        }
        (Value::Dynamic(a), Value::Dynamic(b)) if matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) => {
            return Value::Bool((a == b) == (op == BinaryOp::Equal));
        }
        _ => {}
    }
    let ordering = order(a, b);
    Value::Bool(match op {
        BinaryOp::Equal => ordering == Ordering::Equal,
        BinaryOp::NotEqual => ordering != Ordering::Equal,
        BinaryOp::Less => ordering == Ordering::Less,
        BinaryOp::LessOrEqual => ordering != Ordering::Greater,
        BinaryOp::Greater => ordering == Ordering::Greater,
        _ => ordering != Ordering::Less,
    })
}

impl Pack {
    #[inline(never)]
    fn eval(&self, frame: &Frame, slots: &[Cx]) -> Value {
        if !self.as_text {
            let mut bag = serde_json::Map::new();
            for (name, cx) in &self.members {
                let value = cx.eval(frame, slots);
                if self.compact && value.is_empty() {
                    continue;
                }
                bag.insert(name.clone(), json::to_serde(&value));
            }
            return Value::dynamic(bag.into());
        }
        let mut out = String::with_capacity(self.members.len() * 32);
        out.push('{');
        for (name, cx) in &self.members {
            let value = cx.eval(frame, slots);
            if self.compact && value.is_empty() {
                continue;
            }
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(name);
            json::write(&value, &mut out);
        }
        out.push('}');
        Value::text(out)
    }
}

/// What a value takes by type, strings and dynamic values by their text
/// (dataexplorer-docs `query/estimate-data-size-function.md`).
fn size_of(value: &Value) -> i64 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) => 4,
        Value::Long(_) | Value::Real(_) | Value::Datetime(_) | Value::Timespan(_) => 8,
        Value::Guid(_) | Value::Decimal(_) => 16,
        Value::String(text) => text.len() as i64,
        // The encoded form has a head that the text has not.
        Value::Dynamic(_) => json::to_text(value).len() as i64 + 4,
    }
}
