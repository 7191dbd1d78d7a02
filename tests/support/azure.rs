use crate::azurite::{ACCOUNT, KEY};
use crate::grants::account_sas;
use adxingestor::storage::Storage;
use std::sync::{Arc, OnceLock};

pub fn open(connection: &str) -> Storage {
    static TABLES: OnceLock<Storage> = OnceLock::new();
    let memory =
        TABLES.get_or_init(|| adxingestor::storage::memory(Arc::new(adxingestor::timestamp::SystemClock))).clone();
    let get = |name: &str| {
        let value = connection.split(';').find_map(|p| p.strip_prefix(&format!("{name}="))).unwrap();
        format!("{value}/").parse().unwrap()
    };
    adxingestor::storage::azure::temporary(
        [get("QueueEndpoint"), get("BlobEndpoint")],
        &account_sas(ACCOUNT, KEY, "rwdlacup", "", "2099-01-01T00:00:00Z"),
        memory,
    )
}
