//! Nested values: bags, arrays, and JSON kept as text.

use super::dice::Dice;
use super::pool::{Pools, guid, hex};
use super::words;
use serde_json::{Value as Json, json};

/// What `AdditionalFields` and its like hold in a row.
pub(crate) fn bag(dice: Dice, pools: &Pools) -> Json {
    let program = dice.of(1).pick(&pools.programs);
    match dice.of(2).below(5) {
        0 => json!({ "IsSigned": dice.of(3).chance(800), "FilePath": format!("{}\\{}", program.folder, program.file) }),
        1 => json!({
            "DesiredAccess": dice.of(3).below(1 << 21),
            "TotalBytesCopied": 9_007_199_254_740_993_u64 + dice.of(4).below(1 << 40),
            "Note": phrase(dice.of(5), 4),
        }),
        2 => json!({
            "Signature": { "Hash": hex(dice.of(3), 40), "Trusted": dice.of(4).chance(500), "Chain": ["Root", "Intermediate"] },
            "Score": dice.of(5).below(1000) as f64 / 8.0,
            "Previous": null,
        }),
        3 => json!({
            "Entities": [
                { "Type": "file", "Name": &*program.file, "Directory": &*program.folder, "Size": dice.of(3).below(1 << 24) },
                { "Type": "account", "Name": &*dice.of(4).pick(&pools.accounts).display_name, "Tags": [] },
            ],
        }),
        _ => json!({ "CorrelationId": guid(dice.of(3)).to_string(), "Count": dice.of(4).below(50), "Empty": "" }),
    }
}

/// What a dynamic column holds, null and the empty ones apart.
pub(crate) fn dynamic(dice: Dice, pools: &Pools) -> Json {
    match dice.of(11).below(10) {
        0 => json!([]),
        1 => json!({}),
        2 | 3 => strings(dice, 3),
        4 => json!([
            { "Name": phrase(dice.of(12), 2), "Id": guid(dice.of(13)).to_string(), "Ok": dice.of(14).chance(500) },
            { "Name": phrase(dice.of(15), 1), "Nested": { "Depth": 2, "Values": [1, 2.5, null] } },
        ]),
        5 => json!([dice.of(12).below(100), dice.of(13).below(100)]),
        _ => bag(dice, pools),
    }
}

/// An array of up to `limit` short texts.
pub(crate) fn strings(dice: Dice, limit: u64) -> Json {
    (0..=dice.of(21).below(limit)).map(|index| Json::from(phrase(dice.of(22).of(index), 1))).collect()
}

/// People signed in to a device, as `LoggedOnUsers` has them.
pub(crate) fn signed_in(dice: Dice, pools: &Pools) -> Json {
    (0..dice.of(1).below(3))
        .map(|index| {
            let account = dice.of(2).of(index).pick(&pools.accounts);
            json!({ "UserName": &*account.name, "DomainName": &*account.domain, "Sid": &*account.sid })
        })
        .collect()
}

/// Some words of free text.
pub(crate) fn phrase(dice: Dice, words: u64) -> String {
    let mut text = String::new();
    for index in 0..words {
        if index > 0 {
            text.push(' ');
        }
        let word: &str = dice.of(index).pick::<&str>(&words::FREE);
        text.push_str(word);
    }
    text
}
