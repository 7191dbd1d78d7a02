//! The invocation envelope of the Functions host: what an HTTP, queue or timer trigger sends to
//! `POST /<function>` and what is answered. Shapes: azure-functions-host `ScriptInvocationContextExtensions`
//! and `HttpScriptInvocationResultExtensions`. Knows no function.

use crate::storage::{BlobStore, Error as StorageError, Reference};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// An invocation as the host sends it.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    data: Map<String, Value>,
    metadata: Map<String, Value>,
}

/// An envelope that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// The body is not a JSON object with `Data`.
    #[error("the invocation is not a JSON object with a member `Data`: {0}")]
    Envelope(String),
    /// The message is not one of ours.
    #[error("the message on the queue is not one of this app: {0}")]
    Message(String),
}

/// A message with its body.
#[derive(Debug)]
pub enum Resolved {
    /// The invocation with the body, and where that was in a blob, the reference to it: it is of no use once the message is done.
    Whole(Invocation, Option<Reference>),
    /// The blob with the body is gone.
    Gone(Reference),
}

/// A message whose body was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// It is no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The state store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Invocation {
    /// Reads an envelope. Member names match in any case.
    ///
    /// # Errors
    /// [`Malformed::Envelope`].
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let value: Value = serde_json::from_slice(body).map_err(|error| Malformed::Envelope(error.to_string()))?;
        let Value::Object(members) = value else {
            return Err(Malformed::Envelope("it is not an object".to_owned()));
        };
        let object = |name: &str| match member(&members, name) {
            Some(Value::Object(object)) => Some(object.clone()),
            _ => None,
        };
        let data = object("Data").ok_or_else(|| Malformed::Envelope("`Data` is missing".to_owned()))?;
        Ok(Self { data, metadata: object("Metadata").unwrap_or_default() })
    }

    /// An invocation for a message that did not come in an envelope.
    pub fn of_message(id: &str, delivery: u32, content: &[u8]) -> Self {
        let data = json!({"message": String::from_utf8_lossy(content)});
        let metadata = json!({"Id": id, "DequeueCount": delivery.to_string()});
        let object = |value: Value| match value {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        Self { data: object(data), metadata: object(metadata) }
    }

    /// The only value of `Data`, or the one named `name`.
    pub fn trigger(&self, name: &str) -> Option<&Value> {
        member(&self.data, name).or_else(|| self.data.values().next())
    }

    /// A queue message, however often it was encoded on its way: the host sends JSON in a string, the documentation's
    /// samples show it once less.
    ///
    /// # Errors
    /// [`Malformed::Message`].
    pub fn queue_message<T: DeserializeOwned>(&self, name: &str) -> Result<T, Malformed> {
        serde_json::from_value(self.decoded(name)?).map_err(|error| Malformed::Message(error.to_string()))
    }

    /// This invocation with the body of its message, where the message only refers to it.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub async fn resolved(mut self, name: &str, blobs: &dyn BlobStore) -> Result<Resolved, Unresolved> {
        let Some(reference) = self.decoded(name).ok().as_ref().and_then(Reference::of) else {
            return Ok(Resolved::Whole(self, None));
        };
        let Some(body) = blobs.get(reference.blob()).await? else { return Ok(Resolved::Gone(reference)) };
        let body = serde_json::from_slice(&body).map_err(|error| Malformed::Message(error.to_string()))?;
        self.data = Map::from_iter([(name.to_owned(), body)]);
        Ok(Resolved::Whole(self, Some(reference)))
    }

    fn decoded(&self, name: &str) -> Result<Value, Malformed> {
        let mut value = self.trigger(name).cloned().unwrap_or(Value::Null);
        for _ in 0..3 {
            match value {
                Value::String(text) => {
                    value = serde_json::from_str(&text).map_err(|error| Malformed::Message(error.to_string()))?;
                }
                other => return Ok(other),
            }
        }
        Err(Malformed::Message("it is encoded more often than any host does".to_owned()))
    }

    /// A metadata value as text: one layer of JSON encoding removed where there is one.
    pub fn metadata(&self, name: &str) -> Option<String> {
        match member(&self.metadata, name)? {
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Value::String(inner)) => Some(inner),
                _ => Some(text.clone()),
            },
            other => Some(other.to_string()),
        }
    }

    /// Which delivery of its message this is, from 1.
    pub fn dequeue_count(&self) -> u32 {
        self.metadata("DequeueCount").and_then(|text| text.parse().ok()).unwrap_or(1)
    }
}

/// A member by its name in any case.
pub fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// The answer of a function without outputs. Never empty: the host would wait until `functionTimeout`.
pub fn done() -> Value {
    json!({"Outputs": {}, "Logs": [], "ReturnValue": null})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory;
    use crate::timestamp::SystemClock;
    use std::sync::Arc;

    fn invocation(envelope: Value) -> Invocation {
        Invocation::parse(envelope.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_message_is_read_through_one_or_two_layers_of_encoding() {
        for data in [json!("\"{\\\"a\\\":1}\""), json!("{\"a\":1}"), json!({"a": 1})] {
            let message: Value = invocation(json!({"Data": {"message": data}})).queue_message("message").unwrap();
            assert_eq!(message, json!({"a": 1}));
        }
    }

    #[tokio::test]
    async fn a_message_that_refers_to_a_blob_is_read_from_there() {
        let storage = memory(Arc::new(SystemClock));
        let blob = "messages/0123456789abcdef0123456789abcdef";
        storage.blobs.put(blob, "{\"a\":1}".into()).await.unwrap();
        let reference = json!({"bodyInBlob": blob}).to_string();
        for text in [json!(reference), json!(json!(reference).to_string())] {
            let envelope = json!({"Data": {"message": text}, "Metadata": {"DequeueCount": "3"}});
            let (resolved, used) = whole(invocation(envelope).resolved("message", &*storage.blobs).await);
            assert_eq!(resolved.queue_message::<Value>("message").unwrap(), json!({"a": 1}));
            assert_eq!((resolved.dequeue_count(), used.unwrap().blob()), (3, blob));
        }
        storage.blobs.delete(blob).await.unwrap();
        let gone = invocation(json!({"Data": {"message": reference}})).resolved("message", &*storage.blobs).await;
        assert!(matches!(&gone, Ok(Resolved::Gone(reference)) if reference.blob() == blob), "{gone:?}");
    }

    fn whole(resolved: Result<Resolved, Unresolved>) -> (Invocation, Option<Reference>) {
        let Ok(Resolved::Whole(invocation, reference)) = resolved else { panic!("{resolved:?}") };
        (invocation, reference)
    }

    #[tokio::test]
    async fn a_message_that_refers_to_nothing_stays_as_it_is() {
        let storage = memory(Arc::new(SystemClock));
        storage.blobs.put("other", "{}".into()).await.unwrap();
        for text in ["{\"a\":1}", "hello", "{\"bodyInBlob\":\"other\"}"] {
            let invocation = invocation(json!({"Data": {"message": text}}));
            let (resolved, used) = whole(invocation.resolved("message", &*storage.blobs).await);
            assert_eq!((resolved.trigger("message"), used), (Some(&json!(text)), None));
        }
    }

    #[test]
    fn metadata_are_read_double_encoded_or_plain() {
        let read = |value: Value| {
            let invocation = invocation(json!({"Data": {}, "Metadata": {"DequeueCount": value, "Id": "\"abc\""}}));
            (invocation.dequeue_count(), invocation.metadata("id"))
        };
        for value in [json!("3"), json!(3), json!("\"3\"")] {
            assert_eq!(read(value), (3, Some("abc".to_owned())));
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        for body in ["", "[]", "{}", "{\"Data\":1}"] {
            assert!(matches!(Invocation::parse(body.as_bytes()), Err(Malformed::Envelope(_))), "{body}");
        }
        let foreign = invocation(json!({"Data": {"message": "hello"}}));
        assert!(matches!(foreign.queue_message::<Value>("message"), Err(Malformed::Message(_))));
    }
}
