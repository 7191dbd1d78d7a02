//! Names of blobs, and what the ledger keeps of a committed one. Knows no signature.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most characters of a name, as the SDKs cap theirs.
const MAX_NAME_CHARS: usize = 160;
/// Says what is in the blob: the service takes the compression from the last part.
const EXTENSION: &str = ".multijson.gz";

/// The name of a blob of rows: `<database>-<table>-<window id>-<fresh id>.multijson.gz`, safe characters only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobName(String);

impl BlobName {
    /// A name for one claim of a window; `fresh` is never used twice. The window id is kept whole up to 80
    /// characters, database and table share the rest.
    pub fn new(database: &str, table: &str, window_id: &str, fresh: Uuid) -> Self {
        let window_id = safe(window_id, 80);
        let fresh = fresh.simple().to_string();
        let rest = MAX_NAME_CHARS - EXTENSION.len() - window_id.len() - fresh.len() - 3;
        let database = safe(database, rest / 3);
        let table = safe(table, rest - database.len());
        Self(format!("{database}-{table}-{window_id}-{fresh}{EXTENSION}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn safe(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).take(most).collect()
}

/// A committed blob, as the ledger keeps it. The signature that gives access is found again by the URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBlob {
    /// The address without query.
    pub url: String,
    /// Its size.
    pub compressed_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_safe_characters_only_and_end_with_the_compression() {
        let name = BlobName::new("my db", "Tä/ble?x=1", "0f2a", Uuid::nil());
        assert_eq!(
            name.as_str(),
            format!("my_db-T_ble_x_1-0f2a-{}.multijson.gz", "0".repeat(32)).replace("T_ble", "T__ble")
        );
    }

    #[test]
    fn long_names_lose_database_and_table_but_no_id() {
        let window = "a".repeat(80);
        let name = BlobName::new(&"d".repeat(200), &"t".repeat(200), &window, Uuid::max());
        assert!(name.as_str().len() <= 160, "{}", name.as_str().len());
        assert!(name.as_str().contains(&window) && name.as_str().contains(&"f".repeat(32)));
    }
}
