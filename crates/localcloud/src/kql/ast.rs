//! The syntax tree. Every node knows the byte it starts at and how deep it is, so that no text can make a
//! tree that later stages cannot walk on an ordinary stack.

use super::error::Error;
use super::{Column, Type, Value};
use std::sync::Arc;

/// How deep a tree may be.
pub(super) const DEEPEST: u16 = 120;

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Name {
    pub text: Arc<str>,
    pub at: usize,
}

/// A scalar or tabular expression.
#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub at: usize,
    pub depth: u16,
    pub kind: ExprKind,
}

#[derive(Debug, Clone)]
pub(super) enum ExprKind {
    Literal(Value, Type),
    Name(Arc<str>),
    Star,
    Call(Name, Vec<Named>),
    Member(Box<Expr>, Arc<str>),
    Index(Box<Expr>, Box<Expr>),
    Negate(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    Text { test: TextTest, negated: bool, value: Box<Expr>, other: Box<Expr> },
    In { set: SetTest, negated: bool, value: Box<Expr>, items: Vec<Expr> },
    Between { negated: bool, value: Box<Expr>, low: Box<Expr>, high: Box<Expr> },
    Query(Box<Query>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    EqualAnyCase,
    NotEqualAnyCase,
}

/// How a text is looked for in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTest {
    Has,
    HasPrefix,
    HasSuffix,
    Contains,
    StartsWith,
    EndsWith,
    HasCs,
    HasPrefixCs,
    HasSuffixCs,
    ContainsCs,
    StartsWithCs,
    EndsWithCs,
    Regex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetTest {
    In,
    InAnyCase,
    HasAny,
    HasAll,
}

/// An expression that may have been given a name.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub name: Option<Name>,
    pub expr: Expr,
}

impl Expr {
    /// A node above `children`.
    pub fn new(at: usize, kind: ExprKind) -> Result<Self, Error> {
        let below = match &kind {
            ExprKind::Literal(..) | ExprKind::Name(_) | ExprKind::Star => 0,
            ExprKind::Call(_, arguments) => arguments.iter().map(|a| a.expr.depth).max().unwrap_or(0),
            ExprKind::Member(inner, _) | ExprKind::Negate(inner) => inner.depth,
            ExprKind::Index(a, b) | ExprKind::Binary(_, a, b) => a.depth.max(b.depth),
            ExprKind::Text { value, other, .. } => value.depth.max(other.depth),
            ExprKind::And(items) | ExprKind::Or(items) => items.iter().map(|e| e.depth).max().unwrap_or(0),
            ExprKind::In { value, items, .. } => items.iter().map(|e| e.depth).max().unwrap_or(0).max(value.depth),
            ExprKind::Between { value, low, high, .. } => value.depth.max(low.depth).max(high.depth),
            ExprKind::Query(query) => query.depth,
        };
        let depth = below + 1;
        if depth > DEEPEST {
            return Err(too_deep(at));
        }
        Ok(Self { at, depth, kind })
    }

    /// The name, if the expression is nothing but one.
    pub fn as_name(&self) -> Option<&Arc<str>> {
        match &self.kind {
            ExprKind::Name(name) => Some(name),
            _ => None,
        }
    }
}

pub(super) fn too_deep(at: usize) -> Error {
    Error::syntax(at, "The query is nested too deeply")
}

/// A source and the operators that its rows go through.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub at: usize,
    pub depth: u16,
    pub source: Source,
    pub operators: Vec<Operator>,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Expr(Expr),
    Datatable(Vec<Column>, Vec<Vec<Value>>),
    Print(Vec<Named>),
    Range { name: Name, from: Expr, to: Expr, step: Expr },
    Union(Union),
}

#[derive(Debug, Clone)]
pub(super) struct Union {
    pub inner: bool,
    pub with_source: Option<Name>,
    pub fuzzy: bool,
    pub legs: Vec<Leg>,
}

/// One input of a union: a table expression, or a pattern such as `Device*`.
#[derive(Debug, Clone)]
pub(super) enum Leg {
    Expr(Expr),
    Pattern(Name),
}

#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub at: usize,
    pub name: &'static str,
    pub kind: OperatorKind,
}

#[derive(Debug, Clone)]
pub(super) enum OperatorKind {
    Where(Expr),
    Extend(Vec<Named>),
    Project(Vec<Named>),
    /// Names, with `*` standing for any characters.
    ProjectAway(Vec<Name>),
    ProjectKeep(Vec<Name>),
    ProjectReorder(Vec<Name>),
    /// New name, old name.
    ProjectRename(Vec<(Name, Name)>),
    Take(Expr),
    Count(Option<Name>),
    Summarize {
        aggregates: Vec<Named>,
        by: Vec<Named>,
    },
    Sort(Vec<SortKey>),
    Top {
        count: Expr,
        key: SortKey,
    },
    Distinct(Vec<Named>),
    Join(Join),
    GetSchema,
    MvExpand(MvExpand),
    Serialize(Vec<Named>),
    As(Name),
    Union(Union),
}

#[derive(Debug, Clone)]
pub(super) struct SortKey {
    pub expr: Expr,
    pub ascending: bool,
    pub nulls_first: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Join {
    pub kind: JoinKind,
    pub right: Expr,
    pub on: Vec<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinKind {
    InnerUnique,
    Inner,
    LeftOuter,
    RightOuter,
    FullOuter,
    LeftSemi,
    LeftAnti,
    RightSemi,
    RightAnti,
}

#[derive(Debug, Clone)]
pub(super) struct MvExpand {
    /// Bags become `[key, value]` pairs instead of bags of one member.
    pub pairs: bool,
    pub index: Option<Name>,
    pub items: Vec<(Named, Option<Type>)>,
    pub limit: Option<Expr>,
}

#[derive(Debug, Clone)]
pub(super) enum Statement {
    Let(Name, LetValue),
    /// `declare query_parameters`: name, type, default.
    Parameters(Vec<Parameter>),
    Query(Query),
}

#[derive(Debug, Clone)]
pub(super) enum LetValue {
    Expr(Expr),
    Function(Arc<Function>),
}

#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub name: Name,
    pub ty: Type,
    pub default: Option<Value>,
}

#[derive(Debug, Clone)]
pub(super) struct Function {
    pub parameters: Vec<Parameter>,
    pub body: Vec<Statement>,
}

impl Query {
    /// A query whose depth is that of its deepest part, plus one.
    pub fn new(at: usize, source: Source, operators: Vec<Operator>) -> Result<Self, Error> {
        let deepest = |items: &[Named]| items.iter().map(|item| item.expr.depth).max().unwrap_or(0);
        let union = |union: &Union| union.legs.iter().map(Leg::depth).max().unwrap_or(0);
        let mut below = match &source {
            Source::Expr(expr) => expr.depth,
            Source::Datatable(..) => 0,
            Source::Print(items) => deepest(items),
            Source::Range { from, to, step, .. } => from.depth.max(to.depth).max(step.depth),
            Source::Union(legs) => union(legs),
        };
        for operator in &operators {
            below = below.max(match &operator.kind {
                OperatorKind::Where(expr) | OperatorKind::Take(expr) => expr.depth,
                OperatorKind::Extend(items)
                | OperatorKind::Project(items)
                | OperatorKind::Distinct(items)
                | OperatorKind::Serialize(items) => deepest(items),
                OperatorKind::Summarize { aggregates, by } => deepest(aggregates).max(deepest(by)),
                OperatorKind::Sort(keys) => keys.iter().map(|key| key.expr.depth).max().unwrap_or(0),
                OperatorKind::Top { count, key } => count.depth.max(key.expr.depth),
                OperatorKind::Join(join) => {
                    join.on.iter().map(|expr| expr.depth).max().unwrap_or(0).max(join.right.depth)
                }
                OperatorKind::MvExpand(expand) => {
                    expand.items.iter().map(|(item, _)| item.expr.depth).max().unwrap_or(0)
                }
                OperatorKind::Union(legs) => union(legs),
                _ => 0,
            });
        }
        let depth = below + 1;
        if depth > DEEPEST { Err(too_deep(at)) } else { Ok(Self { at, depth, source, operators }) }
    }
}

impl Leg {
    fn depth(&self) -> u16 {
        match self {
            Self::Expr(expr) => expr.depth,
            Self::Pattern(_) => 0,
        }
    }
}
