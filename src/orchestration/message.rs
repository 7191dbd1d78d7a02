//! What the two queues carry. A message is a hint: it names things and decides nothing, so it may come
//! twice, late or never.

use super::ids::{InstanceId, TableKey, WindowName};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A message of the control queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ControlMessage {
    /// Read the configuration and set the run going.
    Start {
        /// The run.
        instance: InstanceId,
        /// How often it was tried before.
        #[serde(default)]
        attempt: u32,
    },
    /// Plan a table and dispatch its first windows.
    Plan {
        /// The run.
        instance: InstanceId,
        /// The table.
        table: TableKey,
        /// How often it was tried before.
        #[serde(default)]
        attempt: u32,
    },
    /// Count a table's submitted windows.
    Verify {
        /// The table.
        table: TableKey,
        /// Which count this is; a message with an older number ends.
        number: u64,
    },
    /// Let a terminated run's tables stop.
    Terminate {
        /// The run.
        instance: InstanceId,
        /// Which life of the run is to end.
        #[serde(default)]
        life: u32,
        /// When the run was accepted that it is about; none means whichever has the id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// Hold a run and its tables.
    Suspend {
        /// The run.
        instance: InstanceId,
        /// Which suspension or resumption of the run it is.
        number: u64,
        /// When the run was accepted that it is about; none means whichever has the id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// Let a run and its tables go on.
    Resume {
        /// The run.
        instance: InstanceId,
        /// Which suspension or resumption of the run it is.
        number: u64,
        /// When the run was accepted that it is about; none means whichever has the id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created: Option<Timestamp>,
    },
}

/// A message of the chunk queue: one window to pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkMessage {
    /// The table.
    pub table: TableKey,
    /// The window.
    pub window: WindowName,
    /// When its hunting call may be sent. None in a recorded debt: a permit is taken when the message is put, or,
    /// where the quota is idle, when it is handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Timestamp>,
    /// Which of the messages that went back for its window it is; none where the window was handed out. One that went back
    /// later has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    /// The id of the message whose lease on its window it has waited for, if it found it claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}

impl ChunkMessage {
    /// The message as delivery `delivery` of it may use it: an earlier one may have sent the call of its permit.
    pub fn delivered(self, delivery: u32) -> Self {
        Self { permit: self.permit.filter(|_| delivery <= 1), ..self }
    }
}

/// A message and the queue it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    /// For the control queue.
    Control(ControlMessage),
    /// For the chunk queue.
    Chunk(ChunkMessage),
}

/// A message that a transition owes: recorded with the transition, sent after it, sent again by a redelivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// What to send.
    pub message: Message,
    /// How long it stays hidden.
    #[serde(with = "milliseconds", rename = "delay_ms", default)]
    pub delay: Duration,
}

impl Debt {
    /// A chunk message, due at once.
    pub fn chunk(table: &TableKey, window: WindowName) -> Self {
        Self::chunk_later(table, window, Duration::ZERO)
    }

    /// A chunk message, due after `delay`.
    pub fn chunk_later(table: &TableKey, window: WindowName, delay: Duration) -> Self {
        let table = table.clone();
        Self { message: Message::Chunk(ChunkMessage { table, window, permit: None, turn: None, behind: None }), delay }
    }

    /// Whether it is the message of that window.
    pub fn is_about(&self, window: &WindowName) -> bool {
        matches!(&self.message, Message::Chunk(message) if message.window == *window)
    }

    /// Whether it is put with a permit: a window to be pulled at once. One that waits for something else takes its
    /// permit when that is over.
    pub fn wants_permit(&self) -> bool {
        matches!(self.message, Message::Chunk(_)) && self.delay.is_zero()
    }

    /// This debt with a permit, hidden until `lead` before its time.
    pub fn permitted(mut self, permit: Timestamp, now: Timestamp, lead: Duration) -> Self {
        if let Message::Chunk(message) = &mut self.message {
            message.permit = Some(permit);
            self.delay = permit.since(now).saturating_sub(lead);
        }
        self
    }

    /// The same for a message that goes back for its window.
    pub fn in_turn(mut self, turn: Option<u32>) -> Self {
        if let Message::Chunk(message) = &mut self.message {
            message.turn = turn;
        }
        self
    }

    /// The same for a message that waits for the lease of the message `owner`.
    pub fn behind(mut self, owner: Option<&str>) -> Self {
        if let Message::Chunk(message) = &mut self.message {
            message.behind = owner.map(str::to_owned);
        }
        self
    }

    /// A control message, due after `delay`.
    pub fn control(message: ControlMessage, delay: Duration) -> Self {
        Self { message: Message::Control(message), delay }
    }
}

mod milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_queue() {
        let table = TableKey::new("t", "s", "c", "d", "x");
        let debts = [
            Debt::chunk(&table, WindowName::new(Timestamp::MIN, "0")),
            Debt::control(ControlMessage::Verify { table, number: 7 }, Duration::from_secs(2)),
            Debt::control(ControlMessage::Start { instance: InstanceId::from_bits(1), attempt: 0 }, Duration::ZERO),
        ];
        let permitted = debts[0].clone().permitted(Timestamp::MAX, Timestamp::MAX, Duration::ZERO);
        let back = debts[0].clone().in_turn(Some(3));
        let waiting = debts[0].clone().behind(Some("m"));
        for debt in debts.into_iter().chain([permitted, back, waiting]) {
            let text = serde_json::to_string(&debt).unwrap();
            assert_eq!(serde_json::from_str::<Debt>(&text).unwrap(), debt, "{text}");
        }
    }

    #[test]
    fn a_message_is_visible_some_time_before_its_permit() {
        let window = Debt::chunk(&TableKey::new("t", "s", "c", "d", "x"), WindowName::new(Timestamp::MIN, "0"));
        let now = Timestamp::from_ticks(1 << 60);
        let lead = Duration::from_secs(3);
        let delay = |seconds| window.clone().permitted(now + Duration::from_secs(seconds), now, lead).delay;
        assert_eq!((delay(1), delay(13)), (Duration::ZERO, Duration::from_secs(10)));
    }

    #[test]
    fn a_permit_is_good_for_the_first_delivery_alone() {
        let table = TableKey::new("t", "s", "c", "d", "x");
        let message = ChunkMessage {
            table,
            window: WindowName::new(Timestamp::MIN, "0"),
            permit: Some(Timestamp::MAX),
            turn: None,
            behind: None,
        };
        assert_eq!(message.clone().delivered(1), message);
        assert_eq!(message.delivered(2).permit, None);
    }
}
