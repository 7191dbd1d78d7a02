//! Queue outputs: which messages a handler's value becomes, and putting them on their queues
//! (azure-functions-host `FunctionBinding.cs`).

use super::answer::Answer;
use super::failure::Failure;
use super::function_json::{Function, QueueOutput};
use super::json::Json;
use crate::storage::{self, MessageQueue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// The way to the queues.
#[derive(Clone)]
pub(crate) struct Outputs {
    pub(crate) queues: Arc<dyn MessageQueue>,
    /// Whether messages are base64 on the queue.
    pub(crate) base64: bool,
    /// Listeners to wake when a message is put on their queue.
    pub(crate) wakers: Arc<HashMap<String, Arc<Notify>>>,
}

impl Outputs {
    /// Writes everything that an answer holds for a function's queue outputs. Earlier ones stay when a later one fails.
    pub(crate) async fn write(&self, function: &Function, answer: &Answer) -> Result<(), Failure> {
        for output in &function.outputs {
            let Some(value) = answer.output(&output.binding) else { continue };
            for message in messages(output, value)? {
                self.send(&output.queue, &message).await.map_err(|source| Failure::Queue {
                    binding: output.binding.clone(),
                    queue: output.queue.clone(),
                    source,
                })?;
                if let Some(listener) = self.wakers.get(&output.queue) {
                    listener.notify_one();
                }
            }
        }
        Ok(())
    }

    async fn send(&self, queue: &str, message: &[u8]) -> Result<(), storage::Error> {
        let text;
        let sending = if self.base64 {
            self.queues.send(queue, message, Duration::ZERO)
        } else {
            text = String::from_utf8_lossy(message).into_owned();
            self.queues.send_foreign(queue, &text)
        };
        let timely = tokio::time::timeout(WRITE_TIMEOUT, sending).await;
        timely.unwrap_or_else(|elapsed| Err(storage::Error::Unavailable(elapsed.into())))
    }
}

/// The messages that a value becomes.
pub(crate) fn messages(output: &QueueOutput, value: &Json) -> Result<Vec<Vec<u8>>, Failure> {
    let text = match value {
        Json::Null => return Ok(Vec::new()),
        Json::String(text) => text,
        Json::Array(elements) => return Ok(elements.iter().map(element).collect()),
        other => return Ok(vec![element(other)]),
    };
    if !output.binary
        && let Some(bytes) = from_base64(text)
    {
        return Ok(vec![bytes]);
    }
    let trimmed = text.trim();
    let looks_like_json =
        (trimmed.starts_with('{') && trimmed.ends_with('}')) || (trimmed.starts_with('[') && trimmed.ends_with(']'));
    if !looks_like_json {
        return Ok(vec![text.clone().into_bytes()]);
    }
    match Json::parse(trimmed) {
        Ok(Json::Array(elements)) => Ok(elements.iter().map(element).collect()),
        Ok(object) => Ok(vec![element(&object)]),
        Err(error) => Err(Failure::Output {
            binding: output.binding.clone(),
            message: format!("the text is in braces or brackets but is not valid JSON: {error}"),
        }),
    }
}

/// One message: an object or array as indented JSON, anything else as its text, which is empty for null.
fn element(value: &Json) -> Vec<u8> {
    match value {
        Json::Object(_) | Json::Array(_) => value.indented().into_bytes(),
        scalar => scalar.scalar_text().into_bytes(),
    }
}

/// What .NET takes for base64: whole groups of four, padded, with white space anywhere.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).collect();
    STANDARD.decode(compact).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: &str, binary: bool) -> Vec<String> {
        let output = QueueOutput { binding: "out".into(), queue: "q".into(), binary };
        let messages = messages(&output, &Json::parse(value).unwrap()).unwrap();
        messages.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect()
    }

    #[test]
    fn a_string_that_is_base64_is_decoded_unless_the_output_is_binary() {
        let output = QueueOutput { binding: "out".into(), queue: "q".into(), binary: false };
        assert_eq!(messages(&output, &Json::text("test")).unwrap(), [[0xb5, 0xeb, 0x2d]]);
        assert_eq!(sent(r#""test""#, true), ["test"]);
        assert_eq!(sent(r#"["test"]"#, false), ["test"]);
        assert_eq!(sent(r#""hello""#, false), ["hello"]);
    }

    #[test]
    fn objects_become_indented_json_and_arrays_a_message_per_element() {
        assert_eq!(sent(r#"{"a":1}"#, false), ["{\n  \"a\": 1\n}"]);
        assert_eq!(sent(r#""{\"a\":1}""#, false), ["{\n  \"a\": 1\n}"]);
        assert_eq!(sent(r#""[1,2]""#, false), ["1", "2"]);
        assert_eq!(sent(r#"["m1",{"a":1},true,null]"#, false), ["m1", "{\n  \"a\": 1\n}", "True", ""]);
        assert_eq!(sent("null", false), [""; 0]);
    }

    #[test]
    fn braces_that_are_not_json_fail() {
        let output = QueueOutput { binding: "out".into(), queue: "q".into(), binary: false };
        assert!(matches!(messages(&output, &Json::text("{oops}")), Err(Failure::Output { .. })));
    }
}
