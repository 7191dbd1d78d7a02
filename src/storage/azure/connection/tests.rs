use super::*;

const KEY: &str = "Zm9vYmFyaHVudGVyMg==";

fn parse(settings: &[(&str, &str)]) -> Result<Connection, Problems> {
    let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Connection::parse(&lookup)
}

fn of(text: &str) -> Result<Connection, Problems> {
    parse(&[(SETTING, text)])
}

fn endpoints(connection: &Connection) -> [&str; 3] {
    connection.endpoints.all().map(url::Url::as_str)
}

const EMULATOR: [&str; 3] = [
    "http://127.0.0.1:10002/devstoreaccount1/",
    "http://127.0.0.1:10001/devstoreaccount1/",
    "http://127.0.0.1:10000/devstoreaccount1/",
];

#[test]
fn the_emulator_is_named_by_one_word() {
    for text in ["UseDevelopmentStorage=true", "usedevelopmentstorage=TRUE;", " UseDevelopmentStorage = true ; \n"] {
        let connection = of(text).unwrap();
        assert_eq!(endpoints(&connection), EMULATOR, "{text}");
        assert_eq!(connection.to_string(), "account devstoreaccount1 at 127.0.0.1:10002, by key");
    }
    let elsewhere = of("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite").unwrap();
    assert_eq!(elsewhere.endpoints.blob.as_str(), "http://azurite:10000/devstoreaccount1/");
}

#[test]
fn an_account_with_a_key_is_read_in_any_order_and_case() {
    let sorted =
        format!("DefaultEndpointsProtocol=https;AccountName=contoso;AccountKey={KEY};EndpointSuffix=core.windows.net");
    let shuffled = format!(";accountkey={KEY};ACCOUNTNAME=contoso;FileEndpoint=https://f.example/;Later=1; ");
    for text in [sorted, shuffled] {
        let connection = of(&text).unwrap();
        assert_eq!(
            endpoints(&connection),
            ["table", "queue", "blob"].map(|service| format!("https://contoso.{service}.core.windows.net/"))
        );
        assert!(matches!(connection.way, Way::Key(_)));
        assert_eq!(connection.to_string(), "account contoso at contoso.table.core.windows.net, by key");
    }
    let china = of(&format!(
        "DefaultEndpointsProtocol=HTTP;AccountName=contoso;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
    ));
    assert_eq!(china.unwrap().endpoints.queue.as_str(), "http://contoso.queue.core.chinacloudapi.cn/");
    let mixed = of(&format!("AccountName=contoso;AccountKey={KEY};TableEndpoint=http://127.0.0.1:7/contoso")).unwrap();
    assert_eq!(mixed.endpoints.table.as_str(), "http://127.0.0.1:7/contoso/");
    assert_eq!(mixed.endpoints.blob.as_str(), "https://contoso.blob.core.windows.net/");
}

#[test]
fn a_shared_access_signature_is_read_with_addresses_or_a_name() {
    let sas = "sv=2022-11-02&ss=bqt&srt=sco&sp=rwdlacup&se=2030-01-01T00:00:00Z&sig=a%2Fb%3D";
    let addresses = "BlobEndpoint=https://contoso.blob.core.windows.net/;QueueEndpoint=https://contoso.queue.core.windows.net;TableEndpoint=https://contoso.table.core.windows.net/";
    for text in [
        format!("{addresses};SharedAccessSignature={sas}"),
        format!("{addresses};SharedAccessSignature=?{sas};"),
        format!("AccountName=contoso;SharedAccessSignature={sas}"),
    ] {
        let connection = of(&text).unwrap();
        assert_eq!(connection.account, "contoso");
        assert_eq!(connection.endpoints.queue.as_str(), "https://contoso.queue.core.windows.net/");
        let Way::Sas(found) = &connection.way else { panic!("{text}") };
        assert_eq!(found.expose(), sas);
        assert!(!format!("{connection:?} {connection}").contains("sig"));
    }
    let emulator = of(&format!(
        "BlobEndpoint=http://127.0.0.1:1/other;QueueEndpoint=http://127.0.0.1:2/other;TableEndpoint=http://127.0.0.1:3/other;SharedAccessSignature={sas}"
    ));
    assert_eq!(emulator.unwrap().account, "other");
}

#[test]
fn a_wrong_connection_string_is_refused_with_its_fault_and_without_its_secret() {
    for (text, fault) in [
        ("hunter2", "part 1 of the connection string is no `Key=value`"),
        ("hunter2==;AccountName=contoso", "neither AccountKey nor SharedAccessSignature"),
        ("AccountName=contoso;AccountKey=hunter2!", "AccountKey is not base64"),
        ("AccountName=contoso;AccountKey=hunter2\nx", "holds a line break"),
        ("AccountName=contoso;AccountKey=aHVudGVyMg==;hunter2", "part 3"),
        ("\"AccountName=contoso;AccountKey=hunter2\"", "begins with a quotation mark"),
        ("AccountKey=aHVudGVyMg==", "no AccountName"),
        ("AccountName=;AccountKey=aHVudGVyMg==", "no AccountName"),
        ("AccountName=https://hunter2.example;AccountKey=aHVudGVyMg==", "AccountName is no name"),
        ("AccountName=contoso;AccountName=contoso;AccountKey=aHVudGVyMg==", "AccountName stands there twice"),
        ("AccountName=contoso", "neither AccountKey nor SharedAccessSignature"),
        ("AccountName=contoso;AccountKey=aHVudGVyMg==;SharedAccessSignature=ss=bqt&sig=hunter2", "both AccountKey and"),
        ("AccountName=contoso;SharedAccessSignature=sv=1&ss=bqt&se=hunter2", "lacks its signature"),
        ("AccountName=contoso;SharedAccessSignature=ss=b&sig=hunter2", "not for all of tables, queues and blobs"),
        ("AccountName=contoso;SharedAccessSignature=ss=bqt&sp=rwdlacu&sig=hunter2", "lacks a permission"),
        (
            "TableEndpoint=https://contoso.table.core.windows.net;SharedAccessSignature=ss=bqt&sig=hunter2",
            "AccountName",
        ),
        ("AccountName=contoso;AccountKey=aHVudGVyMg==;TableEndpoint=https:///hunter2?sig=hunter2", "TableEndpoint"),
        ("AccountName=contoso;AccountKey=aHVudGVyMg==;BlobEndpoint=hunter2", "BlobEndpoint is no URL"),
        (
            "AccountName=contoso;AccountKey=aHVudGVyMg==;QueueEndpoint=https://q.example/?sig=hunter2",
            "QueueEndpoint has more",
        ),
        ("AccountName=contoso;AccountKey=aHVudGVyMg==;DefaultEndpointsProtocol=hunter2", "neither https nor http"),
        ("AccountName=contoso;AccountKey=aHVudGVyMg==;EndpointSuffix=x/hunter2", "EndpointSuffix"),
        ("https://contoso.blob.core.windows.net/?sig=hunter2", "is a URL"),
        ("UseDevelopmentStorage=hunter2", "UseDevelopmentStorage can only be `true`"),
        ("UseDevelopmentStorage=true;AccountName=contoso", "names the emulator"),
        ("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=hunter2", "DevelopmentStorageProxyUri"),
    ] {
        let problems = of(text).unwrap_err();
        let message = problems.to_string();
        assert!(message.contains(fault), "{text}: {message}");
        assert!(message.starts_with("AzureWebJobsStorage: ") && message.contains("accepted are `Default"), "{message}");
        assert!(!message.contains("hunter2") && !message.contains("aHVudGVyMg"), "{message}");
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let problems = parse(&[(SETTING, "AccountKey=!;BlobEndpoint=x;hunter2"), (STATE_TABLE, "1")]).unwrap_err();
    let text = problems.to_string();
    for part in ["part 3", "no AccountName", "AccountKey is not base64", "BlobEndpoint is no URL", "STATE_TABLE"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("accepted are").count(), 1, "{text}");
}

#[test]
fn an_identity_needs_a_name_or_three_addresses() {
    let connection = parse(&[("AzureWebJobsStorage__accountName", "contoso")]).unwrap();
    assert_eq!(connection.endpoints.blob.as_str(), "https://contoso.blob.core.windows.net/");
    assert_eq!(connection.to_string(), "account contoso at contoso.table.core.windows.net, by identity");
    let three = [
        ("AzureWebJobsStorage__tableServiceUri", "https://contoso.z01.table.storage.azure.net"),
        ("AzureWebJobsStorage__queueServiceUri", "https://contoso.queue.core.windows.net/"),
        ("AzureWebJobsStorage:blobServiceUri", "https://contoso.z12.blob.storage.azure.net"),
    ];
    assert_eq!(parse(&three).unwrap().account, "contoso");
    let government = [
        ("AzureWebJobsStorage__tableServiceUri", "https://contoso.table.core.usgovcloudapi.net"),
        ("AzureWebJobsStorage__queueServiceUri", "https://contoso.queue.core.usgovcloudapi.net/"),
        ("AzureWebJobsStorage__blobServiceUri", "https://contoso.blob.core.usgovcloudapi.net/"),
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us"),
    ];
    assert_eq!(parse(&government).unwrap().account, "contoso");
    assert!(parse(&government[..3]).unwrap_err().to_string().contains("AZURE_AUTHORITY_HOST"));
    let text = parse(&three[..1]).unwrap_err().to_string();
    assert!(text.contains("__queueServiceUri: is not set") && text.contains("__blobServiceUri: is not set"), "{text}");
    let one_elsewhere = [three[0], ("AzureWebJobsStorage__accountName", "contoso")];
    assert_eq!(parse(&one_elsewhere).unwrap().endpoints.queue.as_str(), "https://contoso.queue.core.windows.net/");
}

#[test]
fn tokens_go_to_storage_hosts_over_https_only() {
    let at = |uri: &'static str| {
        [("AzureWebJobsStorage__accountName", "contoso"), ("AzureWebJobsStorage__tableServiceUri", uri)]
    };
    for refused in [
        "http://contoso.table.core.windows.net",
        "https://contoso.table.core.windows.net.evil.example",
        "https://contoso.kusto.windows.net",
        "https://127.0.0.1:10002/devstoreaccount1",
        "https://hunter2@contoso.table.core.windows.net",
        "https://contoso.table.core.windows.net/?sig=hunter2",
        "hunter2",
    ] {
        let text = parse(&at(refused)).unwrap_err().to_string();
        assert!(text.starts_with("AzureWebJobsStorage__tableServiceUri: ") && !text.contains("hunter2"), "{text}");
    }
    let emulator = "http://127.0.0.1:10002/devstoreaccount1";
    assert!(parse(&at(emulator)).is_err());
    let mut listed = at(emulator).to_vec();
    listed.push(("TRUSTED_HOSTS", "127.0.0.1"));
    assert_eq!(parse(&listed).unwrap().endpoints.table.as_str(), "http://127.0.0.1:10002/devstoreaccount1/");
}

#[test]
fn the_identity_is_the_one_that_is_described_else_the_apps_own() {
    let seen = |settings: &[(&str, &str)]| {
        let own = [("AZURE_CLIENT_ID", "app"), ("AZURE_CLIENT_SECRET", "s"), ("AZURE_TENANT_ID", "t")];
        let lookup = |name: &str| own.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut all = vec![("AzureWebJobsStorage__accountName", "contoso")];
        all.extend(settings);
        let Way::Identity(identity) = parse(&all).unwrap().way else { panic!("an identity") };
        ["AZURE_TOKEN_CREDENTIALS", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"]
            .map(|name| identity.setting(&lookup, name).unwrap_or_default())
    };
    let managed = "ManagedIdentityCredential";
    assert_eq!(seen(&[]), ["", "app", "s", "t"]);
    assert_eq!(seen(&[("AzureWebJobsStorage__credential", "managedidentity")]), [managed, "", "s", "t"]);
    assert_eq!(seen(&[("AzureWebJobsStorage__clientId", "mine")]), [managed, "mine", "s", "t"]);
    assert_eq!(
        seen(&[
            ("AzureWebJobsStorage__clientId", "c"),
            ("AzureWebJobsStorage__clientSecret", "p"),
            ("AzureWebJobsStorage__tenantId", "d")
        ]),
        ["ClientSecretCredential", "c", "p", "d"]
    );
    let text = parse(&[
        ("AzureWebJobsStorage__accountName", "Contoso!"),
        ("AzureWebJobsStorage__credential", "guess"),
        ("AzureWebJobsStorage__clientSecret", "hunter2"),
    ])
    .unwrap_err()
    .to_string();
    for part in
        ["__accountName: is no name", "__credential: is neither", "__tenantId: is not set", "__clientId: is not"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"));
}

#[test]
fn the_connection_string_wins_and_nothing_at_all_is_said_so() {
    let both = [(SETTING, "UseDevelopmentStorage=true"), ("AzureWebJobsStorage__accountName", "contoso")];
    assert_eq!(parse(&both).unwrap().account, "devstoreaccount1");
    for nothing in [&[][..], &[(SETTING, " ")]] {
        let text = parse(nothing).unwrap_err().to_string();
        assert!(
            text.contains("AzureWebJobsStorage: is not set") && text.contains("UseDevelopmentStorage=true"),
            "{text}"
        );
    }
}

#[test]
fn the_table_of_the_state_has_a_name_that_tables_may_have() {
    let named = |table| parse(&[(SETTING, "UseDevelopmentStorage=true"), (STATE_TABLE, table)]);
    let connection = named("StateOf2026").unwrap();
    assert_eq!((connection.table.as_str(), connection.container().as_str()), ("StateOf2026", "stateof2026"));
    assert_eq!(named(" ").unwrap().table, "adxingestor");
    for table in ["ab", "1abc", "a-b", "tables", "Tables", "ü12", &"a".repeat(64)] {
        assert!(named(table).unwrap_err().to_string().starts_with("STATE_TABLE: "), "{table}");
    }
}
