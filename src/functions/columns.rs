//! The columns of a source table from run to run: what appears, disappears or changes its type is told. It harms nothing: rows
//! are copied with the columns that they have. Kept in a blob beside the ledger, which must not grow with the columns.

use crate::app::App;
use crate::orchestration::ids::TableKey;
use crate::storage::BlobStore;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// It only helps: nobody waits for the state store longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// No more than these are named in one note.
const MOST_NAMED: usize = 20;

/// Columns and their types.
pub type Columns = BTreeMap<String, String>;

/// A look at a table's columns.
pub struct Look {
    columns: Columns,
    gone: Vec<String>,
    changed: Vec<String>,
    /// Whether the next run is to compare with these.
    is_news: bool,
}

impl Look {
    /// The columns that there are.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Those that there were before.
    pub fn gone(&self) -> &[String] {
        &self.gone
    }

    /// Those that have another type than before.
    pub fn changed(&self) -> &[String] {
        &self.changed
    }
}

/// What has changed since the last plan that stands, as notes for a person.
pub async fn changes(app: &App, table: &TableKey, columns: Columns) -> (Vec<String>, Look) {
    let Some(before) = known(&*app.state.storage().blobs, table).await else {
        tracing::warn!("the columns that a table had could not be read; a change is told by the next run");
        return (Vec::new(), Look { columns, gone: Vec::new(), changed: Vec::new(), is_news: false });
    };
    let notes = before.as_ref().map(|before| told(before, &columns)).unwrap_or_default();
    for note in &notes {
        tracing::warn!(note, "the source table is not what it was");
    }
    let is_news = before.as_ref() != Some(&columns);
    let changed = before.as_ref().map(|before| retyped(before, &columns)).unwrap_or_default();
    let gone = before.iter().flatten().map(|(name, _)| name).filter(|name| !columns.contains_key(*name));
    let gone = gone.cloned().collect();
    (notes, Look { columns, gone, changed, is_news })
}

/// Keeps what was seen for the next run, once the plan that tells the changes stands.
pub async fn remember(app: &App, table: &TableKey, look: &Look) {
    let record = serde_json::to_vec(&look.columns).ok().filter(|_| look.is_news);
    let Some(record) = record else { return };
    let (blobs, name) = (&app.state.storage().blobs, name(table));
    if !matches!(timeout(PATIENCE, blobs.put(&name, record.into())).await, Ok(Ok(()))) {
        tracing::warn!("the columns of a table could not be noted; the next run compares with older ones");
    }
}

/// What is noted; `None`: that cannot be told now.
async fn known(blobs: &dyn BlobStore, table: &TableKey) -> Option<Option<Columns>> {
    let stored = timeout(PATIENCE, blobs.get(&name(table))).await.ok()?.ok()?;
    Some(stored.and_then(|stored| serde_json::from_slice(&stored).ok()))
}

fn name(table: &TableKey) -> String {
    format!("columns/{}", table.as_str())
}

fn retyped(before: &Columns, now: &Columns) -> Vec<String> {
    let is_other = |(name, ty): &(&String, &String)| before.get(*name).is_some_and(|old| old != *ty);
    now.iter().filter(is_other).map(|(name, _)| name.clone()).collect()
}

fn told(before: &Columns, now: &Columns) -> Vec<String> {
    let new = now.iter().filter(|(name, _)| !before.contains_key(*name)).map(|(name, ty)| format!("{name} ({ty})"));
    let gone = before.keys().filter(|name| !now.contains_key(*name)).cloned();
    let other = now.iter().filter_map(|(name, ty)| {
        let old = before.get(name).filter(|old| *old != ty)?;
        Some(format!("{name} ({old}, now {ty})"))
    });
    [
        ("columns have appeared at the source since the last run", new.collect::<Vec<_>>()),
        ("columns have disappeared at the source since the last run", gone.collect()),
        ("columns have another type at the source since the last run", other.collect()),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(what, names)| {
        let more = names.len().saturating_sub(MOST_NAMED);
        let named = names.into_iter().take(MOST_NAMED).collect::<Vec<_>>().join(", ");
        if more == 0 { format!("{what}: {named}") } else { format!("{what}: {named} and {more} more") }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::testing::World;

    fn columns(named: &[(&str, &str)]) -> Columns {
        named.iter().map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned())).collect()
    }

    #[tokio::test]
    async fn what_appears_disappears_or_changes_its_type_is_told_once() {
        let world = World::new();
        let table = TableKey::new("t", "s", "c", "d", "x");
        let first = columns(&[("A", "long"), ("B", "string"), ("C", "int")]);
        let second = columns(&[("A", "string"), ("C", "int"), ("D", "dynamic")]);
        let (notes, look) = changes(&world.app, &table, first).await;
        assert_eq!(notes, Vec::<String>::new(), "the first run knows nothing");
        remember(&world.app, &table, &look).await;
        let (told, _) = changes(&world.app, &table, second.clone()).await;
        let (again, look) = changes(&world.app, &table, second.clone()).await;
        assert_eq!(told, again, "a plan that came to nothing is no reason to keep silent");
        remember(&world.app, &table, &look).await;
        assert_eq!(told.len(), 3, "{told:?}");
        for (note, said) in told.iter().zip(["appeared", "disappeared", "another type"]) {
            assert!(note.contains(said), "{note}");
        }
        assert!(told[0].ends_with(": D (dynamic)") && told[1].ends_with(": B"), "{told:?}");
        assert!(told[2].ends_with(": A (long, now string)"), "{told:?}");
        assert_eq!(changes(&world.app, &table, second).await.0, Vec::<String>::new());
    }

    #[test]
    fn a_table_that_is_another_one_altogether_is_told_in_a_few_lines() {
        let many = |prefix: &str| (0..2_000).map(|n| (format!("{prefix}{n}"), "long".to_owned())).collect::<Columns>();
        let told = told(&many("a"), &many("b"));
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|note| note.len() < 500 && note.ends_with("and 1980 more")), "{told:?}");
    }
}
