//! One look at a store that alters nothing: whether its tables, queues and blobs let the app in. Knows nothing of what it holds.

use super::{Error, Key, Storage};
use std::time::Duration;
use tokio::time::timeout;

/// A row, a queue and a blob that nobody has to have written.
const PROBE: &str = "adxingestor-probe";

/// Reads from the tables, a queue and the blobs once each, side by side, for at most `longest`: a role or a signature may be
/// missing for one of them. Gives what each of them failed with, in this order.
pub async fn look(storage: &Storage, longest: Duration) -> [Option<Error>; 3] {
    let key = match Key::new(PROBE, PROBE) {
        Ok(key) => key,
        Err(error) => return [Some(error), None, None],
    };
    let Storage { tables, queues, blobs, .. } = storage;
    let (row, messages, payload) = tokio::join!(
        timeout(longest, tables.get(&key)),
        timeout(longest, queues.approximate_count(PROBE)),
        timeout(longest, blobs.get(PROBE)),
    );
    let late = || Error::Unavailable(format!("no answer within {} s", longest.as_secs()).into());
    [
        row.map_or_else(|_| Some(late()), Result::err),
        messages.map_or_else(|_| Some(late()), Result::err),
        payload.map_or_else(|_| Some(late()), Result::err),
    ]
}
