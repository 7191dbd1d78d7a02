//! Appends that happen once, however often they are asked for: an `ingest-by` tag marks what was appended, and
//! `ingestIfNotExists` keeps a repetition out (dataexplorer-docs `management/extent-tags.md`).

use super::super::template::fill;
use super::{Catalog, Error};
use crate::kql::{Identifier, SingleQuoted};
use sha2::{Digest, Sha256};
use std::fmt::Display;
use tokio::time::Instant;

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// So many rows were appended now.
    Now {
        /// How many.
        rows: u64,
    },
    /// It was done before, under the same tag.
    Before,
    /// There was nothing to append, now or before: a condition in the query did not hold.
    Nothing,
}

impl Catalog {
    /// Appends by `file`, which has the placeholders `tags` and `keys`, under `tag`.
    pub(super) async fn append_once(
        &self,
        table: &Identifier,
        tag: &str,
        file: &str,
        values: &[(&str, &(dyn Display + Sync))],
        deadline: Instant,
    ) -> Result<Appended, Error> {
        let tags = serde_json::json!([format!("ingest-by:{tag}")]).to_string();
        let keys = serde_json::json!([tag]).to_string();
        let (tags, keys) = (SingleQuoted(&tags), SingleQuoted(&keys));
        let mut all: Vec<(&str, &(dyn Display + Sync))> = vec![("tags", &tags), ("keys", &keys)];
        all.extend_from_slice(values);
        let refusal = match self.change(&fill(file, &all), deadline).await {
            Ok(answer) => {
                // What a skipped append answers is not documented: without a count, the tag says whether it was done.
                let at = answer.find("RowCount");
                let counts: Result<Vec<_>, Error> = answer.rows().filter_map(|row| at.map(|at| row.long(at))).collect();
                let rows: i64 = counts?.into_iter().flatten().sum();
                if rows > 0 {
                    return Ok(Appended::Now { rows: rows.unsigned_abs() });
                }
                None
            }
            // How the engine says that the tag is there is not documented: the tag itself is looked for.
            Err(error @ Error::Refused { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        let done = self.has_tag(table, tag, deadline).await?;
        match refusal {
            _ if done => Ok(Appended::Before),
            Some(error) => Err(error),
            None => Ok(Appended::Nothing),
        }
    }

    async fn has_tag(&self, table: &Identifier, tag: &str, deadline: Instant) -> Result<bool, Error> {
        let tag = format!("ingest-by:{tag}");
        let csl =
            fill(include_str!("../../../kql/audit/show_tag.kql"), &[("table", table), ("tag", &SingleQuoted(&tag))]);
        Ok(!self.show(&csl, deadline).await?.is_empty())
    }
}

/// A tag that stands for `parts`: letters and digits only, the same for the same parts.
pub(super) fn tag_of(kind: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}{hex}")
}
