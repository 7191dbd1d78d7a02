//! What goes wrong with an ingestion after its message was taken: by odds from a seed, or as written down for one
//! window.

use crate::source::Dice;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that goes wrong with one ingestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mishap {
    /// Its blob is read, and it lands much later.
    Late,
    /// It lands twice: the second time nobody looks at the tags.
    Twice,
    /// It lands, and much later a second time, when nobody looks at the tags.
    Again,
    /// It never lands and leaves no trace.
    Lost,
    /// Every second row is missing, the tag is set.
    Half,
    /// It fails for a passing reason.
    Transient,
    /// It fails for good.
    Permanent,
    /// It fails for good because its mapping does not fit the table.
    Unmapped,
    /// It lands with nothing in `RawData`, as by a mapping that does not fill it; the tag is set.
    Unfilled,
    /// It fails for good before it comes to the engine.
    Undelivered,
}

/// The plan as it unfolds.
pub(super) struct Mishaps {
    dice: Dice,
    odds: Vec<(Mishap, f64)>,
    ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: u64,
    scripts: BTreeMap<String, VecDeque<Option<Mishap>>>,
    happened: BTreeMap<Mishap, u64>,
}

impl Mishaps {
    pub fn new(seed: u64, odds: Vec<(Mishap, f64)>) -> Self {
        Self {
            dice: Dice::new(seed).named("ingestion mishaps"),
            odds,
            ended: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    pub fn script(&self, window: &str, mishaps: impl IntoIterator<Item = Option<Mishap>>) {
        self.lock().scripts.entry(window.to_owned()).or_default().extend(mishaps);
    }

    /// From now on only what a script says goes wrong.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// What goes wrong with an ingestion of these windows.
    pub fn roll<'w>(&self, mut windows: impl Iterator<Item = &'w str>) -> Option<Mishap> {
        let mut state = self.lock();
        state.asked += 1;
        let scripted = windows.find_map(|window| state.scripts.get_mut(window)?.pop_front());
        let mishap = scripted.unwrap_or_else(|| {
            if self.ended.load(Ordering::SeqCst) {
                return None;
            }
            const SCALE: u64 = 1 << 32;
            let mut drawn = self.dice.of(state.asked).below(SCALE) as f64 / SCALE as f64;
            let hit = |(mishap, odds): &(Mishap, f64)| {
                drawn -= odds;
                (drawn < 0.0).then_some(*mishap)
            };
            self.odds.iter().find_map(hit)
        });
        if let Some(mishap) = mishap {
            *state.happened.entry(mishap).or_default() += 1;
        }
        mishap
    }

    pub fn happened(&self) -> BTreeMap<Mishap, u64> {
        self.lock().happened.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_and_a_script_is_for_its_window() {
        let rolls = |seed| {
            let mishaps = Mishaps::new(seed, vec![(Mishap::Lost, 0.1), (Mishap::Twice, 0.1)]);
            mishaps.script("b", [Some(Mishap::Half), None]);
            let scripted = ["a", "b", "b"].map(|window| mishaps.roll([window].into_iter()));
            assert_eq!(scripted[1..], [Some(Mishap::Half), None]);
            (0..500).map(|_| mishaps.roll(std::iter::empty())).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        assert!((60..140).contains(&rolls(1).iter().flatten().count()));
    }
}
