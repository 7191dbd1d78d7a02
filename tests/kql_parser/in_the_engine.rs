//! Whatever value the literal writers are given, an engine that evaluates the text has the same value.

use crate::odd_texts::{ODD, PIECES};
use adxingestor::kql::{Literal, SingleQuoted, Text};
use localcloud::kql::json::to_serde;
use localcloud::kql::{Catalog, Table, run};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::sync::Arc;

const SEED: u64 = 20_260_715;

/// A database without anything in it.
struct Nothing;

impl Catalog for Nothing {
    fn table(&self, _name: &str) -> Option<Arc<dyn Table>> {
        None
    }

    fn function(&self, _name: &str) -> Option<String> {
        None
    }

    fn now(&self) -> i64 {
        0
    }
}

/// What `print` gives for a literal.
fn printed(literal: &str) -> Value {
    let shown: String = literal.chars().take(200).collect();
    let catalog: Arc<dyn Catalog> = Arc::new(Nothing);
    let mut answer = run(&format!("print {literal}"), &catalog).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let row = answer.rows.next().unwrap().unwrap_or_else(|error| panic!("{shown}: {error}"));
    to_serde(&row[0])
}

/// A text in every form in which it may be written.
fn survives(text: &str) {
    let shown: String = text.chars().take(100).collect();
    let same = |found: &Value, wanted: &Value| assert!(found == wanted, "{shown:?} (seed {SEED})");
    let wanted = Value::from(text);
    same(&printed(&Text(text).to_string()), &wanted);
    same(&printed(&SingleQuoted(text).to_string()), &wanted);
    let bag = json!({ text: [text] });
    same(&printed(&Literal::Dynamic(bag.clone()).to_string()), &bag);
}

/// Each of Unicode's blocks lies within one of these, and each of these holds 256 characters or fewer.
#[test]
fn every_block_of_unicode_survives() {
    let mut seen = 0;
    for first in (0..=char::MAX as u32).step_by(256) {
        let block: String = (first..first + 256).filter_map(char::from_u32).collect();
        seen += block.chars().count();
        if !block.is_empty() {
            survives(&block);
        }
    }
    assert_eq!(seen, 0x0011_0000 - 0x800, "all but the surrogates, which are no characters");
}

#[test]
fn what_ends_or_escapes_a_literal_survives() {
    for text in ODD {
        survives(text);
    }
    let control: String = (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32).collect();
    survives(&control);
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..1_000 {
        let length = random.random_range(1..30);
        survives(&(0..length).map(|_| *PIECES.choose(&mut random).unwrap()).collect::<String>());
    }
}

#[test]
fn a_megabyte_survives() {
    const SIZE: usize = 1 << 20;
    for piece in ["a", "\\\"'\n ", "😀"] {
        survives(&piece.repeat(SIZE / piece.len()));
    }
}

#[test]
fn bags_of_anything_survive() {
    let mut deep = json!("end");
    for _ in 0..10 {
        deep = json!({"a \"key\"": [deep, null, true, -1, 0.5]});
    }
    for value in [
        json!({}),
        json!([]),
        json!([null]),
        json!({"": ""}),
        json!({"'": "\"", "\\": "\n"}),
        json!([i64::MAX, i64::MIN]),
        deep,
    ] {
        assert_eq!(printed(&Literal::Dynamic(value.clone()).to_string()), value);
    }
}
