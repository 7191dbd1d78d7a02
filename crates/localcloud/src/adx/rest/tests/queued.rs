//! Queued ingestion over REST.

use super::*;
use crate::adx::QueuedRest;
use crate::adx::ingestion::Mishap;
use crate::source::Dice;
use crate::source::guid;

const QUEUED: &str = "/v1/rest/ingestion/queued/defender/T";

struct Submitting {
    cloud: Cloud,
    token: String,
    setup: Setup,
}

async fn submitting(queued_rest: QueuedRest) -> Submitting {
    let ingestion = ingestion::Settings { delay: Duration::ZERO, ..ingestion::Settings::default() };
    let cloud = Cloud::start(cloud::Settings { ingestion, queued_rest, ..cloud::Settings::default() }).unwrap();
    cloud.adx().run(".create table T (A:long, Id:string)").unwrap();
    let token = cloud.tokens().issue("app", KUSTO, &[]).token;
    Submitting { cloud, token, setup: setup().await }
}

impl Submitting {
    async fn get(&self, path: &str) -> Answer {
        let request = self.setup.http.get(format!("{}{path}", self.cloud.url())).bearer_auth(&self.token);
        self.setup.send(request).await
    }

    async fn post(&self, body: &Json) -> Answer {
        let request = self.setup.http.post(format!("{}{QUEUED}", self.cloud.url())).bearer_auth(&self.token);
        self.setup.send(request.body(body.to_string())).await
    }

    async fn upload(&self, name: &str, content: &'static str) -> String {
        let configuration = self.get("/v1/rest/ingestion/configuration").await.json();
        let container = configuration["containerSettings"]["containers"][0]["path"].as_str().unwrap().to_owned();
        let blob = container.replacen('?', &format!("/{name}?"), 1);
        let put = self.setup.http.put(&blob).header("x-ms-blob-type", "BlockBlob").body(content);
        assert_eq!(self.setup.send(put).await.status, 201);
        blob
    }

    /// The status of an operation once it is final.
    async fn ended(&self, operation: &str) -> Json {
        let path = format!("{QUEUED}/{}?details=true", operation.replace(';', "%3B"));
        let ended = async {
            loop {
                let answer = self.get(&path).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                if answer.json()["status"]["InProgress"] == 0 {
                    return answer.json();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap()
    }
}

fn properties(more: &[(&str, Json)]) -> Json {
    let mut properties = json!({ "format": "multijson", "enableTracking": true });
    more.iter().for_each(|(name, value)| properties[*name] = value.clone());
    properties
}

fn operation(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["ingestionOperationId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_operation_tells_of_each_of_its_blobs() {
    let submitting = submitting(QueuedRest::Preferred).await;
    let configuration = submitting.get("/v1/rest/ingestion/configuration").await.json();
    assert_eq!(configuration["ingestionSettings"]["preferredIngestionMethod"], "REST");
    let good = submitting.upload("a.multijson", r#"{"A":7,"Id":"x"}"#).await;
    let bad = submitting.upload("b.multijson", r#"{"A":"#).await;
    let id = guid(Dice::new(1)).to_string();
    let blobs = json!([{ "url": good, "sourceId": id, "rawSize": 16 }, { "url": bad }]);
    let answer = submitting.post(&json!({ "blobs": blobs, "properties": properties(&[]) })).await;
    let told = submitting.ended(&operation(&answer)).await;
    assert_eq!(told["status"], json!({ "Succeeded": 1, "Failed": 1, "InProgress": 0, "Canceled": 0 }));
    let [landed, failed] = [&told["details"][0], &told["details"][1]];
    assert_eq!([&landed["sourceId"], &landed["status"]], [&json!(id), &json!("Succeeded")]);
    assert_eq!([&failed["errorCode"], &failed["failureStatus"]], ["BadRequest_InvalidBlob", "Permanent"]);
    assert!(!told.to_string().contains("sig="), "{told}");
    assert_eq!(submitting.cloud.adx().run("T").unwrap().texts("Id"), ["x"]);
    assert_eq!(submitting.get(&format!("{QUEUED}/none")).await.status, 404);
}

#[tokio::test]
async fn tags_keep_a_repetition_out_and_a_lost_one_stays_in_progress() {
    let submitting = submitting(QueuedRest::Offered).await;
    let blob = submitting.upload("a.multijson", r#"{"A":7,"Id":"x"}"#).await;
    let keyed = [("tags", json!(["ingest-by:k", "drop-by:d"])), ("ingestIfNotExists", json!(["k"]))];
    let body = json!({ "blobs": [{ "url": blob }], "properties": properties(&keyed) });
    submitting.cloud.ingestion().script("k", [Some(Mishap::Lost)]);
    let lost = operation(&submitting.post(&body).await);
    let first = submitting.ended(&operation(&submitting.post(&body).await)).await;
    assert_eq!(first["status"]["Succeeded"], 1, "{first}");
    let second = submitting.ended(&operation(&submitting.post(&body).await)).await;
    assert_eq!(second["details"][0]["errorCode"], "Skipped_IngestByTagAlreadyExists");
    assert_eq!(submitting.cloud.adx().run("T | count").unwrap().texts("Count"), ["1"]);
    let waiting = submitting.get(&format!("{QUEUED}/{}", lost.replace(';', "%3B"))).await.json();
    assert_eq!((&waiting["status"]["InProgress"], waiting.get("details")), (&json!(1), None));
    let untracked = json!({ "blobs": [{ "url": blob }], "properties": { "format": "multijson" } });
    assert_eq!(operation(&submitting.post(&untracked).await), "");
}

#[tokio::test]
async fn what_is_no_submission_is_refused_and_some_clusters_know_none() {
    let submitting = submitting(QueuedRest::Offered).await;
    let blob = |number: usize| json!({ "url": format!("http://x/{number}") });
    for body in [
        json!({}),
        json!({ "blobs": [], "properties": properties(&[]) }),
        json!({ "blobs": [blob(1), blob(1)], "properties": properties(&[]) }),
        json!({ "blobs": (0..21).map(blob).collect::<Vec<_>>(), "properties": properties(&[]) }),
        json!({ "blobs": [blob(1)], "properties": { "enableTracking": true } }),
        json!({ "blobs": [blob(1)], "properties": properties(&[("tags", json!("[\"a\"]"))]) }),
        json!({ "blobs": [{ "url": "u", "sourceId": "x" }], "properties": properties(&[]) }),
        json!({ "blobs": [blob(1)], "properties": properties(&[("ingestionmapping", json!("[]"))]) }),
        json!({ "blobs": [blob(1)], "properties": properties(&[("RetainBlobOnSuccess", json!(true))]) }),
        json!({ "blobs": [{ "url": "u", "size": 1 }], "properties": properties(&[]) }),
        json!({ "blobs": [blob(1)], "properties": properties(&[]), "database": "defender" }),
    ] {
        assert_eq!(submitting.post(&body).await.status, 400, "{body}");
    }
    let without = self::submitting(QueuedRest::Absent).await;
    assert_eq!(without.get("/v1/rest/ingestion/configuration").await.status, 404);
    assert_eq!(without.post(&json!({})).await.status, 404);
    let announcing = self::submitting(QueuedRest::Announced).await;
    let told = announcing.get("/v1/rest/ingestion/configuration").await.json();
    assert_eq!(told["ingestionSettings"]["preferredIngestionMethod"], "REST");
    assert_eq!(announcing.post(&json!({})).await.status, 404);
    assert_eq!(announcing.get(&format!("{QUEUED}/none")).await.status, 404);
}
