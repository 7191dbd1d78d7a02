//! Plain rows against packed ones, through the product's own client, on the simulated cloud: what the services write in their own
//! ways, decoded, is cell by cell what the engine packs. Every KQL type, every documented table, all three services.

use crate::identity::Identity;
use adxingestor::defender::{Client, Dialect, Error, Limits, Query, Reader};
use adxingestor::outbound::{Outbound, TrustedHosts, http_client};
use localcloud::clock::{Clock, SystemClock};
use localcloud::cloud::{Cloud, Settings};
use localcloud::entra::{GRAPH, MDE, XDR};
use localcloud::source::{self, TableOptions, TableSettings};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

const SERVICES: [(&str, &str); 3] =
    [("/v1.0/security/runHuntingQuery", GRAPH), ("/api/advancedhunting/run", XDR), ("/api/advancedqueries/run", MDE)];

fn cloud(tables: Vec<TableSettings>) -> Settings {
    let mut settings =
        Settings { source: source::Settings { seed: 3, tables, ..Default::default() }, ..Settings::default() };
    settings.hunting.limits.calls.clear();
    settings
}

fn client(cloud: &Cloud, path: &str, resource: &str) -> Client {
    let trusted = TrustedHosts::new(vec!["127.0.0.1".to_owned()]);
    let identity = Arc::new(Identity(Arc::clone(cloud.tokens())));
    let outbound = Outbound::new(http_client().unwrap(), identity, trusted);
    let url = Url::parse(&format!("{}{path}", cloud.url())).unwrap();
    Client::new(outbound, url, resource.to_owned(), Limits::default())
}

/// The rows of an answer in an order of their own: none is promised.
async fn rows(client: &Client, query: &str, mut reader: Reader) -> Result<Vec<String>, Error> {
    let mut packed = client.packed(&Query::new(query), Instant::now() + Duration::from_secs(60)).await?;
    let mut out = Vec::new();
    while let Some(piece) = packed.next().await? {
        reader.feed(&piece, &mut out)?;
    }
    let scan = reader.finish()?;
    let lines = out.split_inclusive(|byte| *byte == b'\n');
    let mut rows: Vec<String> = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap().to_string()).collect();
    assert_eq!((scan.rows, scan.raw_bytes), (rows.len() as u64, out.len() as u64));
    rows.sort();
    Ok(rows)
}

/// Asks for the rows of `query` packed and plain, in both formats, of all services.
async fn assert_equal(cloud: &Cloud, query: &str) -> Vec<String> {
    let mut full = Vec::new();
    for (path, resource) in SERVICES {
        let client = client(cloud, path, resource);
        for (compact, pack) in [(true, "pack_all(true)"), (false, "pack_all()")] {
            let packing = format!("{query}\n| project Row = tostring({pack})");
            let packed = rows(&client, &packing, Reader::packed()).await.unwrap();
            let plain = rows(&client, query, Reader::plain(client.dialect(), compact)).await.unwrap();
            for (packed, plain) in packed.iter().zip(&plain) {
                assert_eq!(plain, packed, "{path}, {pack}: {query}");
            }
            assert_eq!((plain.len(), packed.is_empty()), (packed.len(), false), "{path}, {pack}: {query}");
            full = packed;
        }
    }
    full
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_comes_out_plain_as_it_comes_out_packed() {
    let cloud = Cloud::start(cloud(Vec::new())).unwrap();
    let row = |what: &str| format!("({what})");
    let values = [
        "On = true, Count = int(-2147483648), Id = long(639199803770463703), Ratio = real(0.1), Price = decimal(12345678901234567890.123), \
         Text = 'a\"b\\\\c\\n\\u20ac', At = datetime(2026-07-23T18:03:20.928Z), Span = timespan(-1.02:03:04.5), \
         Key = guid(74be27de-1e4e-49d9-b579-fe0b331d3642), Bag = dynamic({'a':{'b':[1,2.5,null,'x',true]},'e':{},'n':null}), LogonId = 1, LogonID = 2",
        "On = false, Count = int(2147483647), Id = long(-9223372036854775808), Ratio = real(nan), Price = decimal(0.1), Text = '', \
         At = datetime(2026-07-23T18:03:20Z), Span = time(0), Key = guid(00000000-0000-0000-0000-000000000000), \
         Bag = dynamic([{'a':1,'b':[{}]},[],'text',{}]), LogonId = 9223372036854775807, LogonID = -1",
        "On = bool(null), Count = int(null), Id = long(null), Ratio = real(null), Price = decimal(null), Text = '{\"json\":[1]}', \
         At = datetime(null), Span = timespan(null), Key = guid(null), Bag = dynamic(null), LogonId = long(null), LogonID = long(null)",
        "On = true, Count = 0, Id = 9007199254740993, Ratio = real(+inf), Price = decimal(1), Text = '2026-07-23T18:03:20Z', \
         At = datetime(2024-03-26T09:39:50.7688641Z), Span = 7d, Key = guid(null), Bag = dynamic({}), LogonId = 0, LogonID = 0",
        "On = true, Count = 1, Id = 1, Ratio = real(-inf), Price = decimal(-1), Text = '\\u0000\\u001f\\ud83d\\ude00', \
         At = datetime(0001-01-01), Span = 1tick, Key = guid(null), Bag = dynamic(['a','b']), LogonId = 0, LogonID = 0",
        "On = true, Count = 1, Id = 1, Ratio = real(7), Price = decimal(7), Text = 'x', At = datetime(9999-12-31T23:59:59.9999999Z), \
         Span = 1tick, Key = guid(null), Bag = dynamic(9007199254740993), LogonId = 0, LogonID = 0",
    ];
    let query = format!("union {}", values.map(|value| row(&format!("print {value}"))).join(", "));
    let rows = assert_equal(&cloud, &query).await;
    let document = rows.join("\n");
    assert_eq!(rows.len(), values.len());
    // Not only equal to each other: what would be lost first is there.
    for kept in [
        "639199803770463703",
        "-9223372036854775808",
        "9007199254740993",
        r#""On":false"#,
        r#""On":null"#,
        r#"[{"a":1,"b":[{}]},[],"text",{}]"#,
        r#""At":"2026-07-23T18:03:20.9280000Z""#,
        r#""Ratio":"Infinity""#,
        r#""LogonID":2,"LogonId":1"#,
    ] {
        assert!(document.contains(kept), "{kept}: {document}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_table_comes_out_plain_as_it_comes_out_packed() {
    let now = SystemClock.now();
    let options = TableOptions { null_timestamps_per_mille: 200, ..TableOptions::default() };
    let names: Vec<String> = source::documented().unwrap().into_keys().collect();
    let table = |name: &String| TableSettings::new(name, 25, now - 1_000_000_000, now - 1).with(options.clone());
    let cloud = Cloud::start(cloud(names.iter().map(table).collect())).unwrap();
    for name in &names {
        let query =
            format!("{name}\n| extend Watermark_IngestionTime = ingestion_time()\n| extend _ChunkId = \"0f2a\"");
        assert_eq!(assert_equal(&cloud, &query).await.len(), 25, "{name}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_know_how_to_pack_says_so() {
    let now = SystemClock.now();
    let mut settings = cloud(vec![TableSettings::new("DeviceEvents", 5, now - 1_000_000, now - 1)]);
    settings.hunting.refuse_pack = true;
    let cloud = Cloud::start(settings).unwrap();
    let graph = client(&cloud, SERVICES[0].0, SERVICES[0].1);
    let refused =
        rows(&graph, "DeviceEvents | project Row = tostring(pack_all())", Reader::packed()).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { .. }) && !refused.is_unknown_table(), "{refused}");
    let plain = rows(&graph, "DeviceEvents", Reader::plain(Dialect::Graph, true)).await.unwrap();
    assert_eq!(plain.len(), 5);
}

#[tokio::test]
async fn a_row_of_a_column_that_is_new_has_it_and_the_rows_before_it_have_none() {
    let now = SystemClock.now();
    let cloud = Cloud::start(cloud(vec![TableSettings::new("DeviceEvents", 5, now - 1_000_000, now - 2)])).unwrap();
    cloud.source().add_column("DeviceEvents", "BrandNew", localcloud::kql::Type::Bool).unwrap();
    cloud.source().append("DeviceEvents", 5, now - 1, now - 1).unwrap();
    let rows = assert_equal(&cloud, "DeviceEvents").await;
    let new = |value: Value| rows.iter().filter(|row| row.contains(&format!("\"BrandNew\":{value}"))).count();
    assert!(new(json!(null)) >= 5 && new(json!(true)) + new(json!(false)) > 0, "{rows:?}");
}
