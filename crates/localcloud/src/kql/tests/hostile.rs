use super::catalog;
use crate::kql::{functions, run};
use proptest::prelude::*;

/// The ends of all types.
const VALUES: [&str; 24] = [
    "long(-9223372036854775808)",
    "9223372036854775807",
    "-1",
    "0",
    "1",
    "int(-2147483648)",
    "real(nan)",
    "real(-inf)",
    "1e308",
    "-0.0",
    "''",
    "'é😀'",
    "'week'",
    "@'\\w+'",
    "'regex'",
    "datetime(0001-01-01)",
    "datetime(9999-12-31T23:59:59.9999999Z)",
    "datetime(null)",
    "time(-10675199.02:48:05.4775807)",
    "1tick",
    "dynamic([1, [2], {}, null])",
    "dynamic({'a': {'b': 'x'}})",
    "dynamic(null)",
    "true",
];

/// Whether it is right or refused does not matter here, only that it comes back.
fn survives(query: &str) {
    if let Ok(answer) = run(query, &catalog()) {
        for row in answer.rows.take(20) {
            let _ = row;
        }
    }
}

#[test]
fn no_function_panics_at_the_ends_of_its_types() {
    let mut names = functions::names();
    names.extend(["bin", "floor", "iff", "coalesce", "now", "ago", "not", "case", "column_ifexists"]);
    for name in names {
        for first in VALUES {
            survives(&format!("print {name}({first})"));
            for second in VALUES {
                survives(&format!("print {name}({first}, {second})"));
                for third in [
                    "-9223372036854775807",
                    "9223372036854775807",
                    "datetime(0001-01-01)",
                    "datetime(9999-12-31)",
                    "'x'",
                ] {
                    survives(&format!("print {name}({first}, {second}, {third})"));
                }
            }
        }
    }
}

#[test]
fn no_operator_panics_at_the_ends_of_its_types() {
    let operators =
        ["+", "-", "*", "/", "%", "<", "==", "=~", "has", "contains", "startswith", "hassuffix", "matches regex"];
    for first in VALUES {
        survives(&format!("print -({first}), ({first}).a, ({first})[0], ({first})[-9223372036854775807]"));
        for aggregate in ["sum", "avg", "min", "max", "dcount", "make_set", "make_list", "any", "arg_max"] {
            survives(&format!(
                "range i from 1 to 3 step 1 | extend x = {first} | summarize {aggregate}(x) by bin(i, 2)"
            ));
        }
        for second in VALUES {
            for operator in operators {
                survives(&format!("print {first} {operator} {second}"));
            }
            survives(&format!("print {first} in ({second}, 1), {first} between ({second} .. {second})"));
            survives(&format!("range x from {first} to {second} step 1"));
            survives(&format!("range x from {first} to {second} step {second}"));
        }
    }
}

proptest! {
    #[test]
    fn no_row_of_words_makes_the_engine_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..14)) {
        survives(&words.join(" "));
        survives(&format!("Events | {}", words.join(" ")));
    }
}

const WORDS: &[&str] = &[
    "Events",
    "|",
    "|",
    "where",
    "extend",
    "project",
    "summarize",
    "by",
    "count()",
    "Id",
    "Id",
    "Name",
    "At",
    "=",
    "==",
    "(",
    ")",
    ",",
    "+",
    "-",
    "1",
    "'x'",
    "1h",
    "sort",
    "top",
    "take",
    "distinct",
    "*",
    "join",
    "on",
    "union",
    "let",
    ";",
    "in",
    "between",
    "..",
    "has",
    "and",
    "or",
    "not",
    "mv-expand",
    "pack_all()",
    "arg_max(Id, *)",
    "serialize",
    "row_number()",
    "ingestion_time()",
    "bin(",
    "iff(",
    "dynamic([1])",
    "[0]",
    ".a",
    "getschema",
    "as",
    "x",
    "print",
    "range",
    "from",
    "to",
    "step",
    "datatable(a:long)[1]",
    "kind=inner",
    "$left.Id",
    "$right.Id",
    "project-away",
    "project-rename",
    "{",
    "}",
    "toscalar(",
    "asc",
    "nulls first",
];
