//! Rows that all writers want: counters raised by compare-and-swap, each time with a line of a book in the same
//! transaction, and names that only one may take.

use super::rows::text;
use super::{Unknown, Way, is_unknown};
use adxingestor::storage::{Error, Key, Operation, Properties, Range};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

const COUNTERS: usize = 3;
const NAMES: usize = 20;
const COUNTER: &str = "counter";
const LINE: &str = "line-";

pub struct Shared {
    way: Way,
    answers: Mutex<Vec<(Attempt, Answer)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Attempt {
    Raise { counter: usize, by: String },
    Take { name: usize, by: String },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Done,
    Refused,
    Unknown,
}

impl Shared {
    pub async fn open(way: Way) -> Self {
        let shared = Self { way, answers: Mutex::default() };
        for counter in 0..COUNTERS {
            let insert = Operation::Insert(shared.counter(counter, COUNTER), object(json!({"n": 0})));
            shared.way.direct.tables.commit(&[insert]).await.unwrap();
        }
        shared
    }

    pub async fn step(&self, random: &mut StdRng) -> Unknown {
        if random.random_bool(0.7) {
            self.raise(random.random_range(0..COUNTERS)).await
        } else {
            self.take(random.random_range(0..NAMES)).await
        }
    }

    async fn raise(&self, counter: usize) -> Unknown {
        let key = self.counter(counter, COUNTER);
        loop {
            let row = match self.way.spoilt.tables.get(&key).await {
                Ok(row) => row.expect("the counter"),
                Err(error) if is_unknown(&error) => continue,
                Err(error) => panic!("get: {error:?}"),
            };
            let by = uuid::Uuid::new_v4().to_string();
            let n = row.properties["n"].as_u64().unwrap() + 1;
            let operations = [
                Operation::Insert(self.counter(counter, &format!("{LINE}{by}")), object(json!({"n": n}))),
                Operation::Merge(key.clone(), object(json!({"n": n})), row.etag),
            ];
            let result = self.way.spoilt.tables.commit(&operations).await;
            let attempt = Attempt::Raise { counter, by };
            match result {
                Ok(_) => return self.note(attempt, Answer::Done),
                Err(Error::Conflict { index: 1 }) => self.note(attempt, Answer::Refused),
                Err(error) if is_unknown(&error) => return self.note(attempt, Answer::Unknown),
                Err(error) => panic!("raise {counter}: {error:?}"),
            };
        }
    }

    async fn take(&self, name: usize) -> Unknown {
        let by = uuid::Uuid::new_v4().to_string();
        let insert = Operation::Insert(self.name(name), object(json!({"by": by})));
        let attempt = Attempt::Take { name, by };
        match self.way.spoilt.tables.commit(&[insert]).await {
            Ok(_) => self.note(attempt, Answer::Done),
            Err(Error::Exists { index: 0 }) => self.note(attempt, Answer::Refused),
            Err(error) if is_unknown(&error) => self.note(attempt, Answer::Unknown),
            Err(error) => panic!("take {name}: {error:?}"),
        }
    }

    fn note(&self, attempt: Attempt, answer: Answer) -> Unknown {
        self.answers.lock().unwrap().push((attempt, answer));
        usize::from(answer == Answer::Unknown)
    }

    /// Panics unless what was done is there once, and nothing that was refused.
    pub async fn check(&self) {
        let mut there = BTreeSet::new();
        for counter in 0..COUNTERS {
            let raised = self.lines(counter).await;
            there.extend(raised.into_iter().map(|by| Attempt::Raise { counter, by }));
        }
        for name in 0..NAMES {
            if let Some(row) = self.way.direct.tables.get(&self.name(name)).await.unwrap() {
                there.insert(Attempt::Take { name, by: text(&row.properties["by"]).to_owned() });
            }
        }
        let answers: BTreeMap<_, _> = self.answers.lock().unwrap().iter().cloned().collect();
        assert!(answers.values().any(|answer| *answer == Answer::Refused), "nobody was in anybody's way");
        for (attempt, answer) in &answers {
            match answer {
                Answer::Done => assert!(there.contains(attempt), "lost: {attempt:?}"),
                Answer::Refused => assert!(!there.contains(attempt), "done, though refused: {attempt:?}"),
                Answer::Unknown => {}
            }
        }
        assert!(there.iter().all(|attempt| answers.contains_key(attempt)), "from nobody: {there:?}");
    }

    /// The lines of a counter's book, of which each stands for one more.
    async fn lines(&self, counter: usize) -> Vec<String> {
        let range =
            Range { partition: self.counter(counter, COUNTER).partition().to_owned(), from: LINE.into(), to: None };
        let page = self.way.direct.tables.page(&range, None).await.unwrap();
        assert!(page.next.is_none());
        let row = self.way.direct.tables.get(&self.counter(counter, COUNTER)).await.unwrap().unwrap();
        let raised: BTreeSet<_> = page.rows.iter().map(|row| row.properties["n"].as_u64().unwrap()).collect();
        assert_eq!(row.properties["n"], json!(page.rows.len()), "counter {counter}");
        assert_eq!(raised, (1..=page.rows.len() as u64).collect(), "counter {counter}");
        page.rows.iter().map(|row| row.key.row().trim_start_matches(LINE).to_owned()).collect()
    }

    fn counter(&self, counter: usize, row: &str) -> Key {
        Key::new(format!("{}c{counter}", self.way.run), row).unwrap()
    }

    fn name(&self, name: usize) -> Key {
        Key::new(format!("{}names", self.way.run), format!("{name:02}")).unwrap()
    }
}

fn object(value: Value) -> Properties {
    value.as_object().expect("an object").clone()
}
