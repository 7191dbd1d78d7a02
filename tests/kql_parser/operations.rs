//! The KQL that README and docs give to people.

use crate::parser::{Database, Request, Text, parse};
use crate::sent::{DESTINATION, databases, root};
use std::collections::BTreeMap;
use std::fs;

const INSIGHTS: &str = "insights";

/// The blocks of KQL in a document, in order.
fn blocks(document: &str) -> Vec<String> {
    let document = fs::read_to_string(root().join(document)).unwrap();
    document.split("```kusto\n").skip(1).map(|block| block.split_once("\n```").unwrap().0.to_owned()).collect()
}

/// The queries in the document on operations, in order.
fn queries() -> Vec<Text> {
    blocks("docs/operations.md")
        .into_iter()
        .map(|block| {
            let database = match block.lines().next().unwrap().split(':').next().unwrap() {
                "// ADX" => DESTINATION,
                "// Application Insights" => INSIGHTS,
                other => panic!("{other}: to whom?"),
            };
            Text { database, text: block }
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

#[test]
fn what_a_reader_is_to_send_to_a_database_with_a_copied_table_is_understood() {
    let mut databases = databases();
    let tables = &mut databases.get_mut(DESTINATION).unwrap().tables;
    let copied = tables["DeviceEvents"].clone();
    tables.insert("DeviceProcessEvents".to_owned(), copied);
    let documents = [("README.md", &["Query"][..]), ("docs/settings.md", &["Command", "Command"])];
    for (document, kinds) in documents {
        let texts: Vec<Text> = blocks(document).into_iter().map(|text| Text { database: DESTINATION, text }).collect();
        let request = Request { databases: databases.clone(), texts, ..Request::default() };
        let Some(answer) = parse(&request) else { return };
        let found: Vec<&str> = answer.texts.iter().map(|parsed| parsed.kind.as_str()).collect();
        assert_eq!(found, kinds, "{document}");
        for (text, parsed) in request.texts.iter().zip(&answer.texts) {
            assert!(parsed.problems.is_empty(), "{:?} in {}", parsed.problems, text.text);
        }
    }
}
