//! Shared access signatures: what a query has to hold to be let in. Stateless but for a generation, whose end makes
//! all earlier signatures stale.

use super::refusal::Refusal;
use crate::source::ticks;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use url::form_urlencoded;

const VERSION: &str = "2021-12-02";
/// Kinds that are not named in the query as others are.
pub(super) const QUEUE: &str = "q";
pub(super) const TABLE: &str = "t";

/// Signs and checks.
pub(super) struct Signer {
    seed: u64,
    generation: AtomicU64,
}

impl Signer {
    pub fn new(seed: u64) -> Self {
        Self { seed, generation: AtomicU64::new(0) }
    }

    pub fn expire_all(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// The query that lets its bearer do `permissions` below `path` until an instant.
    pub fn query(&self, path: &str, kind: &str, permissions: &str, until: i64) -> String {
        let end = ticks::format(until - until.rem_euclid(ticks::SECOND));
        let signature = self.signature(path, kind, permissions, &end);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("sv", VERSION);
        // Signatures of queues do not say what they are for (Azure Storage REST: Create a service SAS).
        match kind {
            TABLE => query.append_pair("tn", path.rsplit('/').next().unwrap_or_default()),
            QUEUE => &mut query,
            kind => query.append_pair("sr", kind),
        };
        query.extend_pairs([("se", end.as_str()), ("sp", permissions), ("sig", &signature)]).finish()
    }

    /// Whether `query` lets its bearer do `permission` below `path` at `now`.
    pub fn check(&self, path: &str, query: &str, permission: char, now: i64) -> Result<(), Refusal> {
        let given = |wanted: &str| {
            form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted).map(|(_, value)| value)
        };
        let (Some(end), Some(permissions), Some(signature), Some(VERSION)) =
            (given("se"), given("sp"), given("sig"), given("sv").as_deref())
        else {
            return Err(Refusal::authentication_failed("A signature with sv, se, sp and sig is required."));
        };
        let kind = given("sr").unwrap_or_else(|| if given("tn").is_some() { TABLE.into() } else { QUEUE.into() });
        if signature != self.signature(path, &kind, &permissions, &end) {
            return Err(Refusal::authentication_failed("Signature did not match."));
        }
        if ticks::parse(&end).is_none_or(|end| end <= now) {
            return Err(Refusal::authentication_failed("Signature not valid in the specified time frame."));
        }
        if !permissions.contains(permission) {
            return Err(Refusal::PERMISSION_MISMATCH);
        }
        Ok(())
    }

    fn signature(&self, path: &str, kind: &str, permissions: &str, end: &str) -> String {
        let generation = self.generation.load(Ordering::SeqCst);
        let seed = self.seed;
        let text = format!("{seed}\n{generation}\n{path}\n{kind}\n{permissions}\n{end}\n{VERSION}\n");
        BASE64.encode(Sha256::digest(text.as_bytes()))
    }
}
