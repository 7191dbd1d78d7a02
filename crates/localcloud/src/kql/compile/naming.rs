//! How a column is called whose expression was given no name: after the column, the path or, for some
//! functions, the first argument.

use crate::kql::Type;
use crate::kql::aggregate;
use crate::kql::ast::{Expr, ExprKind};
use crate::kql::functions::{self, Naming};

/// The name, if the expression gives one.
pub(in crate::kql) fn result_name(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Name(name) => Some(name.to_string()),
        ExprKind::Member(inner, member) => Some(joined(result_name(inner), member)),
        ExprKind::Index(inner, index) => {
            let index = match &index.kind {
                ExprKind::Literal(value, Type::String | Type::Long | Type::Int) => value.to_text().into_owned(),
                ExprKind::Name(name) => name.to_string(),
                _ => return result_name(inner),
            };
            Some(joined(result_name(inner), &index))
        }
        ExprKind::Call(name, arguments) => {
            let first = || arguments.first().and_then(|argument| result_name(&argument.expr));
            match &*name.text {
                "ingestion_time" => return Some("$IngestionTime".to_owned()),
                "bin" | "floor" => return first(),
                _ => {}
            }
            if let Some(Ok(found)) = aggregate::find(&name.text, None, None) {
                return match found.prefix {
                    "" => first(),
                    prefix => Some(format!("{prefix}_{}", first().unwrap_or_default())),
                };
            }
            match functions::find(&name.text)?.naming {
                Naming::None => None,
                Naming::First => first(),
                Naming::Both => Some(format!("{}_{}", name.text, first().unwrap_or_default())),
            }
        }
        _ => None,
    }
}

fn joined(left: Option<String>, right: &str) -> String {
    match left {
        Some(left) => format!("{left}_{right}"),
        None => right.to_owned(),
    }
}
