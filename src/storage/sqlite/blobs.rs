//! Payloads in the table `blob`.

use super::Sqlite;
use super::connections::failure;
use crate::storage::{BlobStore, Error, limits};
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

#[async_trait]
impl BlobStore for Sqlite {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        limits::blob_name(name)?;
        limits::blob(&content)?;
        let name = name.to_owned();
        self.connections
            .write(move |transaction| {
                transaction
                    .prepare_cached(
                        "INSERT INTO blob (name, content) VALUES (?1, ?2)
                         ON CONFLICT (name) DO UPDATE SET content = excluded.content",
                    )
                    .and_then(|mut statement| statement.execute(params![name, &content[..]]))
                    .map_err(failure)?;
                Ok(())
            })
            .await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        limits::blob_name(name)?;
        let name = name.to_owned();
        self.connections
            .read(move |connection| {
                let content: Option<Vec<u8>> = connection
                    .prepare_cached("SELECT content FROM blob WHERE name = ?1")
                    .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
                    .map_err(failure)?;
                Ok(content.map(Bytes::from))
            })
            .await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        limits::blob_name(name)?;
        let name = name.to_owned();
        self.connections
            .write(move |transaction| {
                transaction
                    .prepare_cached("DELETE FROM blob WHERE name = ?1")
                    .and_then(|mut statement| statement.execute([name]))
                    .map_err(failure)?;
                Ok(())
            })
            .await
    }
}
