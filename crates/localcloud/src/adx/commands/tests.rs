//! Commands as a client sends them.

use crate::adx::storage::{Opened, Unreadable};
use crate::adx::{Adx, Error, ResourceProvider, ResultTable, database::Database, database::IngestionFailure};
use crate::clock::{Clock, ManualClock};
use crate::entra::Tokens;
use crate::faults::Faults;
use crate::kql::Value;
use crate::source::ticks;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const NOW: i64 = ticks::UNIX_EPOCH + 20_500 * ticks::DAY;
const LEDGER: &str = ".create-merge table meta_Ledger (SourceTable:string, DestinationTable:string, LedgerId:string, CutAxis:string, VerifiedUpTo:datetime, UpdatedAt:datetime) with (folder=\"metadata_tables\")";

struct Setup {
    clock: Arc<ManualClock>,
    adx: Adx,
}

fn over(database: impl FnOnce(Arc<dyn Clock>) -> Database) -> Setup {
    let clock = Arc::new(ManualClock::new(NOW));
    let tokens = Arc::new(Tokens::new(1, "tenant", Duration::from_secs(60), clock.clone()));
    let database = Arc::new(database(clock.clone()));
    Setup { clock, adx: Adx::new(database, tokens, Arc::new(Faults::none()), Vec::new()) }
}

fn setup() -> Setup {
    over(|clock| Database::new("Db", clock))
}

fn kept(directory: &Path) -> Setup {
    over(|clock| Database::open("Db", clock, directory).unwrap())
}

impl Setup {
    fn run(&self, csl: &str) -> ResultTable {
        self.clock.advance(Duration::from_secs(1));
        self.adx.run(csl).unwrap_or_else(|error| panic!("{csl}: {error}"))
    }

    fn fails(&self, csl: &str) -> Error {
        self.adx.run(csl).map(|table| table.rows).expect_err(csl)
    }

    fn texts(&self, csl: &str, column: &str) -> Vec<String> {
        self.run(csl).texts(column)
    }

    fn count(&self, table: &str) -> i64 {
        match self.run(&format!("{table} | count")).rows[0][0] {
            Value::Long(count) => count,
            ref other => panic!("{other:?}"),
        }
    }
}

fn rows_of(table: &ResultTable) -> i64 {
    let at = table.column("RowCount").unwrap();
    table.rows.iter().map(|row| if let Value::Long(count) = row[at] { count } else { panic!() }).sum()
}

#[test]
fn create_merge_makes_widens_and_refuses_another_type() {
    let setup = setup();
    setup.run(".create-merge table T (A:string, ['B c']:long) with (folder=\"f\", docstring='d')");
    let schema = ".show table T cslschema";
    assert_eq!(setup.texts(schema, "Schema"), ["A:string,['B c']:long"]);
    assert_eq!((setup.texts(schema, "Folder"), setup.texts(schema, "DocString")), (vec!["f".into()], vec!["d".into()]));
    setup.run(".set-or-append T <| print 'x', 1");
    setup.run(".create-merge table T (C:string, A:string)");
    assert_eq!(setup.texts(schema, "Schema"), ["A:string,['B c']:long,C:string"]);
    assert_eq!(setup.texts(schema, "Folder"), ["f"]);
    assert_eq!(setup.count("T | where isempty(C) and A == 'x'"), 1);
    let error = setup.fails(".create-merge table T (D:int, A:long)");
    assert_eq!((error.status, error.code), (400, "General_BadRequest"));
    assert_eq!(setup.texts(schema, "Schema"), ["A:string,['B c']:long,C:string"]);
}

#[test]
fn create_table_on_a_name_that_is_taken_changes_nothing() {
    let setup = setup();
    setup.run(".create table T (A:string)");
    setup.run(".create table T (B:long)");
    assert_eq!(setup.texts(".show table T cslschema", "Schema"), ["A:string"]);
}

#[test]
fn what_is_not_there_is_named() {
    let setup = setup();
    for csl in [
        ".show table T cslschema",
        ".show table T extents",
        ".append T <| print 1",
        ".drop table T",
        ".show function F",
    ] {
        let error = setup.fails(csl);
        assert_eq!((error.status, error.code), (400, "BadRequest_EntityNotFound"), "{csl}");
    }
    setup.run(".drop table T ifexists");
}

#[test]
fn an_append_happens_once_per_tag() {
    let setup = setup();
    setup.run(LEDGER);
    let append = ".set-or-append meta_Ledger with (tags='[\"ingest-by:claim1\"]', ingestIfNotExists='[\"claim1\"]') <|
datatable(SourceTable:string, DestinationTable:string, LedgerId:string, CutAxis:string, VerifiedUpTo:datetime, UpdatedAt:datetime)[
    \"DeviceEvents\", \"Device Events\", \"0a1b2c3d\", \"arrival\", datetime(null), datetime(2026-04-14T07:00:00.0000000Z)
]";
    let first = setup.run(append);
    let names: Vec<_> = first.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["ExtentId", "OriginalSize", "ExtentSize", "CompressedSize", "IndexSize", "RowCount"]);
    assert_eq!(rows_of(&first), 1);
    let second = setup.run(append);
    assert_eq!(rows_of(&second), 0);
    assert_eq!(second.texts("ExtentId"), ["00000000-0000-0000-0000-000000000000"]);
    assert_eq!(setup.count("meta_Ledger"), 1);
    let extents = setup.run(".show table meta_Ledger extents where tags has 'ingest-by:claim1'");
    assert_eq!((rows_of(&extents), extents.texts("Tags")), (1, vec!["ingest-by:claim1".to_owned()]));
    assert_eq!(setup.run(".show table meta_Ledger extents where tags has 'ingest-by:claim'").rows.len(), 0);
    assert_eq!(
        setup.run(".show table meta_Ledger extents where tags contains 'CLAIM' and tags !has 'x'").rows.len(),
        1
    );
    // The guard goes away with the extents.
    setup.run(".clear table meta_Ledger data");
    assert_eq!(rows_of(&setup.run(append)), 1);
}

#[test]
fn an_append_of_nothing_leaves_no_tag() {
    let setup = setup();
    setup.run(".create table T (A:string)");
    let append = |text: &str| {
        format!(
            ".append T with (tags='[\"ingest-by:k\"]', ingestIfNotExists='[\"k\"]') <| print A='x' | where A == '{text}'"
        )
    };
    assert_eq!(rows_of(&setup.run(&append("y"))), 0);
    assert_eq!(setup.run(".show table T extents where tags has 'ingest-by:k'").rows.len(), 0);
    assert_eq!(rows_of(&setup.run(&append("x"))), 1);
}

#[test]
fn columns_match_by_position_and_type_and_names_do_not_matter() {
    let setup = setup();
    setup.run(".create table T (A:string, B:long)");
    setup.run(".append T <| print Other='x', More=2");
    assert_eq!(setup.texts("T", "A"), ["x"]);
    for query in ["print 1, 'x'", "print 'x'", "print 'x', 1, 2", "print 'x', int(1)"] {
        let error = setup.fails(&format!(".append T <| {query}"));
        assert!(error.message.contains("TableSchema=('string,long')"), "{error}");
    }
    assert_eq!(setup.count("T"), 1);
}

#[test]
fn set_makes_a_table_and_replace_empties_it_first() {
    let setup = setup();
    setup.run(".set T <| range x from 1 to 3 step 1");
    assert_eq!(setup.fails(".set T <| print 1").code, "BadRequest_EntityNameAlreadyExists");
    setup.run(".set-or-append T <| print x=4");
    assert_eq!(setup.count("T"), 4);
    setup.run(".set-or-replace T <| print x=9");
    assert_eq!(setup.texts("T", "x"), ["9"]);
}

#[test]
fn the_latest_row_is_found_through_a_view_and_moved_by_a_conditional_append() {
    let setup = setup();
    setup.run(LEDGER);
    setup.run(".create-merge table Config (SourceTable:string, HighWatermark:datetime, IsActive:bool)");
    setup.run(".create-or-alter function with (folder=\"views\", docstring=\"d\", view=true, skipvalidation=true) vw_Config() {
    Config
    | extend IngestionTime = ingestion_time()
    | summarize arg_max(IngestionTime, *) by SourceTable
    | where IsActive
}");
    assert_eq!(setup.texts(".show functions | project Name", "Name"), ["vw_Config"]);
    setup.run(".set-or-append Config <| print 'DeviceEvents', datetime(2026-01-01), true");
    setup.run(".set-or-append meta_Ledger <| print 'DeviceEvents', 'D', 'L', 'arrival', datetime(2026-02-02), now()");
    let advance = |at: &str| {
        setup.run(&format!(
            ".set-or-append Config <|
let Ledger = meta_Ledger | where SourceTable == \"DeviceEvents\" and LedgerId == \"L\";
let Furthest = toscalar(Ledger | where CutAxis == \"arrival\" | summarize max(VerifiedUpTo));
let Axis = toscalar(Ledger | extend Arrived = ingestion_time() | top 1 by Arrived desc | project CutAxis);
Config
| where SourceTable == \"DeviceEvents\"
| extend _ArrivedAt = ingestion_time()
| summarize arg_max(_ArrivedAt, *) by SourceTable
| where Furthest == datetime({at}) and Axis == \"arrival\"
| extend HighWatermark = datetime({at})
| project SourceTable, HighWatermark, IsActive"
        ))
    };
    assert_eq!(rows_of(&advance("2026-03-03")), 0);
    assert_eq!(rows_of(&advance("2026-02-02")), 1);
    assert_eq!(setup.texts("vw_Config | project HighWatermark", "HighWatermark"), ["2026-02-02T00:00:00.0000000Z"]);
}

#[test]
fn mappings_are_kept_by_name_and_their_shape_is_checked() {
    let setup = setup();
    setup.run(".create-merge table ['Device Events.v2'] (['Log Time']:datetime, RawData:dynamic)");
    let mapping = r#".create-or-alter table ['Device Events.v2'] ingestion json mapping "RawDataMap" '[{"Properties":{"Path":"$[\'Log Time\']"},"column":"Log Time"},' '{"Properties":{"Path":"$"},"column":"RawData"}]'"#;
    setup.run(mapping);
    let shown = setup.run(".show table ['Device Events.v2'] ingestion json mappings");
    assert_eq!(shown.texts("Name"), ["RawDataMap"]);
    assert_eq!(
        shown.texts("Mapping"),
        [
            r#"[{"Properties":{"Path":"$['Log Time']"},"column":"Log Time"},{"Properties":{"Path":"$"},"column":"RawData"}]"#
        ]
    );
    assert_eq!(setup.fails(&mapping.replace("create-or-alter", "create")).code, "BadRequest_EntityNameAlreadyExists");
    for bad in ["[", "{}", "[1]", r#"[{"Path":"$"}]"#, r#"[{"column":"A"},{"Column":"A"}]"#] {
        let csl = format!(".create-or-alter table ['Device Events.v2'] ingestion json mapping 'M' '{bad}'");
        assert_eq!(setup.fails(&csl).code, "General_BadRequest", "{bad}");
    }
}

#[test]
fn policies_are_shown_as_json_and_null_where_there_are_none() {
    let setup = setup();
    setup.run(".create table T (A:string)");
    setup.run(".create table U (A:string)");
    assert_eq!(setup.texts(".show table T policy row_level_security", "Policy"), ["null"]);
    setup.run(".alter-merge table T policy retention softdelete = 10d recoverability = disabled");
    setup.run(".alter-merge table T policy retention softdelete = 0d");
    let shown = setup.run(".show table T policy retention");
    assert_eq!(shown.texts("Policy"), [r#"{"Recoverability":"Disabled","SoftDeletePeriod":"00:00:00"}"#]);
    assert_eq!(
        (shown.texts("PolicyName"), shown.texts("EntityName")),
        (vec!["RetentionPolicy".to_owned()], vec!["[Db].[T]".to_owned()])
    );
    setup.run(".alter table T policy update @'[{\"IsEnabled\":true,\"Source\":\"U\",\"Query\":\"U\"}]'");
    let all = setup.run(".show table * policy update");
    assert_eq!(all.texts("EntityName"), ["[Db].[T]", "[Db].[U]"]);
    assert!(all.texts("Policy")[0].contains("\"Source\":\"U\"") && all.texts("Policy")[1] == "null");
    setup.run(".delete table T policy update");
    assert_eq!(setup.texts(".show table T policy update", "Policy"), ["null"]);
    let shown = setup.run(".alter column T.A policy encoding type = 'BigObject32'");
    assert_eq!(shown.texts("Policy"), [r#"{"Profile":"BigObject32"}"#]);
    assert_eq!(setup.fails(".alter column T.B policy encoding type = 'BigObject32'").status, 400);
}

#[test]
fn a_pipeline_runs_over_a_commands_answer() {
    let setup = setup();
    setup.run(".create table T (A:string)");
    setup.run(".create table U (A:string) with (folder='f')");
    assert_eq!(setup.texts(".show tables | where Folder == 'f' | project TableName", "TableName"), ["U"]);
    assert!(setup.run(".show materialized-views | where SourceTable == \"T\"").rows.is_empty());
    let failure = |failed_on, path: &str| IngestionFailure {
        table: "T".into(),
        failed_on,
        source_path: path.into(),
        details: "no".into(),
        error_code: "BadRequest_InvalidBlob".into(),
        failure_kind: "Permanent".into(),
    };
    setup.adx.database.write().failures =
        vec![failure(NOW, "https://a/b/0f2a.gz"), failure(NOW + 1, "https://a/b/0f2b.gz")];
    let shown = setup.run(".show ingestion failures\n| where Table == \"T\" and IngestionSourcePath contains \"0f2a\"\n| top 1 by FailedOn desc\n| project FailedOn, ErrorCode, FailureKind, Details");
    assert_eq!((shown.rows.len(), shown.texts("ErrorCode")), (1, vec!["BadRequest_InvalidBlob".to_owned()]));
    let error = setup.fails(".show tables\n| where Nowhere == 1");
    let inner = error.inner.unwrap();
    assert_eq!((inner.code, inner.position.line, inner.position.column), ("SEM0100", 2, 9));
}

#[test]
fn what_is_not_known_is_refused_with_its_place_and_changes_nothing() {
    let setup = setup();
    setup.run(".create table T (A:string)");
    for (csl, column) in [
        (".frobnicate table T", 2),
        (".show tables extra", 14),
        (".drop table T now", 15),
        (".create table V (A:strange)", 20),
        (".create table V (A:string) with (colour='red')", 34),
        (".create-merge table", 20),
        (".show table T policy colour", 22),
    ] {
        let error = setup.fails(csl);
        let inner = error.inner.unwrap_or_else(|| panic!("{csl}"));
        assert_eq!((error.status, inner.code, inner.position.column), (400, "SYN0002", column), "{csl}");
    }
    assert_eq!(setup.texts(".show tables", "TableName"), ["T"]);
}

#[test]
fn a_script_stops_at_the_first_failure_and_tells_it_in_a_row() {
    let setup = setup();
    let script = ".execute database script <|\n.create table T (A:string)\n\n// a comment\n.append T <|\n  print 1\n.create table U (A:string)";
    let shown = setup.run(script);
    assert_eq!(shown.texts("Result"), ["Completed", "Failed"]);
    assert_eq!(setup.texts(".show tables", "TableName"), ["T"]);
    let throwing = script.replace("script <|", "script with (ThrowOnErrors=true) <|");
    assert_eq!(setup.fails(&throwing).status, 400);
    let going_on = script.replace("script <|", "script with (ContinueOnErrors=true) <|");
    assert_eq!(setup.texts(&going_on, "Result"), ["Completed", "Failed", "Completed"]);
}

#[test]
fn inline_csv_lands_typed() {
    let setup = setup();
    setup.run(".create table T (A:string, B:long, C:datetime, D:dynamic)");
    setup.run(".ingest inline into table T with (tags='[\"ingest-by:i\"]') <|\n\"x, \"\"y\"\"\",7,2026-01-02,\"{\"\"a\"\":1}\"\n// no comment,,,\n");
    let shown = setup.run("T | order by B desc | project A, B, C, a=toint(D.a)");
    assert_eq!(shown.texts("A"), ["x, \"y\"", "// no comment"]);
    assert_eq!(shown.texts("a"), ["1", ""]);
    assert_eq!(setup.run(".show table T extents where tags has 'ingest-by:i'").rows.len(), 1);
    assert!(setup.fails(".ingest inline into table T <| \"x").message.contains("closing quote"));
}

#[test]
fn inline_json_goes_through_its_mapping_and_only_once() {
    let setup = setup();
    setup.run(".create table T (A:long, Raw:dynamic, Id:string)");
    setup.run(r#".create table T ingestion json mapping "M" '[{"column":"A","Properties":{"Path":"$.a.b"}},{"column":"Raw","Properties":{"Path":"$"}},{"column":"Id","Properties":{"ConstValue":"w"}}]'"#);
    let ingest = ".ingest inline into table T with (format='multijson', ingestionMappingReference='M', tags='[\"ingest-by:i\"]', ingestIfNotExists='[\"i\"]') <|\n[{\"a\":{\"b\":1}},\n{\"a\":{\"b\":2}}]";
    assert_eq!(rows_of(&setup.run(ingest)), 2);
    assert_eq!(rows_of(&setup.run(ingest)), 0);
    assert_eq!(setup.texts("T | where tolong(Raw.a.b) == A and Id == 'w' | order by A asc", "A"), ["1", "2"]);
    assert_eq!(setup.fails(&ingest.replace("'M'", "'N'")).code, "BadRequest_EntityNotFound");
}

#[test]
fn functions_are_checked_unless_told_otherwise() {
    let setup = setup();
    assert_eq!(setup.fails(".create function F() { Nowhere }").status, 400);
    setup.run(".create function with (skipvalidation=true) F() { Nowhere }");
    setup.run(".create function G(x:long) { print x }");
    assert_eq!(setup.fails(".create function F() { print 1 }").code, "BadRequest_EntityNameAlreadyExists");
    let shown = setup.run(".show functions");
    assert_eq!(
        (shown.texts("Parameters"), shown.texts("Body")),
        (vec!["()".to_owned(), "(x:long)".to_owned()], vec!["{ Nowhere }".to_owned(), "{ print x }".to_owned()])
    );
    setup.run(".drop function F");
    assert_eq!(setup.texts(".show functions", "Name"), ["G"]);
}

#[test]
fn operations_say_what_was_done() {
    let setup = setup();
    setup.run(".create table T (A:long)");
    let id = setup.texts(".set-or-append async T <| print 'wrong'", "OperationId").remove(0);
    let shown = setup.run(&format!(".show operations {id}"));
    assert_eq!(
        (shown.texts("State"), shown.texts("Operation")),
        (vec!["Failed".to_owned()], vec!["TableSetOrAppend".to_owned()])
    );
    assert_eq!(setup.texts(".show operations | project State", "State"), ["Completed", "Failed"]);
}

struct Lent;

impl ResourceProvider for Lent {
    fn resources(&self) -> Vec<(String, String)> {
        vec![("TempStorage".into(), "http://127.0.0.1:1/box?sig=x".into())]
    }

    fn identity_token(&self) -> String {
        "identity".into()
    }

    fn open(&self, _: &str) -> Result<Opened, Unreadable> {
        Err(Unreadable::NotFound)
    }

    fn post(&self, _: String) {}
}

#[test]
fn resources_are_lent_by_a_provider_and_unknown_without_one() {
    let setup = setup();
    assert_eq!(setup.fails(".get ingestion resources").status, 400);
    setup.adx.lend(Arc::new(Lent));
    let shown = setup.run(".get ingestion resources");
    assert_eq!(
        (shown.texts("ResourceTypeName"), shown.texts("StorageRoot")),
        (vec!["TempStorage".to_owned()], vec!["http://127.0.0.1:1/box?sig=x".to_owned()])
    );
    assert_eq!(setup.texts(".get kusto identity token", "AuthorizationContext"), ["identity"]);
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let first = kept(directory.path());
    first.run(".create table ['a/b.c d'] (S:string, D:dynamic, R:real, T:timespan, G:guid, M:decimal, W:datetime, B:bool, I:int)");
    first.run(".append ['a/b.c d'] with (tags='[\"ingest-by:k\"]') <| print '', dynamic({\"x\":[1,null]}), real(nan), 1.5d, guid(74be27de-1e4e-49d9-b579-fe0b331d3642), decimal(1.5), datetime(2026-01-02T03:04:05.1234567), true, int(null)");
    first.run(".create-merge table ['a/b.c d'] (Later:string)");
    first.run(".create-or-alter table ['a/b.c d'] ingestion json mapping 'M' '[]'");
    first.run(".alter table ['a/b.c d'] policy streamingingestion enable");
    first.run(".create function F() { ['a/b.c d'] }");
    first.run(".create table Gone (A:long)");
    first.run(".append Gone <| print 1");
    first.run(".drop table Gone");
    let look = |setup: &Setup| {
        [
            "F | extend At = ingestion_time()",
            ".show tables",
            ".show functions",
            ".show table ['a/b.c d'] ingestion json mappings",
            ".show table ['a/b.c d'] policy streamingingestion",
            ".show table ['a/b.c d'] extents | project ExtentId, Tags, RowCount, MaxCreatedOn",
        ]
        .map(|csl| format!("{:?}", setup.run(csl)))
    };
    let before = look(&first);
    assert!(before[0].contains("74be27de"));
    let second = kept(directory.path());
    assert_eq!(look(&second), before);
    second.run(".create table Gone (A:long)");
    assert_eq!(second.count("Gone"), 0);
}

#[test]
fn a_batch_that_a_crash_cut_short_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let first = kept(directory.path());
    first.run(".set T <| print A=1");
    first.run(".append T <| print A=2");
    let path = directory.path().join("rows/T.ndjson");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let second = kept(directory.path());
    assert_eq!(second.texts("T", "A"), ["1"]);
    second.run(".append T <| print A=3");
    assert_eq!(kept(directory.path()).texts("T | order by A asc", "A"), ["1", "3"]);
}

#[test]
fn an_operation_is_found_by_an_id_that_begins_like_a_number() {
    let setup = setup();
    assert!(setup.run(".show operations 91e27b0d-96a0-4b87-9d19-562238d54e53").rows.is_empty());
    assert!(setup.run(".show operations 123e4567-e89b-12d3-a456-426614174000 | count").rows.len() == 1);
}

#[test]
fn a_soft_delete_takes_rows_and_leaves_the_tags_of_their_extents() {
    let setup = setup();
    setup.run(".create table T (Id:long)");
    for id in [1, 2] {
        let once = format!("tags='[\"ingest-by:{id}\"]', ingestIfNotExists='[\"{id}\"]'");
        setup.run(&format!(".set-or-append T with ({once}) <| range Id from {id} to {id} + 1 step 1"));
    }
    let second = setup.texts("T | summarize At = tostring(max(ingestion_time()))", "At").remove(0);
    setup.run(&format!(".delete table T records <| T | where Id == 2 and ingestion_time() >= datetime({second})"));
    assert_eq!(setup.count("T | where Id == 2"), 1);
    setup.run(".delete table T records <| T | where Id == 3");
    assert_eq!(setup.count("T"), 2);
    let again =
        setup.run(".set-or-append T with (tags='[\"ingest-by:2\"]', ingestIfNotExists='[\"2\"]') <| print Id = 9");
    assert_eq!((rows_of(&again), setup.count("T")), (0, 2));
    assert_eq!(setup.run(".show table T extents where tags has 'ingest-by:2'").rows.len(), 1);
    setup.fails(".delete table T records <| meta_Other | where Id == 3");
}

#[test]
fn row_level_security_stands_in_for_the_table_and_sees_what_is_below() {
    let setup = setup();
    setup.run(".set T <| datatable(Id:long, Who:string)[1, 'a', 2, 'b', 3, 'a']");
    setup.run(".alter table T policy row_level_security enable \"T | where Who == 'a'\"");
    assert_eq!(setup.count("T"), 2);
    setup.run(".set Copy <| T");
    assert_eq!(setup.count("Copy"), 2, "whoever reads it");
    setup.run(".alter table T policy row_level_security disable \"T\"");
    assert_eq!(setup.count("T"), 3);
}

#[test]
fn policies_of_the_database_hold_where_a_table_has_none() {
    let setup = setup();
    setup.run(".create table T (Id:long)");
    assert_eq!(setup.texts(".show database Db policy retention", "Policy"), ["null"]);
    setup.run(".alter-merge database db policy retention softdelete = 0d");
    assert!(setup.fails(".set-or-append T <| print Id=1").message.contains("retention of zero"));
    setup.run(".alter-merge table T policy retention softdelete = 1d");
    setup.run(".set-or-append T <| print Id=1");
    setup.run(".delete database Db policy retention");
    setup.run(".delete table T policy retention");
    setup.run(".set-or-append T <| print Id=2");
    assert_eq!(setup.count("T"), 2);
    assert!(setup.fails(".show database Other policy retention").message.contains("'Database' was not found"));
    assert_eq!(setup.texts(".show database", "DatabaseName"), ["Db"]);
}

#[test]
fn a_column_has_an_encoding_of_its_own() {
    let setup = setup();
    setup.run(".create table T (Id:long, Bag:dynamic)");
    setup.run(".alter column T.Bag policy encoding type = 'bigobject32'");
    assert_eq!(setup.texts(".show column T.Bag policy encoding", "Policy"), ["{\"Profile\":\"BigObject32\"}"]);
    assert_eq!(setup.texts(".show column T.Id policy encoding", "Policy"), ["null"]);
    setup.run(".alter column T.Bag policy encoding");
    assert_eq!(setup.texts(".show column T.Bag policy encoding", "Policy"), ["null"]);
    assert!(setup.fails(".alter column T.Bag policy encoding type = 'tiny'").message.contains("tiny"));
    assert!(setup.fails(".show column T.Other policy encoding").message.contains("Other"));
}

#[test]
fn a_view_that_takes_all_columns_is_broken_by_a_new_one_unless_it_follows() {
    let setup = setup();
    setup.run(".set T <| datatable(Id:long, At:datetime)[1, datetime(2026-01-01), 1, datetime(2026-01-02)]");
    setup.run(".create materialized-view Plain on table T { T | summarize arg_max(At, *) by Id }");
    setup.run(".create materialized-view with (autoUpdateSchema=true) Follows on table T { T | summarize arg_max(At, *) by Id }");
    setup.run(".create materialized-view Narrow on table T { T | summarize count() by Id }");
    assert_eq!(setup.count("Plain"), 1);
    let healthy = |setup: &Setup| setup.texts(".show materialized-views | where IsHealthy", "Name");
    assert_eq!(healthy(&setup), ["Follows", "Narrow", "Plain"]);
    setup.run(".alter-merge table T (More:string)");
    assert_eq!(healthy(&setup), ["Follows", "Narrow"]);
    setup.run(".drop materialized-view Plain");
    assert_eq!(setup.texts(".show materialized-views", "Name"), ["Follows", "Narrow"]);
}

#[test]
fn views_roles_and_policies_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let first = kept(directory.path());
    first.run(".set T <| print Id=1");
    first.run(".create materialized-view V on table T { T | summarize count() by Id }");
    first.run(".alter database Db policy caching hot = 1d");
    first.run(".add database Db unrestrictedviewers ('aadapp=a;t')");
    let again = kept(directory.path());
    assert_eq!(again.count("V"), 1);
    assert!(again.texts(".show database Db policy caching", "Policy")[0].contains("1.00:00:00"));
    assert_eq!(
        again.texts(".add database Db unrestrictedviewers ('aadapp=b;t')", "PrincipalFQN"),
        ["aadapp=a;t", "aadapp=b;t"]
    );
    assert_eq!(again.texts(".drop database Db unrestrictedviewers ('AADAPP=a;T')", "PrincipalFQN"), ["aadapp=b;t"]);
}
