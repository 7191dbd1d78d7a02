//! `join`: the right side is held in memory under its keys, the left side passes by.

use super::operators::free_name;
use super::stream::Stream;
use crate::kql::ast::{BinaryOp, Expr, ExprKind, Join, JoinKind};
use crate::kql::compile::Context;
use crate::kql::error::Error;
use crate::kql::value::Cell;
use crate::kql::{Column, Rows, Value};
use std::collections::{HashMap, HashSet, VecDeque};

impl Context {
    pub(super) fn join(&self, left: Stream, join: &Join) -> Result<Stream, Error> {
        let right = self.tabular(&join.right)?;
        let mut pairs = Vec::new();
        for condition in &join.on {
            self.conditions(condition, &left, &right, &mut pairs)?;
        }
        let left_columns = left.schema();
        let right_columns = right.schema();
        let mut columns = match join.kind {
            JoinKind::RightSemi | JoinKind::RightAnti => right_columns.clone(),
            _ => left_columns.clone(),
        };
        let both =
            !matches!(join.kind, JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::RightSemi | JoinKind::RightAnti);
        if both {
            for column in &right_columns {
                let name = free_name(column.name.clone(), |name| columns.iter().any(|own| own.name == name));
                columns.push(Column { name, ty: column.ty });
            }
        }
        let stages = left.stages.max(right.stages);
        let sides = Sides {
            kind: join.kind,
            pairs,
            left_nulls: left_columns.iter().map(|column| Value::null_of(column.ty)).collect(),
            right_nulls: right_columns.iter().map(|column| Value::null_of(column.ty)).collect(),
        };
        let rows = joined(sides, left.into_rows(false), right);
        Ok(Stream::rows(columns, rows, false, stages))
    }

    /// The pairs of column numbers that must be equal.
    fn conditions(
        &self,
        expr: &Expr,
        left: &Stream,
        right: &Stream,
        pairs: &mut Vec<(usize, usize)>,
    ) -> Result<(), Error> {
        match &expr.kind {
            ExprKind::And(terms) => terms.iter().try_for_each(|term| self.conditions(term, left, right, pairs)),
            ExprKind::Binary(BinaryOp::Equal, a, b) => {
                let (a, b) = match (side(a), side(b)) {
                    (Some(("$left", a)), Some(("$right", b))) | (Some(("$right", b)), Some(("$left", a))) => (a, b),
                    _ => {
                        let detail = "The join condition must be either the name of a column common to both tables or in the form $left.<column> == $right.<column>";
                        return Err(self.error(expr.at, detail));
                    }
                };
                pairs.push(self.pair(expr.at, (left, a), (right, b))?);
                Ok(())
            }
            _ => {
                let name = self.column_name(expr)?;
                pairs.push(self.pair(expr.at, (left, name), (right, name))?);
                Ok(())
            }
        }
    }

    fn pair(&self, at: usize, left: (&Stream, &str), right: (&Stream, &str)) -> Result<(usize, usize), Error> {
        let find = |(stream, name): (&Stream, &str)| {
            let found = stream.columns.iter().position(|column| column.name == name);
            found.ok_or_else(|| self.error(at, format_args!("Failed to resolve scalar expression named '{name}'")))
        };
        let (a, b) = (find(left)?, find(right)?);
        let (a_ty, b_ty) = (left.0.columns[a].ty, right.0.columns[b].ty);
        if a_ty != b_ty && !(a_ty.is_whole() && b_ty.is_whole()) {
            let detail = format_args!("join keys have different types: {} and {}", a_ty.name(), b_ty.name());
            return Err(self.error(at, detail));
        }
        Ok((a, b))
    }
}

/// `$left.name` or `$right.name`.
fn side(expr: &Expr) -> Option<(&str, &str)> {
    match &expr.kind {
        ExprKind::Member(side, name) => side.as_name().map(|side| (&**side, &**name)),
        _ => None,
    }
}

struct Sides {
    kind: JoinKind,
    pairs: Vec<(usize, usize)>,
    left_nulls: Vec<Value>,
    right_nulls: Vec<Value>,
}

/// The right rows under their keys, and which of them have met a left one.
#[derive(Default)]
struct Held {
    rows: Vec<Vec<Value>>,
    met: Vec<bool>,
    by_key: HashMap<Vec<Cell>, Vec<usize>>,
}

impl Sides {
    /// The key of a row; null equals nothing, so such a row has none.
    fn key(&self, row: &[Value], right: bool) -> Option<Vec<Cell>> {
        let column = |pair: &(usize, usize)| if right { pair.1 } else { pair.0 };
        let cells = self.pairs.iter().map(|pair| row[column(pair)].clone());
        cells.map(|value| (value != Value::Null).then_some(Cell(value))).collect()
    }

    fn hold(&self, right: Stream) -> Result<Held, Error> {
        let mut held = Held::default();
        for row in right.into_rows(false) {
            let row = row?;
            if let Some(key) = self.key(&row, true) {
                held.by_key.entry(key).or_default().push(held.rows.len());
            }
            held.rows.push(row);
        }
        held.met = vec![false; held.rows.len()];
        Ok(held)
    }

    /// What a left row gives.
    fn meet(&self, row: Vec<Value>, held: &mut Held, out: &mut VecDeque<Vec<Value>>) {
        let found = self.key(&row, false).and_then(|key| held.by_key.get(&key)).map_or(&[][..], Vec::as_slice);
        for index in found {
            held.met[*index] = true;
        }
        match self.kind {
            JoinKind::LeftSemi if !found.is_empty() => out.push_back(row),
            JoinKind::LeftAnti if found.is_empty() => out.push_back(row),
            JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::RightSemi | JoinKind::RightAnti => {}
            JoinKind::LeftOuter | JoinKind::FullOuter if found.is_empty() => {
                out.push_back(row.into_iter().chain(self.right_nulls.iter().cloned()).collect());
            }
            _ => out.extend(found.iter().map(|index| row.iter().chain(&held.rows[*index]).cloned().collect())),
        }
    }

    /// What the right rows give in the end.
    fn rest(&self, held: &mut Held, out: &mut VecDeque<Vec<Value>>) {
        let rows = std::mem::take(&mut held.rows).into_iter().zip(std::mem::take(&mut held.met));
        for (row, met) in rows {
            match self.kind {
                JoinKind::RightSemi if met => out.push_back(row),
                JoinKind::RightAnti if !met => out.push_back(row),
                JoinKind::RightOuter | JoinKind::FullOuter if !met => {
                    out.push_back(self.left_nulls.iter().cloned().chain(row).collect());
                }
                _ => {}
            }
        }
    }
}

fn joined(sides: Sides, mut left: Rows, right: Stream) -> Rows {
    let mut right = Some(right);
    let mut held = Held::default();
    let mut ready = VecDeque::new();
    let mut seen = HashSet::new();
    let mut finished = false;
    Box::new(std::iter::from_fn(move || {
        if let Some(right) = right.take() {
            match sides.hold(right) {
                Ok(rows) => held = rows,
                Err(error) => {
                    finished = true;
                    return Some(Err(error));
                }
            }
        }
        loop {
            if let Some(row) = ready.pop_front() {
                return Some(Ok(row));
            }
            if finished {
                return None;
            }
            match left.next() {
                Some(Ok(row)) => {
                    // Of left rows with one key, innerunique takes the first.
                    let once = sides.kind == JoinKind::InnerUnique;
                    let repeated = once && sides.key(&row, false).is_some_and(|key| !seen.insert(key));
                    if !repeated {
                        sides.meet(row, &mut held, &mut ready);
                    }
                }
                Some(Err(error)) => {
                    finished = true;
                    return Some(Err(error));
                }
                None => {
                    finished = true;
                    sides.rest(&mut held, &mut ready);
                }
            }
        }
    }))
}
