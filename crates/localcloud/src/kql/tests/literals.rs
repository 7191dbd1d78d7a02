use super::eval;
use crate::kql::lexer::{Lexer, TokenKind, tokenize};
use crate::kql::{ErrorKind, Type, Value, parse_literal};
use proptest::prelude::*;

fn string_token(text: &str) -> String {
    match tokenize(text).unwrap().remove(0).kind {
        TokenKind::String(value) => value,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_kind_of_string_literal_is_read() {
    for (text, value) in [
        (r#""a\"b\\c\n\t\u00e9\x41""#, "a\"b\\c\n\té\u{41}"),
        (r"'it\'s'", "it's"),
        (r#"@"C:\dir ""x""""#, r#"C:\dir "x""#),
        (r"@'it''s \n'", r"it's \n"),
        (r#"h"secret""#, "secret"),
        (r#"h@'s\'"#, r"s\"),
        ("```a\nb\\n```", "a\nb\\n"),
        (r#""Hello"', '@"world!""#, "Hello, world!"),
        ("\"Hello\" // comment\n ', ' @\"world!\"", "Hello, world!"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\ud83d!""#, "\u{fffd}!"),
    ] {
        assert_eq!(string_token(text), value, "{text}");
    }
}

#[test]
fn timespan_literals_are_ticks() {
    for (text, ticks) in [
        ("1d", 864_000_000_000),
        ("1.5h", 54_000_000_000),
        ("10m", 6_000_000_000),
        ("30s", 300_000_000),
        ("100ms", 1_000_000),
        ("10microseconds", 100),
        ("1tick", 1),
        ("time(1.02:03:04.5)", 937_845_000_000),
        ("timespan(15 seconds)", 150_000_000),
        ("timespan(2)", 1_728_000_000_000),
        ("-1h", -36_000_000_000),
    ] {
        assert_eq!(parse_literal(text), Ok((Value::Timespan(ticks), Type::Timespan)), "{text}");
    }
}

#[test]
fn typed_and_dynamic_literals_are_read() {
    for (text, json) in [
        ("datetime(2015-12-31 23:59:59.9)", r#""2015-12-31T23:59:59.9000000Z""#),
        ("datetime('2007-04-07')", r#""2007-04-07T00:00:00.0000000Z""#),
        ("datetime(2026-04-14T09:00:00.1234567+02:00)", r#""2026-04-14T07:00:00.1234567Z""#),
        ("datetime(9999-12-31T23:59:59.9999999Z)", r#""9999-12-31T23:59:59.9999999Z""#),
        ("datetime(0001-01-01)", r#""0001-01-01T00:00:00.0000000Z""#),
        ("datetime(null)", "null"),
        ("long(9223372036854775807)", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0x1F", "31"),
        ("int(-5)", "-5"),
        ("real(nan)", r#""NaN""#),
        ("1e3", "1000.0"),
        ("bool(1)", "true"),
        ("guid(74BE27DE-1E4E-49D9-B579-FE0B331D3642)", r#""74be27de-1e4e-49d9-b579-fe0b331d3642""#),
        ("decimal(1.10)", r#""1.10""#),
        ("string(null)", r#""""#),
        (
            r#"dynamic({"a": datetime(1970-05-11), 'b': [1, -2.5, null, true], })"#,
            r#"{"a":"1970-05-11T00:00:00.0000000Z","b":[1,-2.5,null,true]}"#,
        ),
    ] {
        assert_eq!(eval(text), json, "{text}");
    }
}

#[test]
fn a_parser_of_commands_can_stop_and_take_the_rest() {
    let text = ".ingest inline into table ['My T'] <| 1,\"open\n";
    let mut lexer = Lexer::new(text);
    while !lexer.next_token().unwrap().is_sign("<|") {}
    assert_eq!(lexer.rest(), " 1,\"open\n");
    assert_eq!(lexer.offset(), text.find("<|").unwrap() + 2);
}

#[test]
fn dots_between_numbers_are_a_range() {
    let kinds: Vec<_> = tokenize("1..5").unwrap().into_iter().map(|token| token.kind).collect();
    assert_eq!(kinds, [TokenKind::Long, TokenKind::Sign(".."), TokenKind::Long, TokenKind::End]);
}

#[test]
fn broken_literals_are_refused_where_they_begin() {
    for (text, column) in [
        (r#"print "open"#, 7),
        ("print 'two\nlines'", 7),
        (r#"print "\q""#, 8),
        ("print 9223372036854775808", 7),
        ("print datetime(2026-13-01)", 7),
        ("print datetime(2026-02-29)", 7),
        ("print long(x", 7),
        ("print ~", 7),
    ] {
        let error = crate::kql::run(text, &super::catalog()).map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.position.column), (ErrorKind::Syntax, column), "{text}: {error}");
    }
}

/// A literal as a client writes it that trusts nothing but ASCII.
fn escaped(text: &str) -> String {
    let mut out = String::from('"');
    for unit in text.encode_utf16() {
        out.push_str(&format!("\\u{unit:04x}"));
    }
    out.push('"');
    out
}

proptest! {
    #[test]
    fn string_literals_keep_any_text(text in any::<String>()) {
        prop_assert_eq!(string_token(&escaped(&text)), text.clone());
        if !text.contains(['\n', '\r']) {
            prop_assert_eq!(string_token(&format!("@'{}'", text.replace('\'', "''"))), text.clone());
            let plain = text.replace('\\', "\\\\").replace('\'', "\\'");
            prop_assert_eq!(string_token(&format!("'{plain}'")), text);
        }
    }

    #[test]
    fn strings_come_out_of_packing_as_the_same_json(text in any::<String>()) {
        let packed = eval(&format!("x={} | project tostring(pack_all())", escaped(&text)));
        let packed: String = serde_json::from_str(&packed).unwrap();
        let row: serde_json::Value = serde_json::from_str(&packed).unwrap();
        prop_assert_eq!(&row["x"], &serde_json::Value::from(text));
    }

    #[test]
    fn datetimes_come_back_from_their_text(ticks in 0i64..=crate::kql::time::MAX) {
        let mut text = String::new();
        crate::kql::time::write_datetime(ticks, &mut text);
        prop_assert_eq!(crate::kql::time::parse_datetime(&text), Some(ticks));
    }

    #[test]
    fn timespans_come_back_from_their_text(ticks in -crate::kql::time::MAX..=crate::kql::time::MAX) {
        let mut text = String::new();
        crate::kql::time::write_timespan(ticks, &mut text);
        prop_assert_eq!(crate::kql::time::parse_timespan(&text), Some(ticks));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9 |()\\[\\]{}'\"@.,;=<>!*/+-]{0,60}") {
        let _ = crate::kql::run(&text, &super::catalog());
    }
}
