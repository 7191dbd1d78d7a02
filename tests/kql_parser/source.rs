//! That no text gets past the golden files: where the source may write KQL, and that each such place has one.

use crate::sent::{files, root, templates};
use std::collections::BTreeSet;
use std::fs;

/// What writes KQL besides the templates: the writers, and modules whose functions each have golden files.
const WRITERS: [&str; 3] = ["src/kql.rs", "src/remedy.rs", "src/defender/queries"];

/// The lines of code of a file, without comments and without the tests at its foot.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn source_files() -> impl Iterator<Item = (String, String)> {
    files(&root().join("src")).into_iter().filter(|path| !path.ends_with("tests.rs")).map(|path| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        (name, fs::read_to_string(&path).unwrap_or_default())
    })
}

#[test]
fn every_template_is_sent_by_something() {
    let used: BTreeSet<String> = source_files()
        .flat_map(|(_, text)| {
            let named = text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split_once("\")"));
            let named = named.filter_map(|(path, _)| path.rsplit_once("../kql/"));
            named.map(|(_, file)| file.to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let held: BTreeSet<String> = templates().into_iter().map(|template| template.file).collect();
    assert_eq!(used, held);
}

#[test]
fn kql_is_written_in_templates_and_by_the_writers_alone() {
    let mut found = Vec::new();
    for (file, text) in source_files()
        .filter(|(file, _)| file.ends_with(".rs") && !WRITERS.iter().any(|writer| file.starts_with(writer)))
    {
        found.extend(code(&text).filter(|line| looks_like_kql(line)).map(|line| format!("{file}: {line}")));
    }
    assert!(found.is_empty(), "KQL outside kql/, where no golden file holds it: {found:#?}");
}

/// Whether a line of code holds the beginning of a command, or an operator of a query.
fn looks_like_kql(line: &str) -> bool {
    let begins_a_command = line.split(['"', '`']).skip(1).any(|literal| {
        let words = literal.strip_prefix('.').and_then(|literal| literal.split_once(' '));
        words.is_some_and(|(verb, rest)| {
            let is_verb = !verb.is_empty() && verb.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            is_verb && rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '{')
        })
    });
    let operators = ["where", "project", "extend", "summarize", "take", "count", "order", "join", "union", "evaluate"];
    let holds_an_operator = operators.iter().any(|operator| line.contains(&format!("| {operator} ")));
    begins_a_command || (holds_an_operator && line.contains('"'))
}

#[test]
fn a_line_that_writes_kql_is_found() {
    assert!(looks_like_kql(r#"    client.command(".show tables details", Effect::Read)"#));
    assert!(looks_like_kql(r#"    "run `.drop table {table}`""#));
    assert!(looks_like_kql(r#"    let query = format!("{table} | where A == 1");"#));
    assert!(!looks_like_kql(r#"    ".get" => ("Database Ingestor", &["ingestors"]),"#));
}

/// Every function that makes a text has a golden file that begins with its name.
#[test]
fn every_hunting_query_and_every_remedy_has_a_golden_file() {
    for (module, folder, functions) in [("src/defender/queries", "defender", 23), ("src/remedy", "remedies", 18)] {
        let texts = source_files().filter(|(file, _)| file.starts_with(module));
        let text = texts.flat_map(|(_, text)| code(&text).map(str::to_owned).collect::<Vec<_>>());
        let text = text.collect::<Vec<_>>().join("\n");
        let goldens = files(&root().join("tests/golden").join(folder));
        let mut found = 0;
        for signature in text.split("\npub fn ").skip(1) {
            let (signature, _) = signature.split_once('{').unwrap();
            assert!(signature.trim_end().ends_with("-> String"), "{module}: {signature}");
            let name = signature.split('(').next().unwrap().replace('_', "-");
            let held = goldens.iter().any(|file| {
                let file = file.file_stem().unwrap().to_str().unwrap();
                file == name || file.strip_prefix(&name).is_some_and(|rest| rest.starts_with('-'))
            });
            assert!(held, "{name} of {module} has no file in tests/golden/{folder}");
            found += 1;
        }
        assert_eq!(found, functions, "{module}");
    }
}
