//! The names of things in the ledger. Each is checked once where it comes in and trusted afterwards.

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The longest id of a run (azure-docs `durable-functions-instance-management`).
const MAX_INSTANCE_ID: usize = 256;

/// A text that is not an id of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an id of this app")]
pub struct MalformedId(String);

fn malformed(text: &str) -> MalformedId {
    MalformedId(text.chars().take(80).collect())
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A run. 32 lower-case hex digits, as Durable Functions makes them, or what a client chose for it, as it spelled it: 1 to
/// 256 letters, digits, `.`, `_` and `-`. Of what Durable Functions takes, the rest is refused, so that an id needs no
/// escaping in a path, a row key or a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

impl InstanceId {
    /// The id made of 128 random bits.
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// The id of what `name` names, always the same.
    pub fn named(name: &str) -> Self {
        Self(Sha256::digest(name.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        // Clients take `.` and `..` out of a path.
        let is_chosen = (1..=MAX_INSTANCE_ID).contains(&text.len())
            && text.bytes().all(is_plain)
            && !text.bytes().all(|b| b == b'.');
        if is_chosen { Ok(Self(text.to_owned())) } else { Err(malformed(text)) }
    }
}

impl TryFrom<String> for InstanceId {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One copied table: a hash of where it comes from and where it goes. Another destination is another key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableKey(String);

impl TableKey {
    /// The key of a source table of a tenant copied to a table of a database of a cluster.
    pub fn new(tenant: &str, source: &str, cluster: &str, database: &str, destination: &str) -> Self {
        let mut hash = Sha256::new();
        let destination = if mutated!(KeyWithoutDestination) { "" } else { destination };
        // Ids of tenants and names of databases have no case, those of tables have (dataexplorer-docs
        // `query/schema-entities/entity-names.md`).
        let (tenant, database) = (tenant.to_lowercase(), database.to_lowercase());
        for part in [&tenant, source, cluster, &database, destination] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        Self(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The key as text: 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One ledger of a copied table. A ledger that was lost and begun anew has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerId(pub u64);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for LedgerId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        if text.len() != 16 || !is_lower_hex(text) {
            return Err(malformed(text));
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| malformed(text))
    }
}

impl Serialize for LedgerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LedgerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A part of a window: the rows whose hash modulo `count` is `index`. `0 of 1` is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Which part, from 0.
    pub index: u16,
    /// Of how many.
    pub count: u16,
}

impl Part {
    /// The whole window.
    pub const WHOLE: Self = Self { index: 0, count: 1 };
}

/// A window, spelled so that the id alone says what it covers: ledger, `(low, high]` in ticks, part, generation and
/// repair in fixed-width lower-case hex without separators, one index term in ADX. `low` = `high` = 0 stands for the rows
/// whose cut axis is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowId {
    /// The ledger it belongs to.
    pub ledger: LedgerId,
    /// Exclusive lower end.
    pub low: Timestamp,
    /// Inclusive upper end.
    pub high: Timestamp,
    /// Hash partition.
    pub part: Part,
    /// Raised when its content had to be pulled again after a seal.
    pub generation: u16,
    /// 0 for a window that stands for all rows of its range; another number for one that holds those of them that came
    /// later than the windows before it. From [`WindowId::FIRST_HANDOVER`] on the windows before it are another app's.
    pub repair: u16,
}

impl WindowId {
    /// How many hex digits it has.
    pub const DIGITS: usize = 64;
    /// The first number of repairs of what another app has copied.
    pub const FIRST_HANDOVER: u16 = 0x8000;

    /// Whether it stands for the rows whose cut axis is null.
    pub fn is_null_axis(&self) -> bool {
        self.high == Timestamp::MIN
    }

    /// Whether it holds only what came later than other windows of its range.
    pub fn is_repair(&self) -> bool {
        self.repair != 0
    }
}

impl fmt::Display for WindowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{:016x}{:016x}{:04x}{:04x}{:04x}{:04x}",
            self.ledger,
            self.low.ticks(),
            self.high.ticks(),
            self.part.index,
            self.part.count,
            self.generation,
            self.repair
        )
    }
}

impl FromStr for WindowId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        if text.len() != Self::DIGITS || !is_lower_hex(text) {
            return Err(malformed(text));
        }
        let long = |from: usize| u64::from_str_radix(&text[from..from + 16], 16).map_err(|_| malformed(text));
        let short = |from: usize| u16::from_str_radix(&text[from..from + 4], 16).map_err(|_| malformed(text));
        Ok(Self {
            ledger: LedgerId(long(0)?),
            low: Timestamp::from_ticks(long(16)?),
            high: Timestamp::from_ticks(long(32)?),
            part: Part { index: short(48)?, count: short(52)? },
            generation: short(56)?,
            repair: short(60)?,
        })
    }
}

impl Serialize for WindowId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WindowId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The row key of a window within its table: `w:<low>.<path>`, so that windows sort by their range.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WindowName(String);

impl WindowName {
    /// What every window's row key starts with.
    pub const PREFIX: &'static str = "w:";

    /// The name of a window that starts at `low`; `path` tells apart those that start there together.
    pub fn new(low: Timestamp, path: &str) -> Self {
        Self(format!("{}{:016x}.{path}", Self::PREFIX, low.ticks()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path behind the dot.
    pub fn path(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, path)| path)
    }
}

impl FromStr for WindowName {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let name = text.strip_prefix(Self::PREFIX).and_then(|rest| rest.split_once('.'));
        match name {
            Some((low, path)) if low.len() == 16 && is_lower_hex(low) && !path.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(malformed(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_instance_id_is_a_plain_name_and_keeps_its_case() {
        let id = |text: &str| text.parse::<InstanceId>().map(|id| id.as_str().to_owned()).ok();
        assert_eq!(InstanceId::from_bits(0xabc).as_str(), "00000000000000000000000000000abc");
        for text in [
            "a",
            "Nightly_2026-05.1",
            "550e8400-e29b-41d4-a716-446655440000",
            "0123456789ABCDEF0123456789abcdef",
            &"x".repeat(256),
        ] {
            assert_eq!(id(text).as_deref(), Some(text));
        }
        for text in ["", ".", "..", "../etc", "a b", "a'b", "a:b", "@a", "a/b", "ä", &"x".repeat(257)] {
            assert_eq!(id(text), None, "{text}");
        }
    }

    #[test]
    fn another_destination_is_another_key() {
        let key = TableKey::new("t", "DeviceEvents", "c", "d", "DeviceEvents");
        assert_ne!(key, TableKey::new("t", "DeviceEvents", "c", "d", "DeviceEvents2"));
        assert_ne!(TableKey::new("a", "bc", "", "", ""), TableKey::new("ab", "c", "", "", ""));
        assert_eq!(key.as_str().len(), 32);
    }

    proptest! {
        #[test]
        fn a_window_id_says_what_it_covers(ledger: u64, low in 0u64..3_155_378_975_999_999_999, span in 0u64..1_000_000, index: u16, count: u16, generation: u16, repair: u16) {
            let id = WindowId {
                ledger: LedgerId(ledger),
                low: Timestamp::from_ticks(low),
                high: Timestamp::from_ticks(low + span),
                part: Part { index, count },
                generation,
                repair,
            };
            let text = id.to_string();
            prop_assert_eq!(text.len(), WindowId::DIGITS);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
            prop_assert_eq!(text.parse::<WindowId>().unwrap(), id);
        }
    }

    #[test]
    fn names_sort_by_range_then_path() {
        let mut names = [
            WindowName::new(Timestamp::from_ticks(16), "0"),
            WindowName::new(Timestamp::from_ticks(2), "01"),
            WindowName::new(Timestamp::from_ticks(2), "00"),
        ];
        names.sort();
        assert_eq!(
            names.map(|n| n.as_str().to_owned()),
            ["w:0000000000000002.00", "w:0000000000000002.01", "w:0000000000000010.0"]
        );
    }
}
