//! Which way is taken, and why: what the setting says, or what the cluster offers. Asks the ingestion endpoint and
//! keeps nothing.

use super::super::{Client, Error};
use super::classic::{self, Lent};
use super::rest::{self, Configuration};
use super::signed::Signed;
use super::way::{Choice, Queues, Way};
use crate::timestamp::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// How long what is lent is used, as in all SDKs.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A way that can be taken now.
pub(super) struct Route {
    pub way: Way,
    /// Where blobs go, unless into the app's own store.
    pub containers: Vec<Signed>,
    /// How long it is good for.
    pub lifetime: Duration,
    /// In words.
    pub reason: String,
}

impl Route {
    fn new(way: Way, containers: Vec<Signed>, reason: impl Into<String>) -> Self {
        Self { way, containers, lifetime: LIFETIME, reason: reason.into() }
    }

    /// The same as it was lent at `now`. Signatures that have ended by then are told of: they or this machine's clock are wrong.
    pub fn lent(self, now: Timestamp) -> Self {
        let lent = |all: Vec<Signed>| -> Vec<Signed> { all.into_iter().map(|signed| signed.lent(now)).collect() };
        let containers = lent(self.containers);
        let way = match self.way {
            Way::Queued(Queues { queues, identity_token, status_table }) => Way::Queued(Queues {
                queues: lent(queues),
                identity_token,
                status_table: status_table.map(|table| table.lent(now)),
            }),
            other => other,
        };
        if !containers.is_empty() && !containers.iter().any(|container| container.is_live(now)) {
            tracing::warn!(
                clock = %now,
                "all signatures that the service lends have ended by this machine's clock; storage decides about them"
            );
        }
        Self { way, containers, ..self }
    }
}

/// Finds the way that `choice` asks for.
pub(super) async fn find(client: &Client, choice: Choice, deadline: Instant) -> Result<Route, Error> {
    match choice {
        Choice::Auto => Offered::ask(client, deadline).await?.best(client, deadline).await,
        Choice::Queued => {
            let lent = classic::lent(client, deadline).await?;
            queued(client, lent, "the setting names it".to_owned(), deadline).await
        }
        Choice::Rest => match rest::configuration(client, deadline).await {
            Ok(configuration) => by_rest(configuration, "the setting names it".to_owned()),
            Err(Error::NotFound { what } | Error::NotOffered { what }) => Err(no_rest(&what)),
            Err(error) => Err(error),
        },
        Choice::Direct => match classic::lent(client, deadline).await {
            Ok(Lent { containers, .. }) if !containers.is_empty() => {
                Ok(Route::new(Way::Direct, containers, "the setting names it"))
            }
            Ok(_) => {
                Ok(Route::new(Way::Inline, Vec::new(), "the setting names it, and the cluster lends no container"))
            }
            Err(error) if is_unknown(&error) => {
                Ok(Route::new(Way::Inline, Vec::new(), "the setting names it, and nothing there lends a container"))
            }
            Err(error) => Err(error),
        },
    }
}

/// The queues, for a cluster that announces REST and takes no request by it, as it `said`.
pub(super) async fn without_rest(client: &Client, said: &str, deadline: Instant) -> Result<Route, Error> {
    let nowhere = |lent: &str| {
        Error::invalid(format!(
            "the cluster's configuration announces queued ingestion over REST, which is not there ({said}), and {lent}; \
             set ADX_INGESTION=direct if the tables are small, or ADX_INGEST_URI to the ingestion URI of the cluster"
        ))
    };
    match classic::lent(client, deadline).await {
        Ok(lent) if lent.is_complete() => {
            let reason = format!("the cluster's configuration announces REST, which is not there: {said}");
            queued(client, lent, reason, deadline).await
        }
        Ok(_) => Err(nowhere("it lends no queue")),
        Err(error) if is_unknown(&error) => Err(nowhere(&format!("it knows nothing of queues ({error})"))),
        Err(error) => Err(error),
    }
}

/// What a setting asks for is not there.
pub(super) fn no_rest(said: &str) -> Error {
    Error::invalid(format!(
        "the cluster has no queued ingestion over REST ({said}); set ADX_INGESTION to auto or queued"
    ))
}

/// Whether an endpoint does not know what it was asked, as an emulator's does not: it has no data management.
fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::Refused { permanent: true, .. } | Error::NotFound { .. })
}

/// What a cluster offers.
struct Offered {
    /// Its configuration, or why it is not known.
    configuration: Result<Configuration, Error>,
    /// What it lends, or why that is not known.
    lent: Result<Lent, Error>,
}

impl Offered {
    /// Asks; what it prefers settles it, so that nothing more is asked then.
    async fn ask(client: &Client, deadline: Instant) -> Result<Self, Error> {
        let configuration = match rest::configuration(client, deadline).await {
            Err(error @ Error::Outbound(_)) => return Err(error),
            asked => asked,
        };
        let settled = configuration.as_ref().is_ok_and(|known| known.prefers_rest && !known.containers.is_empty());
        let lent = if settled { Ok(Lent::default()) } else { classic::lent(client, deadline).await };
        Ok(Self { configuration, lent })
    }

    async fn best(self, client: &Client, deadline: Instant) -> Result<Route, Error> {
        let Self { configuration, lent } = self;
        let (configuration, unknown) = match configuration {
            Ok(configuration) => (Some(configuration), None),
            Err(error) => (None, Some(error)),
        };
        match (configuration, lent) {
            (Some(known), _) if known.prefers_rest && !known.containers.is_empty() => {
                by_rest(known, "the cluster's configuration prefers it".to_owned())
            }
            (known, Ok(lent)) if lent.is_complete() => {
                let reason = match (known, unknown) {
                    (Some(known), _) if known.containers.is_empty() && known.lake_folders > 0 => {
                        "the cluster lends queues, and for REST only lake folders, which are not used".to_owned()
                    }
                    (Some(_), _) => "the cluster lends queues, and its configuration does not prefer REST".to_owned(),
                    (None, Some(Error::NotFound { .. } | Error::NotOffered { .. })) => {
                        "the cluster lends queues and knows no REST".to_owned()
                    }
                    (None, error) => {
                        let said = error.map(|error| error.to_string()).unwrap_or_default();
                        format!("the cluster lends queues, and what it has for REST is not known: {said}")
                    }
                };
                queued(client, lent, reason, deadline).await
            }
            // Not silent for good: it is only not known now.
            (_, Err(error)) if !is_unknown(&error) => Err(error),
            (Some(known), _) => by_rest(known, "the cluster lends no queue".to_owned()),
            // Only a service on this machine is spoken to over plain http.
            (None, Err(_)) if client.ingestion_url().scheme() == "http" => {
                Ok(Route::new(Way::Inline, Vec::new(), "there is no data management, as at an emulator"))
            }
            (None, Err(error)) => Err(Error::invalid(format!(
                "{} does not know the commands of an ingestion endpoint ({error}); set ADX_INGEST_URI to the cluster's ingestion \
                 URI, or ADX_INGESTION to direct for a cluster without one",
                client.ingestion_url()
            ))),
            (None, Ok(_)) => Err(lends_too_little()),
        }
    }
}

async fn queued(client: &Client, lent: Lent, reason: String, deadline: Instant) -> Result<Route, Error> {
    if !lent.is_complete() {
        return Err(lends_too_little());
    }
    let Lent { containers, queues, status_table } = lent;
    let identity_token = classic::identity_token(client, deadline).await?;
    Ok(Route::new(Way::Queued(Queues { queues, identity_token, status_table }), containers, reason))
}

fn lends_too_little() -> Error {
    Error::invalid(
        "the ingestion endpoint lends no TempStorage or no SecuredReadyForAggregationQueue; set ADX_INGESTION to auto, rest or \
         direct",
    )
}

/// Blobs go into containers alone: a lake wants tokens of another service, and other requests.
fn by_rest(configuration: Configuration, reason: String) -> Result<Route, Error> {
    let Configuration { containers, lake_folders, refresh, .. } = configuration;
    if containers.is_empty() && lake_folders > 0 {
        return Err(Error::invalid(format!(
            "the cluster takes uploads into lake folders only ({lake_folders} in its ingestion configuration), which this app does \
             not write to; set ADX_INGESTION=queued if it also lends queues, or ADX_INGESTION=direct for tables that are small"
        )));
    }
    if containers.is_empty() {
        return Err(Error::invalid(
            "the cluster's ingestion configuration lends no container to upload to; set ADX_INGESTION=queued"
                .to_owned(),
        ));
    }
    let lifetime = refresh.unwrap_or(LIFETIME).clamp(Duration::from_secs(60), LIFETIME);
    Ok(Route { lifetime, ..Route::new(Way::Rest, containers, reason) })
}
