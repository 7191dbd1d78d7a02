//! Running a function by hand, without its trigger: `POST /admin/functions/<name>` with `{"input": "<text>"}`.

use super::envelope::Metadata;
use super::function_json::{Function, Trigger};
use super::invoke::Invoker;
use super::json::Json;
use super::queue_trigger;
use super::timer_trigger;
use crate::storage::{Body, Message, Receipt};
use crate::timestamp::Timestamp;
use std::sync::Arc;

/// The call that the body asks for; to be run by whoever owns calls.
///
/// # Errors
/// Why there is none.
pub(crate) fn call(
    invoker: Arc<Invoker>,
    function: Arc<Function>,
    body: &[u8],
) -> Result<impl Future<Output = ()> + Send + use<>, String> {
    let input = if body.is_empty() {
        String::new()
    } else {
        let json: Json =
            serde_json::from_slice(body).map_err(|error| format!("the body is not valid JSON: {error}"))?;
        json.member("input").map(Json::scalar_text).unwrap_or_default()
    };
    if matches!(function.trigger, Trigger::Http(_)) {
        return Err(format!("`{}` has an HTTP trigger: call its URL", function.name));
    }
    Ok(async move {
        // The outcome is in the log, which is all that a manual run gives.
        let _ = match &function.trigger {
            Trigger::Http(_) => Ok(()),
            Trigger::Queue { binding, binary, .. } => {
                let message = unqueued(&invoker, &input);
                let call = queue_trigger::envelope_parts(binding, *binary, &message, input.as_bytes());
                invoker.call(&function, call, |_| Ok(())).await
            }
            Trigger::Timer(trigger) => {
                let call = timer_trigger::envelope_parts(trigger, None, false, Metadata::default());
                invoker.call(&function, call, |_| Ok(())).await
            }
        };
    })
}

/// A message that was never on a queue.
fn unqueued(invoker: &Invoker, input: &str) -> Message {
    Message {
        id: invoker.id().to_string(),
        body: Body::Bytes(input.to_owned().into()),
        dequeue_count: 1,
        receipt: Receipt(String::new()),
        inserted: invoker.clock.now(),
        expires: Timestamp::MAX,
        next_visible: Timestamp::MAX,
    }
}
