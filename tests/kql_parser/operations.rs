//! The queries that docs/operations.md gives to people.

use crate::parser::{Database, Request, Text, parse};
use crate::sent::{DESTINATION, databases, root};
use std::collections::BTreeMap;
use std::fs;

const INSIGHTS: &str = "insights";

/// The queries in the document, in order.
fn queries() -> Vec<Text> {
    let document = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let blocks = document.split("```kusto\n").skip(1).map(|block| block.split_once("\n```").unwrap().0);
    blocks
        .map(|block| {
            let database = match block.lines().next().unwrap().split(':').next().unwrap() {
                "// ADX" => DESTINATION,
                "// Application Insights" => INSIGHTS,
                other => panic!("{other}: to whom?"),
            };
            Text { database, text: block.to_owned() }
        })
        .collect()
}

/// The columns that the queries may use (azure-monitor reference, tables `AppTraces`, `AppRequests` and `AppMetrics` under their names in
/// Application Insights).
fn insights() -> Database {
    let of_all = "timestamp:datetime, customDimensions:dynamic, operation_Id:string, cloud_RoleName:string";
    let tables = [
        ("traces", "message:string, severityLevel:int"),
        ("requests", "name:string, success:bool, duration:real, resultCode:string"),
        ("customMetrics", "name:string, value:real, valueCount:int, valueSum:real, valueMin:real, valueMax:real"),
    ];
    let tables = tables.map(|(name, own)| (name.to_owned(), format!("({of_all}, {own})")));
    Database { tables: BTreeMap::from(tables), ..Database::default() }
}

#[test]
fn every_query_in_the_document_on_operations_is_understood() {
    let texts = queries();
    assert!(texts.len() >= 12, "{} queries", texts.len());
    let mut databases = databases();
    databases.insert(INSIGHTS, insights());
    let Some(answer) = parse(&Request { databases, texts: texts.clone(), ..Request::default() }) else { return };
    for (text, parsed) in texts.iter().zip(answer.texts) {
        assert_eq!((parsed.problems.as_slice(), parsed.kind.as_str()), (&[][..], "Query"), "{}", text.text);
        assert!(!parsed.columns.is_empty(), "{}", text.text);
    }
}
