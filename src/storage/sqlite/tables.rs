//! Rows in the table `entity`, their properties as JSON text.

use super::Sqlite;
use super::connections::failure;
use crate::storage::limits::{self, MAX_PAGE_BYTES, MAX_PAGE_ROWS};
use crate::storage::{Continuation, ETag, Error, Key, Operation, Page, Properties, Range, Row, TableStore, change};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

#[async_trait]
impl TableStore for Sqlite {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        let key = key.clone();
        self.connections
            .read(move |connection| {
                let stored = stored(connection, &key)?;
                Ok(stored.map(|(properties, etag)| Row { key, properties, etag }))
            })
            .await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        limits::transaction(operations)?;
        let operations = operations.to_vec();
        self.connections
            .write(move |transaction| {
                operations
                    .iter()
                    .enumerate()
                    .map(|(index, operation)| perform(transaction, index, operation))
                    .collect::<Result<_, _>>()
            })
            .await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        let (range, after) = (range.clone(), after.cloned());
        self.connections.read(move |connection| page(connection, range, after)).await
    }
}

fn perform(transaction: &Transaction<'_>, index: usize, operation: &Operation) -> Result<Option<ETag>, Error> {
    let key = operation.key();
    let current = stored(transaction, key)?;
    let current = current.as_ref().map(|(properties, etag)| (properties, etag));
    let Some(properties) = change::apply(index, operation, current)? else {
        transaction
            .prepare_cached("DELETE FROM entity WHERE partition_key = ?1 AND row_key = ?2")
            .and_then(|mut statement| statement.execute([key.partition(), key.row()]))
            .map_err(failure)?;
        return Ok(None);
    };
    let text = serde_json::to_string(&properties).map_err(|error| Error::Fatal(Box::new(error)))?;
    let written: i64 = transaction
        .prepare_cached("UPDATE adxingestor_store SET writes = writes + 1 RETURNING writes")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failure)?;
    transaction
        .prepare_cached(
            "INSERT INTO entity (partition_key, row_key, written, properties) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (partition_key, row_key) DO UPDATE SET written = excluded.written, properties = excluded.properties",
        )
        .and_then(|mut statement| statement.execute(params![key.partition(), key.row(), written, text]))
        .map_err(failure)?;
    Ok(Some(etag(written)))
}

fn stored(connection: &Connection, key: &Key) -> Result<Option<(Properties, ETag)>, Error> {
    let found: Option<(i64, String)> = connection
        .prepare_cached("SELECT written, properties FROM entity WHERE partition_key = ?1 AND row_key = ?2")
        .and_then(|mut statement| {
            statement.query_row([key.partition(), key.row()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(failure)?;
    found.map(|(written, text)| Ok((properties(&text)?, etag(written)))).transpose()
}

fn page(connection: &Connection, range: Range, after: Option<Continuation>) -> Result<Page, Error> {
    let after = after.map(|Continuation(last)| last).filter(|last| *last >= range.from);
    let start = after.as_deref().unwrap_or(&range.from);
    let mut page = Page { rows: Vec::new(), next: None };
    let mut bytes = 0;
    let mut statement = connection
        .prepare_cached(
            "SELECT row_key, written, properties FROM entity
             WHERE partition_key = ?1 AND row_key >= ?2 ORDER BY row_key",
        )
        .map_err(failure)?;
    let mut rows = statement.query([range.partition.as_str(), start]).map_err(failure)?;
    while let Some(row) = rows.next().map_err(failure)? {
        let row_key: String = row.get(0).map_err(failure)?;
        if range.to.as_ref().is_some_and(|to| row_key >= *to) {
            break;
        }
        if after.as_ref() == Some(&row_key) {
            continue;
        }
        let written = row.get(1).map_err(failure)?;
        let properties = properties(row.get_ref(2).and_then(|text| Ok(text.as_str()?)).map_err(failure)?)?;
        let key = Key::new(range.partition.as_str(), row_key.as_str())?;
        bytes += limits::entity_bytes(&key, &properties);
        page.rows.push(Row { key, properties, etag: etag(written) });
        if page.rows.len() == MAX_PAGE_ROWS || bytes >= MAX_PAGE_BYTES {
            // Like the service, without a look whether there is more: the next page may be empty.
            page.next = Some(Continuation(row_key));
            break;
        }
    }
    Ok(page)
}

fn properties(text: &str) -> Result<Properties, Error> {
    serde_json::from_str(text).map_err(|error| Error::Fatal(Box::new(error)))
}

fn etag(written: i64) -> ETag {
    ETag(format!("W/\"{written:x}\""))
}
