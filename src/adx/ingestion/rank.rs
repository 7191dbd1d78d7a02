//! How the storage accounts that are lent have done lately, and in which order they are tried: as in the Kusto SDKs, by
//! tiers of their rate of success over the last minute, where the newest counts most. Sends nothing.

use super::signed::Signed;
use crate::timestamp::{Timestamp, ticks_of};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many spans of time are remembered; the newest counts as often as there are spans, the oldest once.
const SPANS: u64 = 6;
/// How long each is.
const SPAN: Duration = Duration::from_secs(10);
/// The least percent of success of each tier, best first.
const TIERS: [u64; 4] = [90, 70, 30, 0];

/// What came of the requests of one span.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    good: u64,
    all: u64,
}

/// All accounts, by their hosts.
#[derive(Debug, Default)]
pub(super) struct Ranks(Mutex<BTreeMap<String, BTreeMap<u64, Span>>>);

impl Ranks {
    /// A request to an account has ended.
    pub fn note(&self, account: &str, succeeded: bool, now: Timestamp) {
        let newest = span_of(now);
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = accounts.entry(account.to_owned()).or_default();
        spans.retain(|span, _| span + SPANS > newest);
        let span = spans.entry(newest).or_default();
        span.all += 1;
        span.good += u64::from(succeeded);
    }

    /// The percent of success of an account; one that was not used lately has all of it.
    fn percent(&self, account: &str, now: Timestamp) -> u64 {
        let newest = span_of(now);
        let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rate, mut weights) = (0, 0);
        for (span, counted) in accounts.get(account).into_iter().flatten() {
            let age = newest.saturating_sub(*span);
            if let Some(weight) = SPANS.checked_sub(age).filter(|weight| *weight > 0) {
                rate += weight * counted.good * 100 / counted.all.max(1);
                weights += weight;
            }
        }
        rate.checked_div(weights).unwrap_or(100)
    }

    /// The resources in the order in which they are to be tried: accounts by tier, within a tier shuffled by `dice`, and one
    /// resource of each account after the other. `turn` goes on to other resources of an account each time.
    pub fn order(&self, resources: &[Signed], now: Timestamp, dice: u64, turn: usize) -> Vec<Signed> {
        let mut accounts: BTreeMap<String, Vec<&Signed>> = BTreeMap::new();
        for resource in resources {
            accounts.entry(resource.account()).or_default().push(resource);
        }
        let mut ranked: Vec<(usize, Vec<&Signed>)> = accounts
            .into_iter()
            .map(|(account, mut resources)| {
                let percent = self.percent(&account, now);
                let tier = TIERS.iter().position(|least| percent >= *least).unwrap_or(TIERS.len());
                let count = resources.len();
                resources.rotate_left(turn % count);
                (tier, resources)
            })
            .collect();
        ranked.shuffle(&mut StdRng::seed_from_u64(dice));
        ranked.sort_by_key(|(tier, _)| *tier);
        let most = ranked.iter().map(|(_, resources)| resources.len()).max().unwrap_or(0);
        (0..most).flat_map(|round| ranked.iter().filter_map(move |(_, own)| own.get(round).copied().cloned())).collect()
    }
}

fn span_of(now: Timestamp) -> u64 {
    now.ticks() / ticks_of(SPAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ticks((1_000_000 + seconds) * 10_000_000)
    }

    fn lent(places: &[&str]) -> Vec<Signed> {
        places.iter().map(|place| Signed::parse(&format!("https://{place}?sig=x")).unwrap()).collect()
    }

    fn order(ranks: &Ranks, places: &[&str], now: u64, dice: u64, turn: usize) -> Vec<String> {
        let ordered = ranks.order(&lent(places), at(now), dice, turn);
        ordered.iter().map(|signed| signed.bare().trim_start_matches("https://").to_owned()).collect()
    }

    #[test]
    fn the_newest_span_counts_most_and_what_is_old_is_forgotten() {
        let ranks = Ranks::default();
        assert_eq!(ranks.percent("a", at(0)), 100);
        ranks.note("a", false, at(0));
        assert_eq!((ranks.percent("a", at(0)), ranks.percent("a", at(59))), (0, 0));
        ranks.note("a", true, at(50));
        // The newest weighs 6, the oldest 1.
        assert_eq!(ranks.percent("a", at(50)), 85);
        assert_eq!(ranks.percent("a", at(60)), 100, "the failure is forgotten");
        ranks.note("a", false, at(60));
        assert_eq!(ranks.percent("a", at(60)), 45);
        assert_eq!(ranks.percent("a", at(130)), 100);
    }

    #[test]
    fn an_account_that_fails_is_tried_after_those_that_do_not() {
        let places = ["a/1", "a/2", "b/1", "c/1"];
        let ranks = Ranks::default();
        for second in 0..10 {
            ranks.note("a", second % 2 == 0, at(second));
            ranks.note("b", true, at(second));
            ranks.note("c", second == 0, at(second));
        }
        for dice in 0..50 {
            assert_eq!(order(&ranks, &places, 10, dice, 0), ["b/1", "a/1", "c/1", "a/2"], "dice {dice}");
            assert_eq!(order(&ranks, &places, 10, dice, 1), ["b/1", "a/2", "c/1", "a/1"], "dice {dice}");
        }
        let firsts: std::collections::BTreeSet<String> =
            (0..50).map(|dice| order(&ranks, &places, 300, dice, 0).remove(0)).collect();
        assert_eq!(firsts.len(), 3, "what is old counts no more, and equals are shuffled: {firsts:?}");
    }
}
