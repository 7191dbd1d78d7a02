//! Whatever name the identifier writer takes, Microsoft's parser reads the same name.

use crate::parser::{Database, Request, Text, parse};
use adxingestor::kql::Identifier;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: &str = "names";
/// So many columns in one query.
const GROUP: usize = 60;

fn written(name: &str) -> String {
    Identifier::new(name).unwrap().to_string()
}

/// Asks for texts that use a group of names each, and for the names of their columns.
fn columns_of(database: Database, texts: &[String]) -> Option<Vec<Vec<String>>> {
    let asked = texts.iter().map(|text| Text { database: NAMES, text: text.clone() }).collect();
    let databases = BTreeMap::from([(NAMES, database)]);
    let answer = parse(&Request { databases, texts: asked, ..Request::default() })?;
    for (text, parsed) in texts.iter().zip(&answer.texts) {
        assert!(parsed.problems.is_empty(), "{:#?}\n{text}", parsed.problems);
    }
    Some(answer.texts.into_iter().map(|parsed| parsed.columns.into_iter().map(|(name, _)| name).collect()).collect())
}

fn are_read_as_columns(names: &[String]) {
    let groups: Vec<&[String]> = names.chunks(GROUP).collect();
    let mut database = Database::default();
    let mut texts = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let columns: Vec<String> = group.iter().map(|name| written(name)).collect();
        let (table, names) = (format!("Group_{index}"), columns.join(", "));
        database.tables.insert(table.clone(), format!("({}: long)", columns.join(": long, ")));
        let positive = columns.join(" > 0 and ");
        texts.push(format!("{table} | where {positive} > 0 | summarize Rows = count() by {names} | project {names}"));
        texts.push(format!("datatable({}: long)[] | extend {} = 1", columns.join(": long, "), columns[0]));
    }
    let Some(read) = columns_of(database, &texts) else { return };
    for (group, read) in groups.iter().zip(read.chunks(2)) {
        assert!(read.iter().all(|columns| columns == group), "{group:?}: {read:?}");
    }
}

fn are_read_as_tables(names: &[String]) {
    let mut database = Database::default();
    for (index, name) in names.iter().enumerate() {
        database.tables.insert(name.clone(), format!("(Value_{index}: long)"));
    }
    let text = |(index, name): (usize, &String)| format!("{} | project Value_{index}", written(name));
    let texts: Vec<String> = names.iter().enumerate().map(text).collect();
    columns_of(database, &texts);
}

/// A word as it is, and with capital letters, which it is written bare with.
fn in_any_case(word: &str) -> [String; 3] {
    [word.to_owned(), word[..1].to_uppercase() + &word[1..], word.to_uppercase()]
}

#[test]
fn words_of_the_language_are_names_in_any_case() {
    let Some(answer) = parse(&Request { words: true, ..Request::default() }) else { return };
    let (mut keywords, functions) = (answer.keywords, answer.functions);
    assert!(keywords.len() > 200 && functions.len() > 500, "{} and {}", keywords.len(), functions.len());
    keywords
        .extend(["true", "false", "null", "nan", "inf", "guid", "datetime", "h", "e1", "has_any"].map(String::from));
    let is_name = |word: &String| Identifier::new(word).is_ok();
    let keywords: BTreeSet<String> = keywords.iter().flat_map(|word| in_any_case(word)).filter(is_name).collect();
    let keywords = Vec::from_iter(keywords);
    are_read_as_tables(&keywords);
    are_read_as_columns(&keywords);
    let functions: BTreeSet<String> =
        functions.iter().map(|word| in_any_case(word)[1].clone()).filter(is_name).collect();
    are_read_as_columns(&Vec::from_iter(functions));
}

#[test]
fn every_letter_and_digit_can_be_in_a_name() {
    let letters: Vec<char> = (0..=char::MAX as u32)
        .filter_map(char::from_u32)
        .filter(|c| c.is_alphanumeric() || "_-. ".contains(*c))
        .collect();
    assert!(letters.len() > 100_000);
    // Between letters, since some characters cannot stand at an end.
    let mut names: Vec<String> =
        letters.chunks(1000).map(|letters| format!("a{}z", letters.iter().collect::<String>())).collect();
    names.extend(["1day", "9", "_", "a.b-c", "a - b", "x y", "-", ".", "Größe", "表", "a__b"].map(String::from));
    are_read_as_columns(&names);
    are_read_as_tables(&names);
}

#[test]
fn odd_names_stand_where_commands_have_names() {
    let names = ["True", "has_any", "my table", "policy", "DeviceEvents"];
    let mut database = Database::default();
    let mut texts = Vec::new();
    for name in names {
        let id = written(name);
        database.tables.insert(name.to_owned(), format!("({id}: long, RawData: dynamic)"));
        texts.push(format!(".create-merge table {id} ({id}:long) with (folder=\"x\")"));
        texts.push(format!(".show table {id} extents where tags has 'x'"));
        texts.push(format!(".alter column {id}.RawData policy encoding type = 'BigObject32'"));
        texts.push(format!(".create-or-alter function {id}() {{ {id} | where {id} > 0 }}"));
    }
    columns_of(database, &texts);
}
