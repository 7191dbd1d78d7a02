//! Whatever value the literal writers are given, Microsoft's parser reads the same value.

use crate::odd_texts::{ODD, PIECES};
use crate::parser::{Literal as Read, Request, parse};
use adxingestor::kql::{Datetime, Literal, SingleQuoted, Text, Timespan};
use adxingestor::timestamp::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::Duration;

const SEED: u64 = 20_260_714;

fn read(literals: &[String]) -> Option<Vec<Read>> {
    Some(parse(&Request { literals: literals.to_vec(), ..Request::default() })?.literals)
}

/// Whether the string literals of every text mean that text.
fn texts_are_read_back(texts: &[String]) {
    are_read_back(texts, |text| Text(text).to_string());
    are_read_back(texts, |text| SingleQuoted(text).to_string());
}

fn are_read_back(texts: &[String], literal: impl Fn(&str) -> String) {
    let written: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    let Some(read) = read(&written) else { return };
    for (text, read) in texts.iter().zip(&read) {
        let shown: String = text.chars().take(200).collect();
        assert!(read.problems.is_empty(), "{:?} for {shown:?}", read.problems);
        assert!(read.ty == "String" && read.value.as_ref() == Some(text), "{:?} for {shown:?}", read.ty);
    }
}

#[test]
fn every_character_of_unicode_is_read_back() {
    let all: Vec<char> = (0..=char::MAX as u32).filter_map(char::from_u32).collect();
    assert_eq!(all.len(), 0x0011_0000 - 0x800);
    let blocks: Vec<String> = all.chunks(4096).map(|block| block.iter().collect()).collect();
    // The two literals differ in their quotes alone; above the basic plane one will do.
    let (basic, others) = blocks.split_at(0xf800_usize.div_ceil(4096));
    texts_are_read_back(basic);
    are_read_back(others, |text| Text(text).to_string());
}

#[test]
fn odd_texts_are_read_back() {
    let mut texts: Vec<String> = ODD.map(String::from).to_vec();
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..3000 {
        let length = random.random_range(1..30);
        texts.push((0..length).map(|_| *PIECES.choose(&mut random).unwrap()).collect());
    }
    println!("seed {SEED}");
    texts_are_read_back(&texts);
}

#[test]
fn texts_of_a_megabyte_are_read_back() {
    const SIZE: usize = 1 << 20;
    let of = |piece: &str| piece.repeat(SIZE / piece.len());
    texts_are_read_back(&["a", "\\\"'\n ", "😀"].map(of));
}

#[test]
fn instants_are_read_back() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut instants = vec![Timestamp::MIN, Timestamp::MAX];
    let edges =
        ["1582-10-15T00:00:00Z", "1969-12-31T23:59:59.9999999Z", "2000-02-29T12:00:00Z", "2026-03-29T01:30:00.1Z"];
    instants.extend(edges.map(|text| text.parse::<Timestamp>().unwrap()));
    instants.extend((0..1000).map(|_| Timestamp::from_ticks(random.random_range(0..=Timestamp::MAX.ticks()))));
    let written: Vec<String> = instants.iter().map(|at| Datetime(*at).to_string()).collect();
    let Some(read) = read(&written) else { return };
    for ((at, text), read) in instants.iter().zip(&written).zip(&read) {
        assert!(read.problems.is_empty() && read.ty == "DateTime", "{text}: {read:?}");
        // The parser keeps milliseconds; the digits below are in the text, all seven of them.
        let millis = at.ticks() / 10_000;
        assert_eq!(read.value.as_ref().unwrap().parse::<u64>().unwrap() / 10_000, millis, "{text} (seed {SEED})");
        assert!(text.ends_with(&format!(".{:07}Z)", at.ticks() % 10_000_000)), "{text}");
    }
}

#[test]
fn spans_are_read_back() {
    let mut random = StdRng::seed_from_u64(SEED);
    let units = [1u64, 10_000, 10_000_000, 600_000_000, 36_000_000_000, 864_000_000_000];
    // The parser counts in doubles, which are exact this far: some 28 years.
    let most = 1u64 << 53;
    let mut ticks: Vec<u64> = units.iter().flat_map(|unit| [*unit, unit * 7, most / unit * unit]).collect();
    ticks.extend((0..500).map(|_| random.random_range(1..most)));
    let written: Vec<String> = ticks
        .iter()
        .map(|ticks| Timespan(Duration::new(ticks / 10_000_000, (ticks % 10_000_000) as u32 * 100)).to_string())
        .collect();
    let Some(read) = read(&written) else { return };
    for ((ticks, text), read) in ticks.iter().zip(&written).zip(&read) {
        assert!(read.problems.is_empty() && read.ty == "Timespan", "{text}: {read:?}");
        assert_eq!(read.value, Some(ticks.to_string()), "{text} (seed {SEED})");
    }
}

#[test]
fn numbers_truths_and_nulls_are_read_back() {
    let longs = [0, 1, -1, i64::MAX, i64::MIN].map(|n| (Literal::Long(Some(n)), "Long", Some(n.to_string())));
    let ints = [0, 1, -1, i32::MAX, i32::MIN].map(|n| (Literal::Int(Some(n)), "Int", Some(n.to_string())));
    let truths = [true, false].map(|b| (Literal::Bool(Some(b)), "Boolean", Some(b.to_string())));
    let nulls = [
        (Literal::Long(None), "Long", None),
        (Literal::Int(None), "Int", None),
        (Literal::Bool(None), "Boolean", None),
        (Literal::Datetime(None), "DateTime", None),
    ];
    let cases: Vec<_> = longs.into_iter().chain(ints).chain(truths).chain(nulls).collect();
    let written: Vec<String> = cases.iter().map(|(literal, ..)| literal.to_string()).collect();
    let Some(read) = read(&written) else { return };
    for (((_, ty, value), text), read) in cases.iter().zip(&written).zip(&read) {
        assert!(read.problems.is_empty(), "{text}: {:?}", read.problems);
        assert_eq!((read.ty.as_str(), &read.value), (*ty, value), "{text}");
    }
}

fn any_json(random: &mut StdRng, depth: u32) -> Value {
    let text = |random: &mut StdRng| {
        (0..random.random_range(0..6)).map(|_| *PIECES.choose(random).unwrap()).collect::<String>()
    };
    match random.random_range(0..if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => Value::Bool(random.random()),
        2 => json!(random.random_range(-i64::MAX..=i64::MAX) >> random.random_range(0..63)),
        3 => json!(random.random_range(-1.0..1.0) * 10f64.powi(random.random_range(-300..300))),
        4 => Value::String(text(random)),
        5 => (0..random.random_range(0..4)).map(|_| any_json(random, depth - 1)).collect(),
        _ => {
            Value::Object((0..random.random_range(0..4)).map(|_| (text(random), any_json(random, depth - 1))).collect())
        }
    }
}

#[test]
fn dynamic_values_are_read_back() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut values = vec![json!({}), json!([]), json!([1.0, 1e20, 1e21, 0.1, -0.5, 5e-324, f64::MAX]), json!("x")];
    values.extend((0..1500).map(|_| any_json(&mut random, 4)));
    let written: Vec<String> = values.iter().map(|value| Literal::Dynamic(value.clone()).to_string()).collect();
    let Some(read) = read(&written) else { return };
    for ((value, text), read) in values.iter().zip(&written).zip(&read) {
        assert!(read.problems.is_empty() && read.ty == "DynamicExpression", "{text}: {read:?}");
        let found: Value = serde_json::from_str(read.value.as_ref().unwrap()).unwrap();
        assert_eq!(&found, value, "{text} (seed {SEED})");
    }
}
