//! What an endpoint takes as the size of an answer, learned from what it refused and took since. The documented figures differ
//! and do not say which bytes are counted (learn.microsoft.com "Advanced hunting quotas and usage parameters").

use serde::{Deserialize, Serialize};

/// Closer than this to what was refused, no more calls are spent on finding the cap.
const CLOSE: f64 = 0.95;

/// What was seen of one endpoint's cap, in bytes of the response. Nothing, as long as answers below the documented cap
/// are not refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseCap {
    /// The endpoint: another one has another cap.
    endpoint: String,
    /// The largest answer that it gave since the first that it refused.
    accepted: u64,
    /// The smallest answer that it refused.
    refused: u64,
}

impl ResponseCap {
    /// The most bytes that an answer of `endpoint` is to have: between what was given and what was refused, until both are
    /// close.
    pub fn bytes(known: Option<&Self>, endpoint: &str, documented: u64) -> u64 {
        let Some(known) = known.filter(|known| known.endpoint == endpoint) else { return documented };
        let Self { accepted, refused, .. } = known;
        let close = *accepted as f64 >= *refused as f64 * CLOSE;
        if close { *accepted } else { accepted.midpoint(*refused) }.clamp(1, documented)
    }

    /// What is known after `endpoint` refused an answer that takes `bytes`. Above the documented cap that is as it should be.
    pub fn after_refusal(known: Option<&Self>, endpoint: &str, bytes: u64, documented: u64) -> Option<Self> {
        let known = known.filter(|known| known.endpoint == endpoint);
        if bytes > documented {
            return known.cloned();
        }
        let refused = known.map_or(bytes, |known| known.refused.min(bytes));
        // What it gave before it now refuses: the cap has moved.
        let accepted = known.map_or(0, |known| known.accepted).min(refused - refused / 4);
        Some(Self { endpoint: endpoint.to_owned(), accepted, refused })
    }

    /// What is known after `endpoint` gave an answer of `bytes`.
    pub fn after_answer(known: Option<&Self>, endpoint: &str, bytes: u64) -> Option<Self> {
        let known = known?;
        // A little more is not worth a write.
        if known.endpoint != endpoint || bytes <= known.accepted + known.accepted / 50 {
            return Some(known.clone());
        }
        // Given now, so not refused for its size, or no longer: the documented cap holds until the next refusal.
        (bytes < known.refused).then(|| Self { accepted: bytes, ..known.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: u64 = 50_000_000;
    const GRAPH: &str = "graph";

    fn bytes(known: Option<&ResponseCap>) -> u64 {
        ResponseCap::bytes(known, GRAPH, DOCUMENTED)
    }

    #[test]
    fn an_answer_above_the_documented_cap_teaches_nothing() {
        assert_eq!(ResponseCap::after_refusal(None, GRAPH, DOCUMENTED + 1, DOCUMENTED), None);
        assert_eq!(bytes(None), DOCUMENTED);
    }

    #[test]
    fn the_first_refusal_corrects_the_cap_of_its_endpoint_alone() {
        let known = ResponseCap::after_refusal(None, GRAPH, 48_000_000, DOCUMENTED);
        assert_eq!(bytes(known.as_ref()), 24_000_000);
        assert_eq!(ResponseCap::bytes(known.as_ref(), "another", DOCUMENTED), DOCUMENTED);
        assert_eq!(ResponseCap::after_answer(known.as_ref(), "another", 49_000_000), known);
    }

    #[test]
    fn a_cap_is_found_within_few_refusals_from_below() {
        for cap in [1_000_000, 7_300_000, 30_000_000, 47_000_000] {
            let mut known: Option<ResponseCap> = None;
            let mut refusals = 0;
            for _ in 0..40 {
                let asked = bytes(known.as_ref()) * 97 / 100;
                known = if asked > cap {
                    refusals += 1;
                    ResponseCap::after_refusal(known.as_ref(), GRAPH, asked, DOCUMENTED)
                } else {
                    ResponseCap::after_answer(known.as_ref(), GRAPH, asked)
                };
            }
            let found = bytes(known.as_ref());
            assert!(found <= cap && found as f64 > cap as f64 * 0.9, "{found} for {cap}");
            assert!(refusals <= 10, "{refusals} for {cap}");
        }
    }

    #[test]
    fn a_cap_that_was_raised_is_noticed() {
        let known = ResponseCap::after_refusal(None, GRAPH, 20_000_000, DOCUMENTED);
        assert_eq!(ResponseCap::after_answer(known.as_ref(), GRAPH, 20_000_000), None);
    }
}
