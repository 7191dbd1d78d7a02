//! Appends that happen once, however often they are asked for: an `ingest-by` tag marks what was appended, and
//! `ingestIfNotExists` keeps a repetition out (dataexplorer-docs `management/extent-tags.md`).

use super::super::table::Type;
use super::super::template::{Listed, fill};
use super::{Catalog, Effect, Error, Table};
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
        let refusal = match self.append(table, tag, &fill(file, &all), deadline).await {
            Ok(None) => return Ok(Appended::Before),
            Ok(Some(answer)) => {
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

    /// Sends an append. One whose answer is lost may have been done, and where the service does not go by `ingestIfNotExists` another
    /// would be a second one: the tag is looked for first. `None` if it is there.
    async fn append(
        &self,
        table: &Identifier,
        tag: &str,
        csl: &str,
        deadline: Instant,
    ) -> Result<Option<Table>, Error> {
        let mut waits = self.client.pace().waits(self.client.seed());
        loop {
            self.count(|tally| &tally.commands);
            let error = match self.client.command(csl, Effect::Once, deadline).await {
                Err(error @ (Error::OutcomeUnknown { .. } | Error::Refused { permanent: false, .. })) => error,
                other => return other.map(Some),
            };
            let Some(wait) = waits.next_after(&error, deadline) else { return Err(error) };
            tokio::time::sleep(wait).await;
            if self.is_seen(table, tag, deadline).await? {
                return Ok(None);
            }
        }
    }

    /// The same for rows with the columns `known`, into a table that may have gained others: an append goes by position.
    pub(super) async fn append_once_to(
        &self,
        table: &Identifier,
        known: &[&str],
        tag: &str,
        file: &str,
        values: &[(&str, &(dyn Display + Sync))],
        deadline: Instant,
    ) -> Result<Appended, Error> {
        let refusal = match self.append_once(table, tag, file, values, deadline).await {
            Err(refusal @ Error::Refused { .. }) => refusal,
            other => return other,
        };
        let Some(columns) = self.wider(table, known, deadline).await? else { return Err(refusal) };
        let file = format!("{file}{}", include_str!("../../../kql/audit/wider.kql"));
        let mut all: Vec<(&str, &(dyn Display + Sync))> = vec![("table_columns", &columns)];
        all.extend_from_slice(values);
        self.append_once(table, tag, &file, &all, deadline).await
    }

    /// The columns of a table in its order, those beyond `known` empty; `None` unless it has all of `known` and more.
    async fn wider(
        &self,
        table: &Identifier,
        known: &[&str],
        deadline: Instant,
    ) -> Result<Option<Listed<String>>, Error> {
        let columns = self.schema(table, deadline).await?.map(|schema| schema.columns).unwrap_or_default();
        let has_all = known.iter().all(|known| columns.iter().any(|(name, _)| name == known));
        if !has_all || columns.len() == known.len() {
            return Ok(None);
        }
        let named = columns.iter().map(|(column, ty)| {
            let name =
                Identifier::new(column).map_err(|error| Error::corrupt(format!("a column of {table}: {error}")))?;
            Ok(match Type::parse(ty) {
                _ if known.contains(&column.as_str()) => name.to_string(),
                None | Some(Type::String) => format!("{name} = \"\""),
                Some(ty) => format!("{name} = {}(null)", ty.word()),
            })
        });
        named.collect::<Result<_, _>>().map(|named| Some(Listed(named)))
    }

    /// Whether something was appended under the tag, as far as that may be looked for: where it may not, the service's own check is
    /// what there is.
    ///
    /// # Errors
    /// Those of a look that may be made and came to nothing: an append could be a second one.
    pub(super) async fn is_seen(&self, table: &Identifier, tag: &str, deadline: Instant) -> Result<bool, Error> {
        match self.has_tag(table, tag, deadline).await {
            Err(
                Error::Denied { .. }
                | Error::NotFound { .. }
                | Error::NotOffered { .. }
                | Error::Refused { permanent: true, .. },
            ) => Ok(false),
            other => other,
        }
    }

    /// Whether something was appended under the tag.
    pub(super) async fn has_tag(&self, table: &Identifier, tag: &str, deadline: Instant) -> Result<bool, Error> {
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
