//! What the tests of several modules share. Knows none of them.

use proptest::prelude::ProptestConfig;

/// As many cases of a property as `PROPTEST_CASES` says, proptest's own variable, and `usual` ones where it says nothing.
pub fn cases(usual: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(usual),
    }
}
