//! What a plan, or the last count of a snapshot, has asked so far, and how that ended: an attempt that follows one which was put off
//! asks nothing of it again, and so goes on where that was. A question is known by its words, and those name a range that was frozen
//! before; an attempt that asks something else is answered anew. That nothing is lost or doubled does not depend on what is here.

use super::Error;
use crate::defender::{Error as HuntingError, Query};
use crate::timestamp::Timestamp;
use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;

/// Of one plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// When the plan began: what it asks is of that time.
    began: Timestamp,
    /// By the digest of the question.
    ends: BTreeMap<String, Compressed>,
    /// The last question, where that has an end.
    #[serde(skip)]
    last: Option<String>,
    /// How many there were before this attempt.
    #[serde(skip)]
    before: usize,
    /// Whether they are others than then.
    #[serde(skip)]
    changed: bool,
}

/// An [`End`] as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Compressed(Vec<u8>);

/// How a question ended.
#[derive(Serialize, Deserialize)]
enum End<T> {
    Answered(T),
    Stopped(Stopped),
}

/// Ends after which less is asked for, or something else, and not the same again.
#[derive(Serialize, Deserialize)]
enum Stopped {
    Refused { code: String, message: String },
    ResultTooLarge { message: String },
    TooLarge { cap: u64 },
    TooExpensive { message: String },
    TimedOut { message: String },
    GatewayTimedOut { message: String },
}

impl Stopped {
    fn of(error: &HuntingError) -> Option<Self> {
        let message = |message: &String| message.clone();
        Some(match error {
            HuntingError::Refused { code, message } => Self::Refused { code: code.clone(), message: message.clone() },
            HuntingError::ResultTooLarge { message: said } => Self::ResultTooLarge { message: message(said) },
            HuntingError::TooLarge { cap } => Self::TooLarge { cap: *cap },
            HuntingError::TooExpensive { message: said } => Self::TooExpensive { message: message(said) },
            HuntingError::TimedOut { message: said } => Self::TimedOut { message: message(said) },
            HuntingError::GatewayTimedOut { message: said } => Self::GatewayTimedOut { message: message(said) },
            _ => return None,
        })
    }
}

impl From<Stopped> for HuntingError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Refused { code, message } => Self::Refused { code, message },
            Stopped::ResultTooLarge { message } => Self::ResultTooLarge { message },
            Stopped::TooLarge { cap } => Self::TooLarge { cap },
            Stopped::TooExpensive { message } => Self::TooExpensive { message },
            Stopped::TimedOut { message } => Self::TimedOut { message },
            Stopped::GatewayTimedOut { message } => Self::GatewayTimedOut { message },
        }
    }
}

impl Answers {
    /// None, of a plan that began then.
    pub fn since(began: Timestamp) -> Self {
        Self { began, ends: BTreeMap::new(), last: None, before: 0, changed: false }
    }

    /// The same at the beginning of another attempt.
    #[must_use]
    pub fn begin_attempt(self) -> Self {
        Self { before: self.ends.len(), last: None, changed: false, ..self }
    }

    /// Whether they are others than at the beginning of the attempt.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether there were any at the beginning of the attempt.
    pub fn were_kept(&self) -> bool {
        self.before > 0
    }

    /// When the plan began.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// How the question ended, if it was asked before.
    pub(super) fn find<T: DeserializeOwned>(&mut self, query: &Query<'_>) -> Option<Result<T, Error>> {
        let name = name(query);
        self.last = None;
        // What cannot be read is asked again.
        let end = self.ends.get(&name)?.read()?;
        self.last = Some(name);
        Some(match end {
            End::Answered(answer) => Ok(answer),
            End::Stopped(stopped) => Err(HuntingError::from(stopped).into()),
        })
    }

    /// Keeps how the question ended, where asking it again would be of no use.
    pub(super) fn keep<T: Serialize>(&mut self, query: &Query<'_>, ended: &Result<T, HuntingError>) {
        let end = match ended {
            Ok(answer) => Some(End::Answered(answer)),
            Err(error) => Stopped::of(error).map(End::Stopped),
        };
        let Some(end) = end.and_then(|end| Compressed::of(&end)) else { return };
        let name = name(query);
        self.ends.insert(name.clone(), end);
        (self.last, self.changed) = (Some(name), true);
    }

    /// Forgets all answers: the table is not what it was.
    pub(super) fn forget(&mut self) {
        self.ends.clear();
        self.changed = true;
    }

    /// Ends an attempt of the plan; gives whether it came further. Where `it_failed`, the question that it ended with is to be asked
    /// again: the call came to nothing and nothing could be asked in its place, or the answer was of no use.
    pub fn end_attempt(&mut self, it_failed: bool) -> bool {
        let last = self.last.take().filter(|_| it_failed);
        self.changed |= last.is_some_and(|name| self.ends.remove(&name).is_some());
        self.ends.len() > self.before
    }
}

impl Compressed {
    fn of<T: Serialize>(end: &End<&T>) -> Option<Self> {
        let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
        serde_json::to_writer(&mut compressed, end).ok()?;
        compressed.finish().ok().map(Self)
    }

    fn read<T: DeserializeOwned>(&self) -> Option<End<T>> {
        let mut json = Vec::new();
        GzDecoder::new(&*self.0).read_to_end(&mut json).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

impl Serialize for Compressed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(&self.0, &STANDARD))
    }
}

impl<'de> Deserialize<'de> for Compressed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// What a question is known by.
fn name(query: &Query<'_>) -> String {
    let digest = Sha256::digest(format!("{}\n{}", query.timespan.unwrap_or_default(), query.kql));
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn began() -> Timestamp {
        "2026-05-01T00:00:00Z".parse().unwrap()
    }

    fn stopped() -> Result<u64, HuntingError> {
        Err(HuntingError::TimedOut { message: "too long".to_owned() })
    }

    /// The answers as the next attempt finds them.
    fn next(answers: &Answers) -> Answers {
        serde_json::from_slice::<Answers>(&serde_json::to_vec(answers).unwrap()).unwrap().begin_attempt()
    }

    #[test]
    fn a_question_is_answered_as_before_in_the_same_words_and_for_the_same_time_span_alone() {
        let mut answers = Answers::since(began());
        let asked = Query { kql: "T | count", timespan: Some("P1D") };
        answers.keep(&asked, &Ok(7u64));
        assert!(answers.end_attempt(false));
        let mut answers = next(&answers);
        assert_eq!(answers.began(), began());
        assert_eq!(answers.find::<u64>(&asked).map(Result::unwrap), Some(7));
        for other in [Query::new("T | count"), Query { kql: "T | take 1", timespan: Some("P1D") }] {
            assert!(answers.find::<u64>(&other).is_none());
        }
        assert!(!answers.end_attempt(true), "nothing new was answered");
    }

    #[test]
    fn what_was_stopped_is_not_asked_again_where_something_else_can_be() {
        let mut answers = Answers::since(began());
        let (whole, half) = (Query::new("whole"), Query::new("half"));
        answers.keep(&whole, &stopped());
        // There was no permit for it.
        assert!(answers.find::<u64>(&half).is_none());
        assert!(answers.end_attempt(true));
        let mut answers = next(&answers);
        assert!(matches!(
            answers.find::<u64>(&whole),
            Some(Err(Error::Call(HuntingError::TimedOut { message }))) if message == "too long"
        ));
        answers.keep(&half, &stopped());
        assert!(!answers.end_attempt(true), "nothing was asked in the place of the half");
        let mut answers = next(&answers);
        assert!(answers.find::<u64>(&whole).is_some() && answers.find::<u64>(&half).is_none());
    }

    #[test]
    fn an_answer_that_was_of_no_use_is_asked_for_again() {
        let mut answers = Answers::since(began());
        answers.keep(&Query::new("T"), &Ok(7u64));
        assert!(!answers.end_attempt(true));
        assert!(next(&answers).find::<u64>(&Query::new("T")).is_none());
        answers.keep(&Query::new("T"), &Ok(7u64));
        assert!(answers.find::<u64>(&Query::new("the next")).is_none());
        assert!(answers.end_attempt(true), "it had its use");
    }

    #[test]
    fn what_may_be_of_the_moment_is_not_kept() {
        let mut answers = Answers::since(began());
        for error in [
            HuntingError::Unavailable { message: "out of order".to_owned(), after: None },
            HuntingError::Throttled { after: None, cpu: false, message: "429".to_owned() },
            HuntingError::Corrupt { message: "cut".to_owned() },
        ] {
            answers.keep::<u64>(&Query::new("T"), &Err(error));
            assert!(answers.find::<u64>(&Query::new("T")).is_none());
        }
        assert!(!answers.is_changed() && !answers.end_attempt(true));
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]

        #[test]
        fn answers_are_found_as_they_were_kept(rows in proptest::collection::vec(".{0,40}", 0..60)) {
            let mut answers = Answers::since(began());
            answers.keep(&Query::new("T"), &Ok(&rows));
            prop_assert_eq!(next(&answers).find::<Vec<String>>(&Query::new("T")).unwrap().unwrap(), rows);
        }
    }
}
