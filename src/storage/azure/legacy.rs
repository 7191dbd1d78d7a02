//! Tables and queues by `azure_data_tables` and `azure_storage_queues` 0.21 in place of the default clients: the cargo
//! feature `legacy-sdk` (docs/decisions/0001-own-table-client.md). Blobs stay those of the official client. Knows no
//! table and no queue.

use super::ConnectError;
use super::account::tokens;
use super::authorize::SCOPE;
use super::clock::ServiceClock;
use super::connection::{Connection, Way};
use crate::config::Lookup;
use crate::outbound::Outbound;
use crate::secret::Secret;
use crate::storage::Storage;
use crate::timestamp::Clock;
use adxingestor_legacy_storage::{Access, Account, BoxError, OnDate, TokenSource, open};
use async_trait::async_trait;
use std::sync::Arc;

/// `storage` with the tables and queues of the 0.21 line, which date their requests by `clock` and set it right.
///
/// # Errors
/// The settings describe no identity, or an address that it must not be shown to.
pub(super) fn replace(
    storage: Storage,
    connection: &Connection,
    lookup: Lookup<'_>,
    http: reqwest::Client,
    clock: Arc<ServiceClock>,
) -> Result<Storage, ConnectError> {
    let places = &connection.endpoints;
    let access = match &connection.way {
        Way::Key(key) => Access::Key(key.encoded()),
        Way::Sas(sas) => Access::Sas(sas.expose().to_owned()),
        Way::Identity(identity) => {
            let (outbound, _) = tokens(identity, lookup, http.clone())?;
            for place in [&places.table, &places.queue] {
                outbound.check(place)?;
            }
            Access::Token(Arc::new(Tokens(outbound)))
        }
    };
    let account = Account {
        name: connection.account.clone(),
        tables: places.table.clone(),
        queues: places.queue.clone(),
        access,
    };
    let learning = Arc::clone(&clock);
    let on_date: OnDate = Arc::new(move |date, elapsed| {
        let received = learning.local();
        learning.learn(date, received - elapsed, received);
    });
    let stores = open(account, &connection.table, http, clock as Arc<dyn Clock>, on_date)?;
    Ok(Storage { tables: stores.tables, queues: stores.queues, ..storage })
}

struct Tokens(Outbound);

#[async_trait]
impl TokenSource for Tokens {
    async fn token(&self, refused: Option<&str>) -> Result<String, BoxError> {
        let token = match refused {
            None => Some(self.0.token(SCOPE).await?),
            Some(refused) => self.0.renewed_token(SCOPE, &Secret::new(refused)).await?,
        };
        Ok(token.map_or_else(|| refused.unwrap_or_default().to_owned(), |token| token.expose().to_owned()))
    }
}
