//! What a cluster is configured for (dataexplorer-docs `management/data-ingestion/queued-ingest-configuration-http.md`).

use super::super::super::table::timespan_ticks;
use super::super::super::{Client, Error};
use super::super::signed::{self, Signed};
use super::{elements, member, text};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// How REST is named among the preferred methods: the page's table has the first, its samples the second.
const REST: [&str; 2] = ["V2", "REST"];

/// What is read of it.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Configuration {
    /// Where blobs may go.
    pub containers: Vec<Signed>,
    /// How many folders of a lake are lent.
    pub lake_folders: usize,
    /// Whether the cluster would have REST rather than its queues.
    pub prefers_rest: bool,
    /// How long it is good for, if it says so.
    pub refresh: Option<Duration>,
}

/// Asks for it.
pub(in super::super) async fn configuration(client: &Client, deadline: Instant) -> Result<Configuration, Error> {
    Configuration::read(&client.dm_get(&["configuration"], None, deadline).await?)
}

impl Configuration {
    fn read(answer: &Value) -> Result<Self, Error> {
        let (Some(storage), Some(ingestion)) =
            (member(answer, "containerSettings"), member(answer, "ingestionSettings"))
        else {
            return Err(Error::corrupt("an ingestion configuration without containerSettings or ingestionSettings"));
        };
        let containers = elements(storage, "containers").iter().map(|lent| text(lent, "path"));
        let preferred = text(ingestion, "preferredIngestionMethod");
        Ok(Self {
            containers: signed::usable(containers)?,
            lake_folders: elements(storage, "lakeFolders").len(),
            prefers_rest: REST.iter().any(|name| name.eq_ignore_ascii_case(preferred)),
            refresh: timespan(text(storage, "refreshInterval")),
        })
    }
}

/// A `timespan`; `None` for what is none, or no time at all.
fn timespan(text: &str) -> Option<Duration> {
    let ticks = u64::try_from(timespan_ticks(text)?).ok().filter(|ticks| *ticks > 0)?;
    Some(Duration::from_nanos(ticks.checked_mul(100)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_is_read_whatever_the_case_of_its_names() {
        let lent = json!([{"path": "https://a.blob.core.windows.net/c?sig=x"}]);
        for method in ["V2", "v2", "REST", "Rest"] {
            let answer = json!({
                "containerSettings": {"containers": lent, "lakeFolders": null, "refreshInterval": "00:30:00", "preferredUploadMethod": "Storage"},
                "ingestionSettings": {"maxBlobsPerBatch": 20, "preferredIngestionMethod": method},
            });
            let read = Configuration::read(&answer).unwrap();
            assert!(read.prefers_rest, "{method}");
            assert_eq!(
                (read.containers.len(), read.lake_folders, read.refresh),
                (1, 0, Some(Duration::from_secs(1_800)))
            );
        }
        let folders = json!([{"Path": "https://onelake.dfs.fabric.microsoft.com/w/i/Ingestions"}]);
        let answer = json!({
            "ContainerSettings": {"LakeFolders": folders, "PreferredUploadMethod": "Lake"},
            "IngestionSettings": {"PreferredIngestionMethod": "V1"},
        });
        let read = Configuration::read(&answer).unwrap();
        assert_eq!(read, Configuration { containers: vec![], lake_folders: 1, prefers_rest: false, refresh: None });
        for method in ["V1", "Legacy", "", "Queue"] {
            let answer = json!({"containerSettings": {}, "ingestionSettings": {"preferredIngestionMethod": method}});
            assert!(!Configuration::read(&answer).unwrap().prefers_rest, "{method}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_corrupt() {
        let insecure = json!({
            "containerSettings": {"containers": [{"path": "http://a.example/c?sig=x"}]}, "ingestionSettings": {},
        });
        for answer in [json!({}), json!([]), json!(null), json!({"containerSettings": {}}), insecure] {
            assert!(matches!(Configuration::read(&answer), Err(Error::Corrupt { .. })), "{answer}");
        }
    }

    #[test]
    fn containers_that_cannot_be_used_are_left_out() {
        let lent = json!([{"path": null}, {"path": "http://a.example/c?sig=x"}, {"path": "https://a.example/c?sig=x"}]);
        let answer = json!({"containerSettings": {"containers": lent}, "ingestionSettings": {}});
        assert_eq!(Configuration::read(&answer).unwrap().containers.len(), 1);
    }

    #[test]
    fn intervals_are_read() {
        for (text, seconds) in [("01:00:00", 3_600), ("00:00:30", 30), ("1.02:00:00", 93_600)] {
            assert_eq!(timespan(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "1:2", "a:b:c", "-01:00:00", "00:00:00"] {
            assert_eq!(timespan(text), None, "{text}");
        }
    }
}
