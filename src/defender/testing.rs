//! How an answer comes over a network, for the tests of those who read it piece by piece.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The bytes in pieces, some of them empty, as the seed says.
pub(super) fn cut(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut random = StdRng::seed_from_u64(seed);
    let longest = [2, 9, 40, 400][random.random_range(0..4)];
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.random_range(0..longest).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}
