//! Set-ups that are broken in one way each.

use super::scene::{CLIENT, SECRET, Scene};
use axum::http::StatusCode;
use localcloud::cloud::Settings as CloudSettings;
use localcloud::entra::App;
use localcloud::faults::{Area, Fault};

/// A set-up, and what has to be said of it.
pub struct Broken {
    pub name: &'static str,
    pub breaks: fn() -> Scene,
    /// The checks that fail, with a part of each remedy.
    pub fails: &'static [(&'static str, &'static str)],
    /// The checks that warn, with a part of each remedy.
    pub warns: &'static [(&'static str, &'static str)],
}

const fn fails(name: &'static str, breaks: fn() -> Scene, fails: &'static [(&'static str, &'static str)]) -> Broken {
    Broken { name, breaks, fails, warns: &[] }
}

const fn warns(name: &'static str, breaks: fn() -> Scene, warns: &'static [(&'static str, &'static str)]) -> Broken {
    Broken { name, breaks, fails: &[], warns }
}

fn with(settings: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::healthy();
    for (name, value) in settings {
        let cloud = scene.cloud.url();
        scene.set(name, &value.replace("{cloud}", &cloud));
    }
    scene
}

fn after(csl: &[&str]) -> Scene {
    let scene = Scene::healthy();
    csl.iter().for_each(|csl| scene.adx(csl));
    scene
}

fn granted(roles: &[&str]) -> Scene {
    let scene = Scene::healthy();
    scene.grant(roles);
    scene
}

fn hunting(fault: Fault) -> Scene {
    let scene = Scene::healthy();
    scene.cloud.faults().always(Area::Hunting, &[], fault);
    scene
}

/// A storage account that refuses every request so.
fn storage_that_says(code: &'static [(&'static str, &'static str)]) -> Scene {
    let mut scene = Scene::healthy();
    let url = format!("{}/contoso", scene.answering((StatusCode::FORBIDDEN, code, "")));
    scene.set("STATE_STORE", "azure");
    let connection = format!(
        "AccountName=contoso;AccountKey=c2VjcmV0LWtleQ==;BlobEndpoint={url};QueueEndpoint={url};TableEndpoint={url}"
    );
    scene.set("AzureWebJobsStorage", &connection);
    scene
}

/// A cluster that answers every request so.
fn cluster_that_says(status: StatusCode, body: &'static str) -> Scene {
    let mut scene = Scene::healthy();
    let url = scene.answering((status, &[("content-type", "text/html")], body));
    scene.set("ADX_CLUSTER_URI", &url);
    scene
}

/// An app registration with a secret that has all roles in the database, and these at Graph.
fn registered(roles: &[&str]) -> Scene {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let app = App { client_id: CLIENT.to_owned(), secret: SECRET.to_owned(), roles };
    let mut scene = Scene::over(CloudSettings { apps: vec![app], ..CloudSettings::default() });
    scene.with_secret(SECRET);
    let tenant = scene.setting("AZURE_TENANT_ID").to_owned();
    scene.adx(&format!(".add database Defender admins ('aadapp={CLIENT};{tenant}')"));
    scene
}

/// A destination belongs to a ledger.
fn owned() -> Scene {
    after(&[
        ".set-or-append meta_Ledger <| print SourceTable='DeviceEvents', DestinationTable='DeviceEvents', LedgerId='another', \
         CutAxis='arrival', VerifiedUpTo=datetime(2026-01-01), UpdatedAt=datetime(2026-01-01)",
    ])
}

pub const BROKEN: &[Broken] = &[
    fails(
        "a setting that has to be there is not",
        || {
            let mut scene = Scene::healthy();
            scene.unset("ADX_CLUSTER_URI");
            scene
        },
        &[("settings.ADX_CLUSTER_URI", "the URI on the Overview page of the cluster")],
    ),
    fails(
        "a setting that cannot be read",
        || with(&[("HUNTING_CALLS_PER_MINUTE", "many")]),
        &[("settings.HUNTING_CALLS_PER_MINUTE", "az functionapp config appsettings set")],
    ),
    fails(
        "several settings at once",
        || {
            with(&[
                ("CHUNK_SIZE", "0"),
                ("REPAIR", "maybe"),
                ("TABLE_RETENTION__DeviceEvents", "long"),
                ("STATE_STORE", "x"),
            ])
        },
        &[
            ("settings.REPAIR", "set REPAIR"),
            ("settings.TABLE_RETENTION__DeviceEvents", "set TABLE_RETENTION__DeviceEvents"),
            ("settings.CHUNK_SIZE", "set CHUNK_SIZE"),
            ("settings.STATE_STORE", "set STATE_STORE"),
        ],
    ),
    fails(
        "a file of settings that is no JSON",
        || {
            let scene = Scene::healthy();
            std::fs::write(scene.folder.path().join("local.settings.json"), "{ not json").unwrap();
            scene
        },
        &[("settings.local.settings.json", "--app-root")],
    ),
    fails("half an identity", || with(&[("AZURE_CLIENT_SECRET", SECRET)]), &[("identity.kind", "AZURE_CLIENT_ID")]),
    fails(
        "a wrong client secret",
        || {
            let mut scene = Scene::healthy();
            scene.with_secret("another");
            scene
        },
        &[
            ("identity.hunting_token", "set AZURE_CLIENT_SECRET to the value of a client secret"),
            ("identity.adx_token", "set AZURE_CLIENT_SECRET to the value of a client secret"),
        ],
    ),
    fails(
        "a tenant that is not there",
        || {
            let mut scene = Scene::healthy();
            scene.with_secret(SECRET);
            scene.set("AZURE_TENANT_ID", "00000000-0000-4000-8000-000000000000");
            scene
        },
        &[
            ("identity.hunting_token", "AZURE_TENANT_ID is not a tenant"),
            ("identity.adx_token", "AZURE_TENANT_ID is not a tenant"),
        ],
    ),
    fails(
        "no permission to hunt",
        || Scene::over(CloudSettings { managed_identity_roles: Vec::new(), ..CloudSettings::default() }),
        &[("defender.permission", "grant ThreatHunting.Read.All: `az rest --method POST")],
    ),
    fails(
        "a token for another service",
        || with(&[("DEFENDER_RESOURCE_URI", "https://kusto.kusto.windows.net")]),
        &[("defender.permission", "set DEFENDER_RESOURCE_URI=https://graph.microsoft.com")],
    ),
    fails(
        "a hunting address where nothing is",
        || with(&[("DEFENDER_HUNTING_API_URL", "{cloud}/v1.0/security/nothing")]),
        &[("defender.endpoint", "set DEFENDER_HUNTING_API_URL=https://graph.microsoft.com")],
    ),
    fails(
        "a proxy that answers with a page",
        || hunting(Fault::Page),
        &[("defender.endpoint", "without a proxy that answers in its place")],
    ),
    fails(
        "a hunting host that is not trusted",
        || with(&[("DEFENDER_HUNTING_API_URL", "https://hunting.example/v1.0/security/runHuntingQuery")]),
        &[("defender.endpoint", "add hunting.example to TRUSTED_HOSTS")],
    ),
    fails(
        "source tables that the tenant does not have",
        || {
            let scene = Scene::healthy();
            scene.configure("DeviceNothing", "DeviceNothing");
            scene.configure("deviceevents", "Lower");
            scene
        },
        &[
            ("defender.table.DeviceNothing", "IsActive to false for DeviceNothing"),
            ("defender.table.deviceevents", "IsActive to false for deviceevents"),
        ],
    ),
    fails(
        "a cluster that is not reached",
        || with(&[("ADX_CLUSTER_URI", "http://127.0.0.1:1")]),
        &[("adx.cluster", "see that the cluster is running there")],
    ),
    fails(
        "a cluster that is not trusted",
        || with(&[("ADX_CLUSTER_URI", "https://cluster.example"), ("ADX_INGEST_URI", "{cloud}")]),
        &[("adx.cluster", "add cluster.example to TRUSTED_HOSTS")],
    ),
    fails(
        "an ingestion address that is not reached",
        || with(&[("ADX_INGEST_URI", "http://127.0.0.1:1")]),
        &[("adx.ingestion", "Data Ingestion URI on the Overview page")],
    ),
    fails(
        "a database that is not there",
        || with(&[("ADX_DATABASE", "Elsewhere")]),
        &[("adx.database", "az kusto database list")],
    ),
    fails(
        "an identity that may only ingest",
        || granted(&["ingestors"]),
        &[("adx.viewer", ".add database Defender viewers"), ("adx.user", ".add database Defender users")],
    ),
    fails(
        "an identity that may not ingest",
        || granted(&["viewers", "users"]),
        &[("adx.ingestor", ".add database Defender ingestors")],
    ),
    fails(
        "an identity that may make no tables",
        || granted(&["viewers", "ingestors"]),
        &[("adx.user", ".add database Defender users")],
    ),
    fails(
        "rows are to be removed by an identity that may not",
        || with(&[("REPAIR", "delete")]),
        &[("adx.database_admin", ".add database Defender admins")],
    ),
    fails(
        "a table that lacks a column and belongs to somebody else",
        || after(&[".create table DeviceEvents (Timestamp:datetime, RawData:dynamic)"]),
        &[("adx.table_admin", ".add table DeviceEvents admins")],
    ),
    fails(
        "no table of the configuration",
        || after(&[".drop table meta_MigrationConfiguration"]),
        &[(
            "metadata.config_table",
            "`adxingestor setup --tables recommended --apply`, or `.create-merge table meta_MigrationConfiguration (SourceTable:string",
        )],
    ),
    fails(
        "no view of the configuration",
        || after(&[".drop function vw_meta_LatestMigrationConfiguration"]),
        &[("metadata.config_view", ".create-or-alter function with")],
    ),
    fails(
        "a view of the configuration without a column",
        || {
            after(&[
                ".create-or-alter function vw_meta_LatestMigrationConfiguration() { meta_MigrationConfiguration | project-away LoadType }",
            ])
        },
        &[("metadata.config_view", ".create-or-alter function with")],
    ),
    fails(
        "an audit table with a column of another type",
        || {
            after(&[
                ".drop table meta_MigrationAudit",
                ".create table meta_MigrationAudit (ingestion_id:string, ingestion_timestamp:string)",
            ])
        },
        &[("metadata.audit_table", "set AUDIT_TABLE to a name that is free")],
    ),
    fails(
        "a setting of the audit that names a table of data",
        || {
            let mut scene = after(&[".create table EmailEvents (Timestamp:datetime, RawData:dynamic, ChunkId:string)"]);
            scene.grant(&["viewers", "users", "ingestors"]);
            scene.set("AUDIT_TABLE", "EmailEvents");
            scene
        },
        &[("metadata.audit_table", "set AUDIT_TABLE to a name that is free")],
    ),
    fails(
        "a view of the configuration that shows old rows too",
        || {
            let mut scene = Scene::healthy();
            scene.configure("EmailEvents", "EmailEvents");
            scene.set("CONFIG_VIEW", "meta_MigrationConfiguration");
            scene
        },
        &[("metadata.row.EmailEvents", "set CONFIG_VIEW=vw_meta_LatestMigrationConfiguration")],
    ),
    fails(
        "the product's own view, made so that it shows old rows too",
        || {
            let scene = after(&[
                ".create-or-alter function vw_meta_LatestMigrationConfiguration() { meta_MigrationConfiguration | where IsActive }",
            ]);
            (0..2).for_each(|_| scene.configure("EmailEvents", "EmailEvents"));
            scene
        },
        &[("metadata.row.EmailEvents", ".create-or-alter function with")],
    ),
    fails(
        "a snapshot beside another table in one destination",
        || {
            let scene = Scene::healthy();
            scene.adx(
                ".set-or-append meta_MigrationConfiguration <| meta_MigrationConfiguration | where SourceTable == 'EmailEvents' | \
                 extend LoadType = 'Snapshot', WatermarkColumn = '', DestinationTable = 'DeviceEvents'",
            );
            scene
        },
        &[("metadata.row.EmailEvents", "append a corrected row for this SourceTable")],
    ),
    fails(
        "a row of the configuration with a bad name",
        || {
            let scene = Scene::healthy();
            scene.configure("EmailEvents", "Email | Events");
            scene
        },
        &[("metadata.row.EmailEvents", "append a corrected row for this SourceTable")],
    ),
    fails(
        "a destination with a column of another type",
        || after(&[".create table DeviceEvents (Timestamp:string, RawData:dynamic, ChunkId:string)"]),
        &[("destination.DeviceEvents", "another DestinationTable")],
    ),
    fails(
        "a database that keeps nothing",
        || {
            after(&[
                ".create table DeviceEvents (Timestamp:datetime, RawData:dynamic, ChunkId:string)",
                ".alter-merge table DeviceEvents policy retention softdelete = 0d",
            ])
        },
        &[("destination.DeviceEvents", ".alter-merge table DeviceEvents policy retention softdelete")],
    ),
    fails(
        "a destination of another ledger",
        owned,
        &[("destination.DeviceEvents", "adxingestor adopt --table DeviceEvents")],
    ),
    fails(
        "a destination of another ledger, by another name than its source",
        || {
            let scene = after(&[
                ".set-or-append meta_Ledger <| print SourceTable='EmailEvents', DestinationTable='Mail', LedgerId='another', \
                 CutAxis='arrival', VerifiedUpTo=datetime(2026-01-01), UpdatedAt=datetime(2026-01-01)",
            ]);
            scene.configure("EmailEvents", "Mail");
            scene
        },
        &[("destination.Mail", "adxingestor adopt --table EmailEvents")],
    ),
    warns(
        "settings of the log and of telemetry that cannot be read",
        || {
            with(&[
                ("ADXINGESTOR_LOG_FORMAT", "xml"),
                ("ADXINGESTOR_LOG", "a=b=c"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "nope"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ])
        },
        &[
            ("settings.ADXINGESTOR_LOG", "correct ADXINGESTOR_LOG"),
            ("settings.ADXINGESTOR_LOG_FORMAT", "correct ADXINGESTOR_LOG_FORMAT"),
            ("settings.OTEL_EXPORTER_OTLP_ENDPOINT", "correct OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("settings.OTEL_EXPORTER_OTLP_PROTOCOL", "correct OTEL_EXPORTER_OTLP_PROTOCOL"),
        ],
    ),
    fails(
        "a setting of the state store that is none, where a ledger owns a destination",
        || {
            let mut scene = owned();
            scene.set("STATE_STORE", "foo");
            scene
        },
        &[("settings.STATE_STORE", "set STATE_STORE")],
    ),
    fails(
        "a name of the state's table that is none, where a ledger owns a destination",
        || {
            let mut scene = owned();
            scene.set("STATE_STORE", "azure");
            scene.set("AzureWebJobsStorage", "UseDevelopmentStorage=true");
            scene.set("STATE_TABLE", "1bad");
            scene
        },
        &[("settings.STATE_TABLE", "set STATE_TABLE")],
    ),
    fails(
        "a state store that is another file, where a ledger owns a destination",
        || {
            let scene = owned();
            std::fs::write(scene.folder.path().join("state.db"), "some notes of somebody, no database").unwrap();
            scene
        },
        &[("state.store", "set STATE_STORE=sqlite:PATH")],
    ),
    fails(
        "a wrong key of the storage account",
        || storage_that_says(&[("x-ms-error-code", "AuthenticationFailed")]),
        &[
            ("state.tables", "az storage account show-connection-string --name contoso"),
            ("state.queues", "az storage account show-connection-string --name contoso"),
            ("state.blobs", "az storage account show-connection-string --name contoso"),
        ],
    ),
    fails(
        "a state store where nothing can be made",
        || {
            let mut scene = Scene::healthy();
            // Not even by root.
            scene.set("STATE_STORE", "sqlite:/proc/state.db");
            scene
        },
        &[("state.store", "let the account that runs the app write there")],
    ),
    fails(
        "a state store that is another file",
        || {
            let scene = Scene::healthy();
            std::fs::write(scene.folder.path().join("state.db"), "some notes of somebody, no database").unwrap();
            scene
        },
        &[("state.store", "set STATE_STORE=sqlite:PATH")],
    ),
    fails(
        "a clock that is five minutes behind",
        || Scene::over(CloudSettings { dates_ahead_seconds: Some(300), ..CloudSettings::default() }),
        &[("clock", "timedatectl set-ntp true")],
    ),
    warns(
        "settings without effect",
        || {
            with(&[
                ("MAX_THREAD_WORKERS", "40"),
                ("CHUNK_SIZE", "500000"),
                ("TRUSTED_HOSTS", "127.0.0.1,*.kusto.windows.net"),
                ("TABLE_RETENTION__DeviceEvent", "90d"),
                ("TABLE_CACHING__DeviceEvents", "9d"),
            ])
        },
        &[
            ("settings.MAX_THREAD_WORKERS", "set MAX_THREAD_WORKERS=9"),
            ("settings.CHUNK_SIZE", "set CHUNK_SIZE=99000"),
            ("settings.TRUSTED_HOSTS", "list whole names"),
            ("settings.TABLE_RETENTION__DeviceEvent", "name its DestinationTable"),
        ],
    ),
    warns(
        "a clock that is a minute ahead",
        || Scene::over(CloudSettings { dates_ahead_seconds: Some(-60), ..CloudSettings::default() }),
        &[("clock", "timedatectl set-ntp true")],
    ),
    warns(
        "an endpoint that ends",
        || {
            with(&[
                ("DEFENDER_HUNTING_API_URL", "{cloud}/api/advancedhunting/run"),
                ("DEFENDER_RESOURCE_URI", "https://api.security.microsoft.com"),
            ])
        },
        &[("defender.retirement", "set DEFENDER_HUNTING_API_URL to Microsoft Graph's")],
    ),
    warns(
        "more calls than are documented",
        || with(&[("HUNTING_CALLS_PER_MINUTE", "600")]),
        &[("quota.settings", "set HUNTING_CALLS_PER_MINUTE=45")],
    ),
    warns("a tenant that is throttled", || hunting(Fault::Throttled), &[("quota.now", "HUNTING_QUOTA_SHARE")]),
    warns(
        "nothing to copy",
        || after(&[".clear table meta_MigrationConfiguration data"]),
        &[("metadata.rows", "adxingestor setup --tables recommended --apply")],
    ),
    fails(
        "a schedule that is none",
        || with(&[("NIGHTLY_SCHEDULE", "every night at two")]),
        &[("settings.NIGHTLY_SCHEDULE", "NIGHTLY_SCHEDULE=0 0 2 * * *")],
    ),
    fails(
        "a schedule with an hour that is none, in a time zone that is none",
        || with(&[("NIGHTLY_SCHEDULE", "0 0 25 * * *"), ("WEBSITE_TIME_ZONE", "Middle Earth")]),
        &[
            ("settings.NIGHTLY_SCHEDULE", "second, minute, hour, day, month, weekday"),
            ("settings.WEBSITE_TIME_ZONE", "Flex Consumption knows no other zone than UTC: remove it there"),
        ],
    ),
    fails(
        "an address of a cluster without its scheme",
        || with(&[("ADX_CLUSTER_URI", "contoso.westeurope.kusto.windows.net")]),
        &[("settings.ADX_CLUSTER_URI", "the URI on the Overview page of the cluster")],
    ),
    fails(
        "no hunting call at all",
        || with(&[("HUNTING_CALLS_PER_MINUTE", "0")]),
        &[("settings.HUNTING_CALLS_PER_MINUTE", "set HUNTING_CALLS_PER_MINUTE")],
    ),
    fails(
        "a file of settings that is encrypted",
        || {
            let scene = Scene::healthy();
            let file = scene.folder.path().join("local.settings.json");
            std::fs::write(file, r#"{"IsEncrypted": true, "Values": {"A": "b"}}"#).unwrap();
            scene
        },
        &[("settings.local.settings.json", "local.settings.json")],
    ),
    fails(
        "an authority without TLS",
        || {
            with(&[
                ("AZURE_AUTHORITY_HOST", "http://login.microsoftonline.com"),
                ("AZURE_CLIENT_SECRET", SECRET),
                ("AZURE_CLIENT_ID", CLIENT),
            ])
        },
        &[("identity.kind", "leave AZURE_AUTHORITY_HOST out for the public cloud")],
    ),
    fails(
        "an authority that is not there",
        || {
            let mut scene = Scene::healthy();
            scene.with_secret(SECRET);
            scene.set("AZURE_AUTHORITY_HOST", "https://127.0.0.1:1");
            scene
        },
        &[
            ("identity.hunting_token", "https://127.0.0.1:1 is not the authority of a cloud of Azure"),
            ("identity.adx_token", "https://127.0.0.1:1 is not the authority of a cloud of Azure"),
        ],
    ),
    fails(
        "a proxy that is not there",
        || {
            let mut scene = Scene::healthy();
            scene.behind_a_proxy(SECRET);
            scene.set("HTTPS_PROXY", "http://127.0.0.1:1");
            scene
        },
        &[
            ("identity.hunting_token", "have the proxy let connections to this host through"),
            ("identity.adx_token", "have the proxy let connections to this host through"),
        ],
    ),
    fails(
        "a proxy that is none",
        || with(&[("HTTPS_PROXY", "socks5://127.0.0.1:1080")]),
        &[("settings.HTTPS_PROXY", "set HTTPS_PROXY in the environment"), ("identity.kind", "")],
    ),
    fails(
        "the authority of another cloud than the cluster's",
        || {
            with(&[
                ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us"),
                ("ADX_CLUSTER_URI", "https://contoso.westeurope.kusto.windows.net"),
            ])
        },
        &[("adx.cluster", "set AZURE_AUTHORITY_HOST=https://login.microsoftonline.com, as contoso")],
    ),
    fails(
        "the authority of another cloud than the hunting service's",
        || {
            with(&[
                ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com"),
                ("DEFENDER_HUNTING_API_URL", "https://graph.microsoft.us/v1.0/security/runHuntingQuery"),
                ("DEFENDER_RESOURCE_URI", "https://graph.microsoft.com"),
            ])
        },
        &[("defender.endpoint", "set AZURE_AUTHORITY_HOST=https://login.microsoftonline.us, as graph.microsoft.us")],
    ),
    fails(
        "a secret for an app that the tenant does not have",
        || {
            let mut scene = Scene::healthy();
            scene.with_secret(SECRET);
            scene.set("AZURE_CLIENT_ID", "0f8fad5b-d9cb-469f-a165-70867728950e");
            scene
        },
        &[
            ("identity.hunting_token", "AZURE_CLIENT_ID is not an app of the tenant"),
            ("identity.adx_token", "AZURE_CLIENT_ID is not an app of the tenant"),
        ],
    ),
    fails(
        "an app registration without admin consent",
        || registered(&[]),
        &[("defender.permission", "az ad app permission admin-consent --id 11111111-2222-4333-8444-555555555555")],
    ),
    fails(
        "no endpoint of managed identities",
        || with(&[("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")]),
        &[
            ("identity.hunting_token", "IDENTITY_ENDPOINT does not answer"),
            ("identity.adx_token", "IDENTITY_ENDPOINT does not answer"),
        ],
    ),
    fails(
        "no endpoint of managed identities for the state store either",
        || {
            with(&[
                ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token"),
                ("STATE_STORE", "azure"),
                ("AzureWebJobsStorage__accountName", "contoso"),
            ])
        },
        &[
            ("identity.hunting_token", "IDENTITY_ENDPOINT does not answer"),
            ("identity.adx_token", "IDENTITY_ENDPOINT does not answer"),
            ("state.tables", "AzureWebJobsStorage__clientId"),
            ("state.queues", "AzureWebJobsStorage__clientId"),
            ("state.blobs", "AzureWebJobsStorage__clientId"),
        ],
    ),
    fails(
        "a managed identity that the app does not have",
        || with(&[("AZURE_CLIENT_ID", "0f8fad5b-d9cb-469f-a165-70867728950e")]),
        &[
            ("identity.hunting_token", "az functionapp identity assign --name APP --resource-group GROUP"),
            ("identity.adx_token", "az functionapp identity assign --name APP --resource-group GROUP"),
        ],
    ),
    fails(
        "a user-assigned identity that is not named",
        || {
            let mut scene = Scene::healthy();
            let says = r#"{"statusCode":400,"message":"Unable to load the proper Managed Identity."}"#;
            let url = scene.answering((StatusCode::BAD_REQUEST, &[], says));
            scene.set("IDENTITY_ENDPOINT", &url);
            scene
        },
        &[
            (
                "identity.hunting_token",
                "set AZURE_CLIENT_ID (for the state store AzureWebJobsStorage__clientId) to the client id of its user-assigned one",
            ),
            (
                "identity.adx_token",
                "set AZURE_CLIENT_ID (for the state store AzureWebJobsStorage__clientId) to the client id of its user-assigned one",
            ),
        ],
    ),
    fails(
        "an identity header of somebody else",
        || with(&[("IDENTITY_HEADER", "header-of-another-app")]),
        &[
            ("identity.hunting_token", "take them out of your own settings"),
            ("identity.adx_token", "take them out of your own settings"),
        ],
    ),
    fails(
        "the address of a web page for that of the cluster",
        || with(&[("ADX_CLUSTER_URI", "https://dataexplorer.azure.com/clusters/contoso.westeurope")]),
        &[("adx.cluster", "dataexplorer.azure.com is a web page: set ADX_CLUSTER_URI")],
    ),
    fails(
        "a cluster that is stopped",
        || cluster_that_says(StatusCode::SERVICE_UNAVAILABLE, "<html>Service unavailable</html>"),
        &[("adx.cluster", "see that the cluster is running there")],
    ),
    fails(
        "a page in the place of the cluster",
        || cluster_that_says(StatusCode::OK, "<html>Sign in to the guest network</html>"),
        &[("adx.cluster", "set ADX_CLUSTER_URI to the URI")],
    ),
    fails(
        "a row that names a column that the table does not have",
        || {
            let scene = Scene::healthy();
            scene.configure_by("DeviceEvents", "TimeStamp");
            scene
        },
        &[("defender.table.DeviceEvents", "with WatermarkColumn Timestamp or ")],
    ),
    fails(
        "a row that says nothing of how to load",
        || {
            let scene = Scene::healthy();
            scene.adx(
                ".set-or-append meta_MigrationConfiguration <| meta_MigrationConfiguration | where SourceTable == 'EmailEvents' | \
                 extend LoadType = 'Daily'",
            );
            scene
        },
        &[("metadata.row.EmailEvents", "append a corrected row for this SourceTable")],
    ),
    fails(
        "an account that keeps this machine's network out",
        || storage_that_says(&[("x-ms-error-code", "AuthorizationFailure")]),
        &[
            ("state.tables", "az storage account network-rule add --account-name contoso"),
            ("state.queues", "az storage account network-rule add --account-name contoso"),
            ("state.blobs", "az storage account network-rule add --account-name contoso"),
        ],
    ),
    fails(
        "a storage account that is not named",
        || with(&[("STATE_STORE", "azure")]),
        &[("settings.AzureWebJobsStorage", "set AzureWebJobsStorage")],
    ),
    fails(
        "a storage account that is not there",
        || {
            with(&[
                ("STATE_STORE", "azure"),
                (
                    "AzureWebJobsStorage",
                    "AccountName=contoso;AccountKey=c2VjcmV0LWtleQ==;BlobEndpoint=http://127.0.0.1:1/contoso;\
                     QueueEndpoint=http://127.0.0.1:1/contoso;TableEndpoint=http://127.0.0.1:1/contoso",
                ),
            ])
        },
        &[
            ("state.tables", "check AzureWebJobsStorage (TableEndpoint"),
            ("state.queues", "check AzureWebJobsStorage (QueueEndpoint"),
            ("state.blobs", "check AzureWebJobsStorage (BlobEndpoint"),
        ],
    ),
    warns(
        "two tables that are copied to the same one",
        || {
            let scene = Scene::healthy();
            scene.configure("EmailEvents", "DeviceEvents");
            scene
        },
        &[("metadata.rows", "append a row with another DestinationTable")],
    ),
    warns(
        "a service that does not show who has which role",
        || {
            let mut scene = Scene::healthy();
            scene.set("REPAIR", "delete");
            scene.adx(".create table DeviceEvents (Timestamp:datetime, RawData:dynamic)");
            scene.cloud.adx().hide_roles();
            scene
        },
        &[
            (
                "adx.user",
                "look with `.show database Defender principals`, and where the app is not among them `.add database Defender users",
            ),
            ("adx.ingestor", "where the app is not among them `.add database Defender ingestors"),
            ("adx.database_admin", "where the app is not among them `.add database Defender admins"),
            ("adx.table_admin", "see with `.show table DeviceEvents principals`"),
        ],
    ),
];
