//! Numbers that look random and are a pure function of where they are asked for: the same seed, table,
//! row and column give the same number in any order and any process.

use xxhash_rust::xxh64::xxh64;

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A place in the tree of derived numbers. Derive a child per question: two questions to one place give
/// the same answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(STEP)))
    }

    /// The child for `salt`.
    pub(crate) const fn of(self, salt: u64) -> Self {
        Self(mix(self.0 ^ salt.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// The child for a name.
    pub(crate) fn named(self, name: &str) -> Self {
        self.of(xxh64(name.as_bytes(), 0))
    }

    /// 64 even bits.
    pub(crate) const fn bits(self) -> u64 {
        mix(self.0)
    }

    /// A number in `0..limit`; 0 for a limit of 0.
    pub(crate) const fn below(self, limit: u64) -> u64 {
        ((self.bits() as u128 * limit as u128) >> 64) as u64
    }

    /// True `per_mille` times in a thousand.
    pub(crate) const fn chance(self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of `items`, which must not be empty.
    pub(crate) fn pick<T>(self, items: &[T]) -> &T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// The finalizer of splitmix64.
const fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_far_apart_and_limits_hold() {
        let root = Dice::new(1).named("DeviceEvents");
        let mut seen = std::collections::HashSet::new();
        for row in 0..10_000 {
            assert!(seen.insert(root.of(row).bits()));
            assert!(root.of(row).below(7) < 7);
        }
        let heads = (0..10_000).filter(|row| root.of(*row).of(3).chance(500)).count();
        assert!((4700..5300).contains(&heads), "{heads}");
    }
}
