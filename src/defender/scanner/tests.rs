use super::super::testing::cut;
use super::*;
use crate::testing::cases;
use proptest::collection::vec;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

fn scan(pieces: &[&[u8]]) -> Result<(Vec<u8>, Scan), ScanError> {
    let mut scanner = Scanner::new();
    let mut out = Vec::new();
    for piece in pieces {
        scanner.feed(piece, &mut out)?;
    }
    Ok((out, scanner.finish()?))
}

fn reason(document: &[u8]) -> Option<Reason> {
    let whole = scan(&[document]).err().map(|error| error.reason);
    let bytes: Vec<&[u8]> = document.chunks(1).collect();
    assert_eq!(whole, scan(&bytes).err().map(|error| error.reason), "cut into bytes: {document:?}");
    whole
}

fn rows(document: &str) -> String {
    String::from_utf8(scan(&[document.as_bytes()]).unwrap().0).unwrap()
}

/// What the rows of a document are by the word of serde_json, or `None` if it is not one of packed rows.
fn expected(document: &[u8]) -> Option<Vec<u8>> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let results =
        document.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case("results"))?.1.as_array()?.clone();
    let mut rows = Vec::new();
    for row in results {
        let text = row.as_object()?.get("Row")?.as_str()?.to_owned();
        if text.len() < 2 || !text.starts_with('{') || !text.ends_with('}') {
            return None;
        }
        rows.extend_from_slice(text.as_bytes());
        rows.push(b'\n');
    }
    Some(rows)
}

#[test]
fn rows_of_all_dialects_are_found() {
    let graph = r##"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#x","schema":[{"name":"Row","type":"String"}],
        "results":[{"Row@odata.type":"#String","Row":"{\"A\":\"x\\ny\",\"B\":[1]}"},{"Row":"{}"}]}"##;
    assert_eq!(rows(graph), "{\"A\":\"x\\ny\",\"B\":[1]}\n{}\n");
    let legacy =
        r#"{"Stats":{"a":{"Row":1,"results":[]}},"Results":[{"Row":"{\u0022A\u0022:1}"}],"Schema":[{"Name":"Row"}]}"#;
    assert_eq!(rows(legacy), "{\"A\":1}\n");
    assert_eq!(rows(" { \"RESULTS\" : [ ] } \r\n\t"), "");
}

#[test]
fn the_figures_are_those_of_the_unescaped_rows() {
    let document = r#"{"results":[{"Row":"{\"A\":\"\u00e9\"}"},{"Row":"{}"}]} "#;
    let (out, figures) = scan(&[document.as_bytes()]).unwrap();
    assert_eq!(out, "{\"A\":\"é\"}\n{}\n".as_bytes());
    let wanted =
        Scan { rows: 2, raw_bytes: out.len() as u64, longest_row_bytes: 10, response_bytes: document.len() as u64 };
    assert_eq!(figures, wanted);
}

#[test]
fn lone_surrogates_become_the_replacement_character() {
    for (escaped, meant) in [
        (r"\ud83d\ude00", "😀"),
        (r"\uD83D\uDE00", "😀"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ude00", "\u{fffd}"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ud83d\n", "\u{fffd}\n"),
        (r"\ud83dé", "\u{fffd}é"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        (r"\uffff\u0000", "\u{ffff}\0"),
    ] {
        let document = format!(r#"{{"results":[{{"Row":"{{{escaped}}}"}}]}}"#);
        let wanted = format!("{{{meant}}}\n");
        assert_eq!(rows(&document), wanted, "{escaped}");
        for cut in 0..document.len() {
            let (head, tail) = document.as_bytes().split_at(cut);
            assert_eq!(scan(&[head, tail]).unwrap().0, wanted.as_bytes(), "{escaped} cut at {cut}");
        }
    }
}

#[test]
fn what_is_no_list_of_packed_rows_is_refused() {
    let deep = format!(r#"{{"a":{}"#, "[".repeat(200));
    for (document, wanted) in [
        ("", Reason::Empty),
        (" \n", Reason::Empty),
        ("[]", Reason::NotAnObject),
        ("\"x\"", Reason::NotAnObject),
        ("null", Reason::NotAnObject),
        ("<html>", Reason::NotAnObject),
        ("{}", Reason::NoResults),
        (r#"{"error":{"code":"x","results":[]}}"#, Reason::NoResults),
        (r#"{"results":null}"#, Reason::NotRows),
        (r#"{"results":{}}"#, Reason::NotRows),
        (r#"{"results":[1]}"#, Reason::NotRows),
        (r#"{"results":[[]]}"#, Reason::NotRows),
        (r#"{"results":["{}"]}"#, Reason::NotRows),
        (r#"{"results":[],"results":[]}"#, Reason::SecondResults),
        (r#"{"results":[],"Results":[]}"#, Reason::SecondResults),
        (r#"{"results":[{}]}"#, Reason::NoRow),
        (r#"{"results":[{"row":"{}"}]}"#, Reason::NoRow),
        (r#"{"results":[{"A":{"Row":"{}"}}]}"#, Reason::NoRow),
        (r#"{"results":[{"Row@odata.type":"{}"}]}"#, Reason::NoRow),
        (r#"{"results":[{"Row":"{}","Row":"{}"}]}"#, Reason::SecondRow),
        (r#"{"results":[{"Row":"{}","\u0052ow":"{}"}]}"#, Reason::SecondRow),
        (r#"{"results":[{"Row":null}]}"#, Reason::RowIsNotText),
        (r#"{"results":[{"Row":{}}]}"#, Reason::RowIsNotText),
        (r#"{"results":[{"Row":""}]}"#, Reason::RowIsNoObject),
        (r#"{"results":[{"Row":"{"}]}"#, Reason::RowIsNoObject),
        (r#"{"results":[{"Row":"}"}]}"#, Reason::RowIsNoObject),
        (r#"{"results":[{"Row":" {}"}]}"#, Reason::RowIsNoObject),
        (r#"{"results":[{"Row":"null"}]}"#, Reason::RowIsNoObject),
        (r#"{"results":[]}x"#, Reason::Trailing),
        (r#"{"results":[]}{}"#, Reason::Trailing),
        (&deep, Reason::TooDeep),
    ] {
        assert_eq!(reason(document.as_bytes()), Some(wanted), "{document}");
    }
}

#[test]
fn what_is_not_json_is_refused_also_where_it_is_skipped() {
    for value in [
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "tru",
        "nul",
        "True",
        "{,}",
        "[,]",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "[1 2]",
        "[}",
        "{]",
        "'x'",
        "NaN",
        "",
        "1]",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\t\"",
    ] {
        let document = format!(r#"{{"a":{value},"results":[]}}"#);
        let found = reason(document.as_bytes());
        assert!(matches!(found, Some(Reason::Malformed | Reason::BadText)), "{value}: {found:?}");
    }
    for value in ["0", "-0.5e-7", "1E9", "true", "[]", "[[],{}]", "{\"a\":[null,false]}", "\"\\/\""] {
        let document = format!(r#"{{"a":{value},"results":[]}}"#);
        assert_eq!(reason(document.as_bytes()), None, "{value}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    for bytes in [
        &b"\x80"[..],
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xff",
        b"\xc3(",
        b"\xc3\\n",
        b"\xe3\x81",
        b"\x1f",
        b"\0",
    ] {
        for padding in ["", "12345", "1234567", "0123456789abcdef"] {
            let document =
                [br#"{"results":[{"Row":"{"#, padding.as_bytes(), bytes, padding.as_bytes(), br#"}"}]}"#].concat();
            assert_eq!(reason(&document), Some(Reason::BadText), "{bytes:?} {padding}");
        }
    }
}

#[test]
fn an_error_stays_and_says_where_it_is() {
    let mut scanner = Scanner::new();
    let mut out = Vec::new();
    scanner.feed(br#"{"results":[{"Row":"{}"},"#, &mut out).unwrap();
    let error = scanner.feed(br#" {"Row":7}]}"#, &mut out).unwrap_err();
    assert_eq!(error, ScanError { reason: Reason::RowIsNotText, offset: 25 + 8, rows: 1 });
    assert_eq!(scanner.feed(b"", &mut out).unwrap_err(), error);
    assert_eq!(scanner.finish().unwrap_err(), error);
}

#[test]
fn a_long_key_or_a_long_row_is_taken() {
    let long = "x".repeat(100_000);
    let document = format!(r#"{{"{long}":"{long}","results":[{{"Row{long}":1,"Row":"{{{long}}}"}}]}}"#);
    for size in [1, 7, 255, 256, 257, 4096] {
        let pieces: Vec<&[u8]> = document.as_bytes().chunks(size).collect();
        let (_, figures) = scan(&pieces).unwrap();
        assert_eq!((figures.rows, figures.longest_row_bytes), (1, 100_002));
    }
}

/// JSON of any shape, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any_text(), inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,40}",
        "(Row|results|Results|[\"\\\\/\u{8}\n\t]|é|猫|😀|\u{7f}|\u{2028}){0,12}",
        "[\u{430}-\u{44f}]{0,60}",
    ]
}

#[derive(Debug, Clone)]
struct Document {
    text: String,
    rows: Vec<String>,
}

/// An answer whose strings are escaped in all the ways that JSON allows.
fn any_document() -> impl Strategy<Value = Document> {
    let row = vec((any_text(), any_json()), 0..5).prop_map(|members| Value::Object(members.into_iter().collect()));
    let before = vec(("[A-Za-z@. ]{0,12}", any_json()), 0..3);
    (vec((row, vec(("[a-qs-z@.]{0,12}", any_json()), 0..2)), 0..6), before, any::<u64>()).prop_map(
        |(rows, others, seed)| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut members: Vec<String> = others
                .into_iter()
                .filter(|(key, _)| !key.eq_ignore_ascii_case("results"))
                .map(|(key, value)| format!("{}:{}", escaped(&key, &mut random), value))
                .collect();
            let texts: Vec<String> = rows.iter().map(|(row, _)| row.to_string()).collect();
            let items: Vec<String> = rows
                .into_iter()
                .zip(&texts)
                .map(|((_, others), text)| {
                    let mut members: Vec<String> = others
                        .into_iter()
                        .map(|(key, value)| format!("{}:{}", escaped(&key, &mut random), value))
                        .collect();
                    let row = format!("{} : {}", escaped("Row", &mut random), escaped(text, &mut random));
                    members.insert(random.random_range(0..=members.len()), row);
                    format!("{{{}}}", members.join(","))
                })
                .collect();
            let key = ["results", "Results", "RESULTS"][random.random_range(0..3)];
            let results = format!("{}:[{}]", escaped(key, &mut random), items.join(" ,\n"));
            members.insert(random.random_range(0..=members.len()), results);
            Document { text: format!("{{{}}}", members.join(", ")), rows: texts }
        },
    )
}

fn escaped(text: &str, random: &mut StdRng) -> String {
    let style = random.random_range(0..4);
    let mut out = String::from("\"");
    for character in text.chars() {
        let number = style == 1 || (style == 2 && random.random_bool(0.3));
        let short = match character {
            '"' | '\\' => Some(character),
            '/' if random.random_bool(0.5) => Some('/'),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            _ => None,
        };
        match short {
            Some(letter) if !number => out.extend(['\\', letter]),
            None if !number && character >= ' ' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&if random.random() { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") });
                }
            }
        }
    }
    out.push('"');
    out
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn any_rows_escaped_and_cut_in_any_way_come_out_as_they_were(document in any_document(), seed: u64) {
        let wanted: String = document.rows.iter().map(|row| format!("{row}\n")).collect();
        prop_assert_eq!(expected(document.text.as_bytes()), Some(wanted.clone().into_bytes()));
        let (out, figures) = scan(&cut(document.text.as_bytes(), seed)).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), wanted.clone());
        prop_assert_eq!(figures.rows, document.rows.len() as u64);
        prop_assert_eq!(figures.raw_bytes, wanted.len() as u64);
        prop_assert_eq!(figures.longest_row_bytes, document.rows.iter().map(String::len).max().unwrap_or(0) as u64);
        prop_assert_eq!(figures.response_bytes, document.text.len() as u64);
    }

    #[test]
    fn an_answer_cut_short_anywhere_is_an_error(document in any_document()) {
        for end in 0..document.text.len() {
            prop_assert!(scan(&[&document.text.as_bytes()[..end]]).is_err(), "cut at {}", end);
        }
    }

    #[test]
    fn garbage_never_panics_and_the_cut_makes_no_difference(bytes in vec(any::<u8>(), 0..300), seed: u64) {
        prop_assert_eq!(scan(&cut(&bytes, seed)), scan(&[&bytes]));
    }
}

/// Documents damaged at random: the scanner and serde_json must agree on which are still whole, and on their rows.
#[test]
fn damaged_answers_are_judged_as_serde_json_judges_them() {
    let seeds = [
        json!({"@odata.context": "x", "schema": [{"name": "Row", "type": "String"}], "results": [
            {"Row": r#"{"A":"é😀","B":null}"#}, {"Row@odata.type": "#String", "Row": r#"{"C":[1,-2.5,true]}"#}]})
        .to_string(),
        r#"{"Stats":{"a":[1,2.5,{"b":false}]},"Results":[{"Row":"{\u0022A\u0022:\"\ud83d\ude00\\n\"}","x":null}],"Schema":[]}"#
            .to_owned(),
    ];
    const BYTES: &[u8] = b"{}[]\",:\\u0123456789abdeEfnrtlsRow -+.\n\x00\x1f\x7f\x80\xc3\xa9\xf0\x9f\xed";
    let mut accepted = 0;
    for seed in 0..6_000u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = seeds[random.random_range(0..seeds.len())].clone().into_bytes();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = BYTES[random.random_range(0..BYTES.len())],
                1 => bytes.insert(at, BYTES[random.random_range(0..BYTES.len())]),
                2 => drop(bytes.remove(at)),
                _ => {
                    let end = bytes.len().min(at + random.random_range(0..20));
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        let ours = scan(&cut(&bytes, seed));
        assert_eq!(ours, scan(&[&bytes]), "seed {seed}");
        let shown = String::from_utf8_lossy(&bytes);
        match (ours, serde_json::from_slice::<Value>(&bytes)) {
            (Ok((out, _)), Ok(_)) => {
                accepted += 1;
                assert_eq!(Some(out), expected(&bytes), "seed {seed}: {shown}");
            }
            // serde_json also refuses lone surrogates and numbers that no f64 holds.
            (Ok(_), Err(error)) => {
                let error = error.to_string();
                assert!(
                    ["surrogate", "hex escape", "out of range"].iter().any(|known| error.contains(known)),
                    "seed {seed}: {error}: {shown}"
                );
            }
            (Err(error), Ok(value)) => {
                let second = matches!(error.reason, Reason::SecondRow | Reason::SecondResults);
                assert!(second || expected(&bytes).is_none(), "seed {seed}: {error}: {shown}");
                drop(value);
            }
            (Err(_), Err(_)) => {}
        }
    }
    assert!(accepted > 500, "only {accepted} documents stayed whole: the test shows too little");
}

#[test]
fn a_row_may_hold_any_member_beside_its_text() {
    let mut row = Map::new();
    row.insert("Row".to_owned(), json!("{}"));
    row.insert("Other".to_owned(), json!({"Row": ["{}", {"results": []}]}));
    assert_eq!(rows(&json!({ "results": [row] }).to_string()), "{}\n");
}
