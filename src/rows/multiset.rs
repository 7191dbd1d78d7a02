//! How often which row is held: 16 bytes for each, and a count.

use super::RowHash;

/// Rows that are held, by their hashes.
#[derive(Debug, Default)]
pub struct Multiset {
    /// Sorted, each once.
    hashes: Vec<RowHash>,
    /// How often each is left.
    left: Vec<u32>,
}

impl Multiset {
    /// A multiset of these.
    pub fn of(mut hashes: Vec<RowHash>) -> Self {
        hashes.sort_unstable();
        let mut left: Vec<u32> = Vec::new();
        let mut last = None;
        hashes.retain(|hash| {
            let is_new = last != Some(*hash);
            last = Some(*hash);
            match left.last_mut() {
                Some(count) if !is_new => *count = count.saturating_add(1),
                _ => left.push(1),
            }
            is_new
        });
        Self { hashes, left }
    }

    /// Takes one of these out; gives whether there was one.
    pub fn take(&mut self, hash: RowHash) -> bool {
        let Ok(at) = self.hashes.binary_search(&hash) else { return false };
        let left = &mut self.left[at];
        let was_there = *left > 0;
        *left = left.saturating_sub(1);
        was_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn each_row_is_taken_as_often_as_it_is_held() {
        let mut held = Multiset::of(vec![7, 3, 7, 9, 7]);
        let taken = [7, 7, 3, 7, 7, 3, 1].map(|hash| held.take(hash));
        assert_eq!(taken, [true, true, true, true, false, false, false]);
    }

    proptest! {
        #[test]
        fn it_counts_as_a_map_does(held in prop::collection::vec(0u128..20, 0..60), asked in prop::collection::vec(0u128..25, 0..80)) {
            let mut counts: HashMap<u128, u32> = HashMap::new();
            held.iter().for_each(|hash| *counts.entry(*hash).or_default() += 1);
            let mut set = Multiset::of(held);
            for hash in asked {
                let expected = counts.get_mut(&hash).filter(|count| **count > 0).map(|count| *count -= 1).is_some();
                prop_assert_eq!(set.take(hash), expected);
            }
        }
    }
}
