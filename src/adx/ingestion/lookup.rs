//! Whether a blob that was written is still there (Azure Storage REST: Get Blob Properties).

use super::super::Error;
use super::Ingestor;
use super::requests::{Refusal, Request, send};
use bytes::Bytes;
use reqwest::Method;
use tokio::time::Instant;

pub(super) async fn has(ingestor: &Ingestor, url: &str, deadline: Instant) -> Result<bool, Error> {
    let client = &ingestor.client;
    let mut resources = ingestor.resources(deadline).await?;
    let mut refreshed = false;
    loop {
        let refusal = match resources.container_of(url) {
            None => Refusal::Stale(Error::NotFound {
                what: format!("the container of {url} among those that the service lends"),
            }),
            Some((container, name)) => {
                let (url, body) = (container.below(name), Bytes::new());
                let request = Request { method: Method::HEAD, url, headers: &[], body, changes: false };
                match send(client.outbound(), client.clock(), request, deadline).await {
                    Ok(_) => return Ok(true),
                    Err(Refusal::Missing(_)) => return Ok(false),
                    Err(refusal) => refusal,
                }
            }
        };
        match refusal {
            Refusal::Stale(_) if !refreshed => {
                refreshed = true;
                resources = ingestor.resources_after(&resources, deadline).await?;
            }
            refusal => return Err(refusal.into_error()),
        }
    }
}
