//! That the parser refuses what is wrong: otherwise its silence would prove nothing.

use crate::parser::{Parsed, Request, Text, parse};
use crate::sent::{DESTINATION, SOURCE, Sent, databases, goldens};

fn parsed(texts: &[(&'static str, &str)]) -> Option<Vec<Parsed>> {
    let texts = texts.iter().map(|(database, text)| Text { database, text: (*text).to_owned() }).collect();
    Some(parse(&Request { databases: databases(), texts, ..Request::default() })?.texts)
}

#[test]
fn what_is_wrong_is_reported() {
    let wrong = [
        (SOURCE, "a broken query", "DeviceEvents | where"),
        (SOURCE, "a missing bracket", "DeviceEvents | where isnull(Timestamp | take 1"),
        (SOURCE, "an unknown operator", "DeviceEvents | wheer Timestamp > ago(1d)"),
        (SOURCE, "an unknown table", "DeviceEvent | take 1"),
        (SOURCE, "an unknown column", "DeviceEvents | where TimeStamp > ago(1d)"),
        (SOURCE, "a column that was projected away", "DeviceEvents | project DeviceId | take 1 | project Timestamp"),
        (SOURCE, "an unknown function", "DeviceEvents | where is_null(Timestamp)"),
        (SOURCE, "too few arguments", "DeviceEvents | extend Part = hash_xxhash64()"),
        (SOURCE, "too many arguments", "DeviceEvents | where isnull(Timestamp, 1)"),
        (SOURCE, "an aggregate outside of summarize", "DeviceEvents | where countif(isnull(Timestamp)) > 1"),
        (SOURCE, "an instant against a number", "DeviceEvents | where Timestamp > 5"),
        (SOURCE, "a number against a text", "DeviceEvents | where ReportId > 'a'"),
        (SOURCE, "a bin of a text", "DeviceEvents | summarize count() by bin(DeviceId, 1h)"),
        (SOURCE, "an unescaped literal", "DeviceEvents | where DeviceId == \"a\"b\""),
        (SOURCE, "an unescaped single quote", "DeviceEvents | where DeviceId == 'it's'"),
        (SOURCE, "a line end in a literal", "DeviceEvents | where DeviceId == \"a\nb\""),
        (SOURCE, "a backslash before the end", "DeviceEvents | where DeviceId == \"a\\\""),
        (SOURCE, "an unknown escape", "DeviceEvents | where DeviceId == \"a\\qb\""),
        (SOURCE, "a bare word of the language", "DeviceEvents | extend has_any = 1 | where has_any > 0"),
        (SOURCE, "a bare name with a blank", "my table | take 1"),
        (DESTINATION, "an unknown command", ".make table T (a:int)"),
        (DESTINATION, "an unknown object", ".show tabel DeviceEvents cslschema"),
        (DESTINATION, "an unknown type", ".create-merge table T (a:text)"),
        (DESTINATION, "an unknown table in a command", ".show table Nothing cslschema"),
        (DESTINATION, "an unknown column of what is shown", ".show ingestion failures | where TableName == 'T'"),
        (DESTINATION, "an unknown property of extents", ".show table DeviceEvents extents where tag has 'x'"),
        (DESTINATION, "a wrong query in a command", ".set-or-append meta_Ledger <| meta_Ledger | where Nothing == 1"),
        (DESTINATION, "an unescaped literal in a command", ".show table DeviceEvents extents where tags has 'a'b'"),
        (
            DESTINATION,
            "a wrong function body",
            ".create-or-alter function with (skipvalidation=true) F() { meta_Ledger | where Nothing == 1 }",
        ),
        (DESTINATION, "a row of unnamed tables", ".delete table Device Events records <| Device Events | take 1"),
    ];
    let texts: Vec<(&'static str, &str)> = wrong.iter().map(|(database, _, text)| (*database, *text)).collect();
    let Some(answers) = parsed(&texts) else { return };
    for ((_, what, text), parsed) in wrong.iter().zip(answers) {
        assert!(!parsed.problems.is_empty(), "{what} is not reported: {text}");
    }
}

#[test]
fn a_script_is_understood_down_to_its_commands() {
    let made = |sent: &Sent| sent.file == "adx/metadata.txt" && sent.text.text.starts_with(".create-merge");
    let made: Vec<String> = goldens().into_iter().filter(made).map(|sent| sent.text.text).take(2).collect();
    let script = format!(".execute database script with (ThrowOnErrors=true) <|\n{}", made.join("\n\n"));
    let (wrong, unknown) =
        (script.replace("chunk_results:dynamic", "chunk_results:bag"), format!("{script}\n\n.make table T"));
    let scripts = [&script, &wrong, &unknown].map(|script| (DESTINATION, script.as_str()));
    let Some(answers) = parsed(&scripts) else { return };
    assert!(answers[0].problems.is_empty(), "{:#?}\n{script}", answers[0].problems);
    assert!(answers[1..].iter().all(|answer| !answer.problems.is_empty()), "{answers:#?}");
}
