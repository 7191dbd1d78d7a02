//! What the ingestion endpoint lends to those who post messages into its queues: containers, queues and a token
//! that tells who posted (dataexplorer-docs `api/netfx/kusto-ingest-client-rest.md`).

use super::super::template::fill;
use super::super::{Client, Effect, Error};
use super::signed::{self, Signed};
use crate::secret::Secret;
use tokio::time::Instant;

/// What is lent.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Where blobs go.
    pub containers: Vec<Signed>,
    /// Where messages go.
    pub queues: Vec<Signed>,
    /// Where it is told how ingestions ended.
    pub status_table: Option<Signed>,
}

impl Lent {
    /// Whether it is enough for a message.
    pub fn is_complete(&self) -> bool {
        !self.containers.is_empty() && !self.queues.is_empty()
    }
}

/// Asks what is lent.
pub(super) async fn lent(client: &Client, deadline: Instant) -> Result<Lent, Error> {
    let file = include_str!("../../../kql/ingestion/resources.kql");
    let answer = client.dm_command(&fill(file, &[]), Effect::Read, deadline).await?;
    let (kind, root) = (answer.column("ResourceTypeName")?, answer.column("StorageRoot")?);
    let of = |name: &'static str| {
        let rows = answer.rows().filter(move |row| row.text(kind).is_ok_and(|found| found == name));
        rows.map(|row| row.text(root).unwrap_or_default())
    };
    Ok(Lent {
        containers: signed::usable(of("TempStorage"))?,
        queues: signed::usable(of("SecuredReadyForAggregationQueue"))?,
        // Nothing depends on it.
        status_table: of("IngestionsStatusTable").last().and_then(|root| Signed::parse(root).ok()),
    })
}

/// Asks for the token that messages carry.
pub(super) async fn identity_token(client: &Client, deadline: Instant) -> Result<Secret, Error> {
    let file = include_str!("../../../kql/ingestion/identity_token.kql");
    let answer = client.dm_command(&fill(file, &[]), Effect::Read, deadline).await?;
    let at = answer.column("AuthorizationContext")?;
    let token = answer.rows().next().map(|row| row.text(at)).transpose()?.unwrap_or_default();
    if token.is_empty() {
        return Err(Error::corrupt("the ingestion endpoint gives no identity token"));
    }
    Ok(Secret::new(token))
}
