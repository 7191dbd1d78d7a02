use super::super::testing::cut;
use super::*;
use crate::testing::cases;
use proptest::collection::vec;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const BAG: &str = "#microsoft.graph.security.dynamicColumnValue";

fn decode(pieces: &[&[u8]], compact: bool) -> Result<(Vec<u8>, Scan, Vec<Column>), ScanError> {
    let mut decoder = Decoder::new(Dialect::Graph, compact);
    let mut out = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut out)?;
    }
    let (scan, columns) = decoder.finish()?;
    Ok((out, scan, columns))
}

fn text(document: &str, compact: bool) -> String {
    String::from_utf8(decode(&[document.as_bytes()], compact).unwrap().0).unwrap()
}

fn reason(document: &str) -> Option<Reason> {
    let whole = decode(&[document.as_bytes()], false).err().map(|error| error.reason);
    let bytes: Vec<&[u8]> = document.as_bytes().chunks(1).collect();
    assert_eq!(whole, decode(&bytes, false).err().map(|error| error.reason), "cut into bytes: {document}");
    whole
}

#[test]
fn rows_wait_for_a_schema_that_follows_them_and_not_for_ever() {
    let schema = r#""schema":[{"name":"A","type":"SByte"},{"name":"B","type":"Object"}]"#;
    let rows = r#""results":[{"A":1,"B":{}},{"A":0,"B":"[{\"C\":2}]"}]"#;
    let before = format!("{{{schema},{rows}}}");
    let behind = format!("{{{rows},{schema}}}");
    assert_eq!(text(&behind, false), "{\"A\":true,\"B\":null}\n{\"A\":false,\"B\":[{\"C\":2}]}\n");
    assert_eq!(text(&behind, false), text(&before, false));
    let long = format!("{{\"A\":\"{}\"}}", "x".repeat(1 << 20));
    let many = format!("{{\"results\":[{}],{schema}}}", vec![long; 9].join(","));
    let error = decode(&[many.as_bytes()], false).unwrap_err();
    assert_eq!(error.reason, Reason::SchemaTooLate);
}

#[test]
fn a_dynamic_text_is_what_it_is_the_text_of_and_any_other_text_is_itself() {
    let schema = r#""schema":[{"name":"D","type":"Object"},{"name":"S","type":"String"}]"#;
    for (dynamic, expected) in [
        (r#""{\"a\":[1,{}]}""#, r#"{"a":[1,{}]}"#),
        (r#""[\"x\"]""#, r#"["x"]"#),
        (r#""plain""#, r#""plain""#),
        (r#""{not json}""#, r#""{not json}""#),
        (r#""5""#, r#""5""#),
        (r#""""#, r#""""#),
    ] {
        let answer = format!(r#"{{{schema},"results":[{{"D":{dynamic},"S":"{{}}"}}]}}"#);
        assert_eq!(text(&answer, false), format!("{{\"D\":{expected},\"S\":\"{{}}\"}}\n"));
    }
}

/// An answer of one row with one cell of a type.
fn cell(ty: &str, value: &str) -> String {
    let document = format!(r#"{{"schema":[{{"name":"X","type":"{ty}"}}],"results":[{{"X":{value}}}]}}"#);
    let row = text(&document, false);
    row.strip_prefix(r#"{"X":"#).unwrap().strip_suffix("}\n").unwrap().to_owned()
}

#[test]
fn a_value_is_written_as_the_engine_packs_it() {
    for (ty, value, packed) in [
        ("DateTime", r#""2026-04-14T07:00:00Z""#, r#""2026-04-14T07:00:00.0000000Z""#),
        ("DateTime", r#""2026-07-23T18:03:20.928Z""#, r#""2026-07-23T18:03:20.9280000Z""#),
        ("DateTime", r#""2024-03-26T09:39:50.7688641Z""#, r#""2024-03-26T09:39:50.7688641Z""#),
        ("DateTime", r#""2024-03-26T09:39:50+00:00""#, r#""2024-03-26T09:39:50.0000000Z""#),
        ("DateTime", r#""2024-03-26T09:39:50.7688641+00:00""#, r#""2024-03-26T09:39:50.7688641Z""#),
        ("DateTime", r#""2024-03-26T09:39:50+02:00""#, r#""2024-03-26T09:39:50+02:00""#),
        ("String", r#""2026-04-14T07:00:00Z""#, r#""2026-04-14T07:00:00Z""#),
        ("String", r#""""#, r#""""#),
        ("String", r#""{\"a\":1}""#, r#""{\"a\":1}""#),
        ("Int64", "639199803770463703", "639199803770463703"),
        ("Int64", r#""-9223372036854775808""#, "-9223372036854775808"),
        ("Int64", "18446744073709551616000", "18446744073709551616000"),
        ("SByte", "1", "true"),
        ("SByte", "0", "false"),
        ("SByte", "true", "true"),
        ("SByte", r#""true""#, "true"),
        ("SByte", r#""True""#, "true"),
        ("SByte", r#""1""#, "true"),
        ("SByte", r#""False""#, "false"),
        ("SByte", r#""0""#, "false"),
        ("SByte", r#""maybe""#, r#""maybe""#),
        ("String", r#""True""#, r#""True""#),
        ("Double", "7.0", "7.0"),
        ("Double", "1.7976931348623157e308", "1.7976931348623157e308"),
        ("Double", r#""-INF""#, r#""-Infinity""#),
        ("Double", r#""NaN""#, r#""NaN""#),
        ("SqlDecimal", r#""123456789012345678901234567890.12""#, r#""123456789012345678901234567890.12""#),
        ("TimeSpan", r#""1.02:03:04.5000000""#, r#""1.02:03:04.5000000""#),
        ("String", "{}", "null"),
        ("DateTime", "{}", "null"),
        ("SByte", "{}", "null"),
        ("SByte", "null", "null"),
        ("Object", "{}", "null"),
        ("object", r#"{"@odata.type":"x"}"#, "{}"),
        (
            "Object",
            r#"["{\"a\":{\"b\":[{}]}}","[1]","plain","{not json"]"#,
            r#"[{"a":{"b":[{}]}},[1],"plain","{not json"]"#,
        ),
        ("Object", "[]", "[]"),
        ("Object", "7", "7"),
        ("Unheard", r#"{"a":1}"#, r#"{"a":1}"#),
    ] {
        assert_eq!(cell(ty, value), packed, "{ty} {value}");
    }
}

#[test]
fn no_note_of_the_service_is_left_at_any_depth() {
    let value = json!({"@odata.type": BAG, "a@odata.type": "#Collection(Int64)", "a": [1, {"@odata.type": BAG, "b": null}],
        "none": {}, "empty": {"@odata.type": BAG}});
    assert_eq!(cell("Object", &value.to_string()), r#"{"a":[1,{"b":null}],"empty":{},"none":null}"#);
}

#[test]
fn the_older_services_values_are_left_as_they_are() {
    let document = r#"{"Stats":{"results":[1]},"Schema":[{"Name":"Bag","Type":"Object"},{"Name":"On","Type":"SByte"},{"Name":"At","Type":"DateTime"}],
        "Results":[{"Bag":{"a":{},"b":["{\"c\":1}"]},"On":0,"At":null},{"Bag":{},"On":false}]}"#;
    let mut decoder = Decoder::new(Dialect::Mde, false);
    let mut out = Vec::new();
    decoder.feed(document.as_bytes(), &mut out).unwrap();
    decoder.finish().unwrap();
    let wanted = "{\"Bag\":{\"a\":{},\"b\":[\"{\\\"c\\\":1}\"]},\"On\":false,\"At\":null}\n{\"Bag\":{},\"On\":false,\"At\":null}\n";
    assert_eq!(String::from_utf8(out).unwrap(), wanted);
}

#[test]
fn rows_have_the_columns_of_the_schema_and_what_else_they_name() {
    let document = r##"{"@odata.context":"x","schema":[{"name":"A","type":"Int64"},{"name":"LogonId","type":"Int64"},{"name":"LogonID","type":"String"}],
        "results":[ {"LogonID":"x","A@odata.type":"#Int64","A":1,"LogonId":2,"New":"y","Empty":{}} , {"A":{},"LogonID":""} ] , "n": null}"##;
    assert_eq!(
        text(document, false),
        "{\"A\":1,\"LogonId\":2,\"LogonID\":\"x\",\"New\":\"y\",\"Empty\":null}\n{\"A\":null,\"LogonId\":null,\"LogonID\":\"\"}\n"
    );
    assert_eq!(text(document, true), "{\"A\":1,\"LogonId\":2,\"LogonID\":\"x\",\"New\":\"y\"}\n{}\n");
    let (out, scan, columns) = decode(&[document.as_bytes()], true).unwrap();
    let wanted = Scan {
        rows: 2,
        raw_bytes: out.len() as u64,
        longest_row_bytes: out.len() as u64 - 4,
        response_bytes: document.len() as u64,
    };
    assert_eq!((scan, columns.len()), (wanted, 3));
}

#[test]
fn what_is_no_list_of_plain_rows_is_refused() {
    const SCHEMA: &str = r#"{"schema":[{"name":"A","type":"Int64"}],"results":"#;
    let deep = format!("{SCHEMA}[{{\"A\":{}1{}}}]}}", "[".repeat(200), "]".repeat(200));
    let deep_text = format!("{SCHEMA}[{{\"A\":{}", "[".repeat(100_000));
    for (document, wanted) in [
        ("", Reason::Empty),
        (" \n", Reason::Empty),
        ("[]", Reason::NoResults),
        ("{}", Reason::NoResults),
        (r#"{"schema":[]}"#, Reason::NoResults),
        (r#"{"results":[]}"#, Reason::NoSchema),
        (r#"{"results":[{}]}"#, Reason::NoSchema),
        (r#"{"results":[{}],"other":[]}"#, Reason::NoSchema),
        (r#"{"schema":{},"results":[]}"#, Reason::NoSchema),
        (r#"{"schema":[{"name":"A"}],"results":[]}"#, Reason::NoSchema),
        (r#"{"schema":[{"name":"A","type":"x"},{"name":"A","type":"x"}],"results":[]}"#, Reason::SecondColumn),
        (r#"{"schema":[],"results":[{"A":1,"A":2}]}"#, Reason::SecondColumn),
        (r#"{"schema":[],"schema":[],"results":[]}"#, Reason::SecondSchema),
        (r#"{"schema":[],"results":[],"Results":[]}"#, Reason::SecondResults),
        (r#"{"schema":[],"results":{}}"#, Reason::NotRows),
        (r#"{"schema":[],"results":[1]}"#, Reason::NotRows),
        (r#"{"schema":[],"results":[{},]}"#, Reason::NotRows),
        (r#"{"schema":[],"results":[{} {}]}"#, Reason::Malformed),
        (r#"{"schema":[],"results":[{]}"#, Reason::Malformed),
        (r#"{"schema":[],"results":[]"#, Reason::Truncated),
        (r#"{"schema":[],"results":[{"A":1}"#, Reason::Truncated),
        (r#"{"schema":[],"results":[]}}"#, Reason::Malformed),
        (r#"{"schema":[],"results":[]} x"#, Reason::Trailing),
        (r#"{"schema" [],"results":[]}"#, Reason::Malformed),
        ("{\"schema\":[],\"results\":[{\"A\":\"\n\"}]}", Reason::BadText),
        (deep.as_str(), Reason::TooDeep),
        (deep_text.as_str(), Reason::TooDeep),
    ] {
        assert_eq!(reason(document), Some(wanted), "{:.80}", document);
    }
}

#[test]
fn an_endless_row_and_an_endless_envelope_are_refused() {
    for (start, wanted) in [
        (r#"{"schema":[],"results":[{"A":""#, Reason::RowTooLarge),
        (r#"{"schema":[],"x":""#, Reason::EnvelopeTooLarge),
    ] {
        let mut decoder = Decoder::new(Dialect::Graph, false);
        let mut out = Vec::new();
        decoder.feed(start.as_bytes(), &mut out).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let error = (0..40).find_map(|_| decoder.feed(&piece, &mut out).err()).unwrap();
        assert_eq!(error.reason, wanted);
        assert_eq!(decoder.feed(b"", &mut out).unwrap_err(), error, "an error stays");
    }
}

/// A cell of an answer of Graph, with the value that it stands for.
fn any_cell() -> impl Strategy<Value = (&'static str, Value, Value)> {
    prop_oneof![
        any::<i64>().prop_map(|n| ("Int64", json!(n), json!(n))),
        any::<bool>().prop_map(|b| ("SByte", json!(u8::from(b)), json!(b))),
        any::<String>().prop_map(|s| ("String", json!(s), json!(s))),
        prop::num::f64::NORMAL.prop_map(|r| ("Double", json!(r), json!(r))),
        prop_oneof!["SByte", "Object", "DateTime"].prop_map(|_| ("Object", json!({}), Value::Null)),
        any_bag().prop_map(|bag| ("Object", encoded(&bag), bag)),
    ]
}

fn any_bag() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "[a-z\"\\\\é]{0,6}".prop_map(Value::from),
        Just(Value::Null),
    ];
    let nested = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z\" ]{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-z]{1,3}", nested, 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
}

/// As Graph writes it: a note in each object and beside each array, texts for what is nested in an array.
fn encoded(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut out = serde_json::Map::from_iter([("@odata.type".to_owned(), json!(BAG))]);
            for (name, member) in members {
                if member.is_array() {
                    out.insert(format!("{name}@odata.type"), json!("#Collection(String)"));
                }
                out.insert(name.clone(), encoded(member));
            }
            Value::Object(out)
        }
        Value::Array(items) => items
            .iter()
            .map(|item| if item.is_object() || item.is_array() { json!(item.to_string()) } else { item.clone() })
            .collect(),
        scalar => scalar.clone(),
    }
}

fn lines(out: &[u8]) -> Vec<Value> {
    out.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Columns named by number and one row of them, pretty or not.
fn any_document() -> impl Strategy<Value = (String, Value)> {
    (vec(any_cell(), 0..8), any::<bool>()).prop_map(|(cells, pretty)| {
        let schema: Vec<Value> =
            cells.iter().enumerate().map(|(i, (ty, _, _))| json!({"name": format!("C{i}"), "type": ty})).collect();
        let row = |pick: fn(&(&str, Value, Value)) -> Value| {
            Value::Object(cells.iter().enumerate().map(|(i, cell)| (format!("C{i}"), pick(cell))).collect())
        };
        let (sent, meant) = (row(|cell| cell.1.clone()), row(|cell| cell.2.clone()));
        let part = |value: &Value| if pretty { format!("{value:#}") } else { value.to_string() };
        let text = format!("{{\"schema\":{},\"results\":[{}]}}", part(&Value::from(schema)), part(&sent));
        (text, meant)
    })
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn rows_cut_in_any_way_come_out_as_the_values_they_stand_for((document, meant) in any_document(), seed: u64) {
        let (out, scan, _) = decode(&cut(document.as_bytes(), seed), false).unwrap();
        prop_assert_eq!(lines(&out), vec![meant]);
        prop_assert_eq!(scan.response_bytes, document.len() as u64);
    }

    #[test]
    fn an_answer_cut_short_anywhere_is_an_error((document, _) in any_document()) {
        for end in 0..document.len() {
            prop_assert!(decode(&[&document.as_bytes()[..end]], false).is_err(), "cut at {}", end);
        }
    }

    #[test]
    fn garbage_never_panics_and_the_cut_makes_no_difference(bytes in vec(any::<u8>(), 0..300), seed: u64) {
        prop_assert_eq!(decode(&cut(&bytes, seed), false), decode(&[&bytes], false));
    }
}

/// Documents damaged at random: what is accepted must be JSON for serde_json too, with as many rows.
#[test]
fn a_damaged_answer_is_accepted_only_where_it_is_still_json() {
    let whole = r##"{"@odata.context":"x","schema":[{"name":"A","type":"Int64"},{"name":"B","type":"Object"}],"results":[
        {"A@odata.type":"#Int64","A":1,"B":{"@odata.type":"y","c":[1.5,"{\"d\":null}"],"e":"\u00e9"}},{"A":{},"B":{}}],"n":[true]}"##;
    const BYTES: &[u8] = b"{}[]\",:\\u0123456789abdeEfnrtlsAB -+.\n\x00\x1f\x7f\x80\xc3\xa9\xf0\x9f\xed";
    let mut accepted = 0;
    for seed in 0..6_000u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = whole.as_bytes().to_vec();
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
        let ours = decode(&cut(&bytes, seed), false);
        assert_eq!(ours, decode(&[&bytes], false), "seed {seed}");
        let Ok((out, scan, _)) = ours else { continue };
        accepted += 1;
        let shown = String::from_utf8_lossy(&bytes);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count() as u64, scan.rows, "seed {seed}: {shown}");
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(document) => {
                let results = document["results"].as_array().or(document["Results"].as_array());
                assert_eq!(results.map(|rows| rows.len() as u64), Some(scan.rows), "seed {seed}: {shown}");
            }
            // What is passed through untouched is not decoded: lone surrogates and numbers that no f64 holds.
            Err(error) => {
                let error = error.to_string();
                let known = ["surrogate", "hex escape", "out of range"];
                assert!(known.iter().any(|part| error.contains(part)), "seed {seed}: {error}: {shown}");
            }
        }
    }
    assert!(accepted > 500, "only {accepted} documents stayed whole: the test shows too little");
}
