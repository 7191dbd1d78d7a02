//! A stream of rows under construction, and how it runs. Operators that work row by row only add steps and
//! columns here, so that a row is evaluated once, lazily, whatever the length of the pipeline.

use crate::kql::ast::BinaryOp;
use crate::kql::cx::{Base, Cx, Frame};
use crate::kql::error::Error;
use crate::kql::{Column, Rows, Table, Type, Value};
use std::ops::Range;
use std::sync::Arc;

/// A column of a stream.
#[derive(Clone)]
pub(in crate::kql) struct StreamColumn {
    pub name: String,
    pub ty: Type,
    pub cx: Cx,
    /// How deep the expression behind it is.
    pub depth: usize,
}

/// What happens to a row before it counts.
#[derive(Clone)]
pub(in crate::kql) enum Step {
    Filter(Cx),
    Take(u64),
    /// Sets a slot to the row's number, counted from `start`; `restart` goes back to it.
    Number {
        slot: usize,
        start: i64,
        restart: Option<Cx>,
        next: i64,
    },
}

/// Where base rows come from.
pub(in crate::kql) enum Source {
    Scan(Arc<dyn Table>),
    /// Rows of a table, picked when the stream starts.
    Picked(Arc<dyn Table>, Box<dyn FnOnce() -> Result<Vec<u64>, Error> + Send>),
    Rows(Rows),
}

/// A pipeline so far.
pub(in crate::kql) struct Stream {
    pub source: Source,
    pub slots: Vec<Cx>,
    pub steps: Vec<Step>,
    pub columns: Vec<StreamColumn>,
    /// What `ingestion_time()` means here.
    pub arrival: Cx,
    /// Whether the order of the rows is settled, so that they can be numbered.
    pub serialized: bool,
    /// What `withsource` calls the rows.
    pub name: Option<String>,
    /// How many streams are run inside this one.
    pub stages: usize,
    after: i64,
    until: i64,
}

impl Stream {
    /// All rows of a table.
    pub fn scan(table: Arc<dyn Table>, name: Option<String>) -> Self {
        let columns = table.columns().iter().enumerate();
        let columns =
            columns.map(|(i, c)| StreamColumn { name: c.name.clone(), ty: c.ty, cx: Cx::Column(i), depth: 1 });
        let columns = columns.collect();
        Self { columns, arrival: Cx::Arrival, name, ..Self::empty(Source::Scan(table)) }
    }

    /// Rows that are computed elsewhere. They are one longer than `columns` if they carry their arrival.
    pub fn rows(columns: Vec<Column>, rows: Rows, carries_arrival: bool, stages: usize) -> Self {
        let arrival = if carries_arrival { Cx::Column(columns.len()) } else { Cx::Const(Value::Null) };
        let columns = columns.into_iter().enumerate();
        let columns = columns.map(|(i, c)| StreamColumn { name: c.name, ty: c.ty, cx: Cx::Column(i), depth: 1 });
        let columns = columns.collect();
        Self { columns, arrival, stages: stages + 1, ..Self::empty(Source::Rows(rows)) }
    }

    fn empty(source: Source) -> Self {
        Self {
            source,
            slots: Vec::new(),
            steps: Vec::new(),
            columns: Vec::new(),
            arrival: Cx::Const(Value::Null),
            serialized: false,
            name: None,
            stages: 0,
            after: i64::MIN,
            until: i64::MAX,
        }
    }

    /// The columns as they are outside.
    pub fn schema(&self) -> Vec<Column> {
        self.columns.iter().map(|c| Column { name: c.name.clone(), ty: c.ty }).collect()
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&StreamColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Makes an expression cheap to use again.
    pub fn keep(&mut self, cx: Cx) -> Cx {
        match cx {
            Cx::Const(_) | Cx::Column(_) | Cx::Slot(_) | Cx::Arrival => cx,
            other => {
                self.slots.push(other);
                Cx::Slot(self.slots.len() - 1)
            }
        }
    }

    /// Only rows for which `condition` holds. Constant bounds on the arrival narrow the scan too.
    pub fn filter(&mut self, condition: Cx) {
        if self.steps.iter().all(|step| matches!(step, Step::Filter(_))) {
            self.narrow(&condition);
        }
        self.steps.push(Step::Filter(condition));
    }

    fn narrow(&mut self, condition: &Cx) {
        let (op, sides) = match condition {
            Cx::And(terms) => return terms.iter().for_each(|term| self.narrow(term)),
            Cx::Compare(op, sides) => (*op, sides),
            _ => return,
        };
        let (op, bound) = match &**sides {
            (Cx::Arrival, Cx::Const(Value::Datetime(bound))) => (op, *bound),
            (Cx::Const(Value::Datetime(bound)), Cx::Arrival) => (mirrored(op), *bound),
            _ => return,
        };
        if matches!(op, BinaryOp::Greater) {
            self.after = self.after.max(bound);
        }
        if matches!(op, BinaryOp::GreaterOrEqual | BinaryOp::Equal) {
            self.after = self.after.max(bound - 1);
        }
        if matches!(op, BinaryOp::LessOrEqual | BinaryOp::Equal) {
            self.until = self.until.min(bound);
        }
        if matches!(op, BinaryOp::Less) {
            self.until = self.until.min(bound - 1);
        }
    }

    /// Whether a row can be found again by its number in a table.
    pub fn seekable(&self) -> Option<Arc<dyn Table>> {
        let numbered = self.steps.iter().any(|step| matches!(step, Step::Number { .. }));
        match &self.source {
            Source::Scan(table) | Source::Picked(table, _) if !numbered => Some(Arc::clone(table)),
            _ => None,
        }
    }

    /// Starts running.
    pub fn start(self) -> Result<Runner, Error> {
        let slots = self.slots.len();
        let (base, positions) = match self.source {
            Source::Scan(table) => {
                let ranges = if self.after == i64::MIN && self.until == i64::MAX {
                    std::iter::once(0..table.row_count()).collect()
                } else {
                    table.arrived_within(self.after, self.until)
                };
                (Base::Table(table, 0), Positions::Ranges(ranges.into_iter(), 0..0))
            }
            Source::Picked(table, pick) => (Base::Table(table, 0), Positions::Picked(pick()?.into_iter())),
            Source::Rows(rows) => (Base::Row(Vec::new()), Positions::Rows(rows)),
        };
        let frame = Frame::new(base, slots);
        Ok(Runner { frame, positions, steps: self.steps, slots: self.slots })
    }

    /// The rows, each value computed; with the arrival behind the columns if asked for.
    pub fn into_rows(self, with_arrival: bool) -> Rows {
        let mut wanted: Vec<Cx> = self.columns.iter().map(|column| column.cx.clone()).collect();
        if with_arrival {
            wanted.push(self.arrival.clone());
        }
        let mut pending = Some(self);
        let mut runner = None;
        Box::new(std::iter::from_fn(move || {
            if let Some(stream) = pending.take() {
                match stream.start() {
                    Ok(started) => runner = Some(started),
                    Err(error) => return Some(Err(error)),
                }
            }
            let running = runner.as_mut()?;
            match running.advance() {
                Ok(true) => Some(Ok(wanted.iter().map(|cx| running.eval(cx)).collect())),
                Ok(false) => {
                    runner = None;
                    None
                }
                Err(error) => {
                    runner = None;
                    Some(Err(error))
                }
            }
        }))
    }
}

/// Rows that are all computed when the first is asked for.
pub(in crate::kql) fn deferred(make: impl FnOnce() -> Result<Vec<Vec<Value>>, Error> + Send + 'static) -> Rows {
    let mut pending = Some(make);
    let mut rows = Vec::new().into_iter();
    Box::new(std::iter::from_fn(move || {
        if let Some(make) = pending.take() {
            match make() {
                Ok(made) => rows = made.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
        rows.next().map(Ok)
    }))
}

fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessOrEqual => BinaryOp::GreaterOrEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
        other => other,
    }
}

enum Positions {
    Ranges(std::vec::IntoIter<Range<u64>>, Range<u64>),
    Picked(std::vec::IntoIter<u64>),
    Rows(Rows),
}

/// A running stream: it stands on one row at a time.
pub(in crate::kql) struct Runner {
    pub frame: Frame,
    pub slots: Vec<Cx>,
    positions: Positions,
    steps: Vec<Step>,
}

impl Runner {
    /// Goes to the next row that passes all steps; `false` after the last.
    pub fn advance(&mut self) -> Result<bool, Error> {
        if self.steps.iter().any(|step| matches!(step, Step::Take(0))) {
            return Ok(false);
        }
        while self.step_base()? {
            if self.passes() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A value of the row.
    pub fn eval(&self, cx: &Cx) -> Value {
        cx.eval(&self.frame, &self.slots)
    }

    fn step_base(&mut self) -> Result<bool, Error> {
        match &mut self.positions {
            Positions::Ranges(ranges, current) => loop {
                if let Some(row) = current.next() {
                    self.frame.seek(row);
                    return Ok(true);
                }
                match ranges.next() {
                    Some(range) => *current = range,
                    None => return Ok(false),
                }
            },
            Positions::Picked(rows) => Ok(rows.next().map(|row| self.frame.seek(row)).is_some()),
            Positions::Rows(rows) => match rows.next() {
                Some(row) => {
                    self.frame.load(row?);
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }

    fn passes(&mut self) -> bool {
        for step in &mut self.steps {
            match step {
                Step::Filter(condition) => {
                    if !condition.holds(&self.frame, &self.slots) {
                        return false;
                    }
                }
                Step::Take(0) => return false,
                Step::Take(left) => *left -= 1,
                Step::Number { slot, start, restart, next } => {
                    if restart.as_ref().is_some_and(|restart| restart.holds(&self.frame, &self.slots)) {
                        *next = *start;
                    }
                    self.frame.set(*slot, Value::Long(*next));
                    *next = next.wrapping_add(1);
                }
            }
        }
        true
    }
}
