//! The names of the metadata tables and views where no setting says otherwise.

use adxingestor::adx::catalog::Names;
use adxingestor::kql::Identifier;

pub fn name(text: &str) -> Identifier {
    Identifier::new(text).unwrap()
}

pub fn names() -> Names {
    Names {
        config_table: name("meta_MigrationConfiguration"),
        config_view: name("vw_meta_LatestMigrationConfiguration"),
        audit_table: name("meta_MigrationAudit"),
        chunk_audit_table: name("meta_ChunkIngestionFailures"),
        chunk_audit_view: name("vw_meta_LatestChunkIngestionFailures"),
        ledger_table: name("meta_Ledger"),
    }
}
