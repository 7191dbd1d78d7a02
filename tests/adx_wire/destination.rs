//! What is looked at, made and altered before the first row of a table.

use crate::fake::{Fake, Reply, Seen, missing, soon, status, v1, v2};
use crate::golden::{catalog, name};
use adxingestor::adx::Error;
use adxingestor::adx::catalog::{Destination, DestinationError, Encoding, Hidden, Policies, Readiness, Ready, Tags};
use adxingestor::adx::ingestion::ChunkIdMode;
use serde_json::{Value, json};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// A database with one destination.
pub struct Held {
    schema: &'static str,
    views: Value,
    policies: Value,
    functions: Value,
    /// Other policies of the table, by the words of their commands.
    own: Vec<(&'static str, &'static str)>,
    /// Those of the database.
    of_all: Vec<(&'static str, &'static str)>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            schema: "Timestamp:datetime,RawData:dynamic",
            views: json!([]),
            policies: json!([]),
            functions: json!([["Narrow", "{ T | project Timestamp }"], ["F", "{ T | extend X = 1 }"]]),
            own: Vec::new(),
            // Not to be in the way of what else is altered.
            of_all: vec![("extent_tags_retention", r#"[{"TagPrefix":"ingest-by:","RetentionPeriod":"30.00:00:00"}]"#)],
        }
    }
}

impl Held {
    fn answer(&self, seen: &Seen) -> Reply {
        let csl = seen.csl();
        let policy = "PolicyName:string,EntityName:string,Policy:string";
        if csl.ends_with("cslschema") {
            v1("TableName:string,Schema:string", &json!([["T", self.schema]]))
        } else if csl.starts_with(".show materialized-views") {
            v1("Name:string,SourceTable:string,Query:string,AutoUpdateSchema:bool", &self.views)
        } else if csl.contains("policy update") {
            v1(policy, &self.policies)
        } else if csl.starts_with(".show") && csl.contains(" policy ") {
            let held = if csl.starts_with(".show database Hunting ") { &self.of_all } else { &self.own };
            let shown = held.iter().find(|(name, _)| csl.ends_with(name)).map_or("null", |(_, shown)| shown);
            v1(policy, &json!([["p", "[Hunting].[T]", shown]]))
        } else if csl == ".show functions" {
            v1("Name:string,Body:string", &self.functions)
        } else if csl.starts_with(".show table T ingestion") {
            v1("Name:string,Kind:string", &json!([["RawDataMap", "Json"]]))
        } else {
            v1("TableName:string", &json!([["T"]]))
        }
    }
}

async fn ensure(held: Held, chunk_id: ChunkIdMode) -> (Result<Readiness, DestinationError>, Vec<String>) {
    ensure_at(move |seen| held.answer(seen), chunk_id, true).await
}

async fn ensure_at(
    rule: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    chunk_id: ChunkIdMode,
    ours: bool,
) -> (Result<Readiness, DestinationError>, Vec<String>) {
    let (found, changes) = ensure_wanted(rule, Destination { chunk_id, ours, ..wanted() }).await;
    (found.map(|ready| ready.readiness), changes)
}

/// The destination `T`.
pub fn wanted() -> Destination {
    Destination {
        table: name("T"),
        folder: "f".to_owned(),
        watermark_column: name("Timestamp"),
        stamped: false,
        chunk_id: ChunkIdMode::Constant,
        ours: false,
        must_be_there: false,
        policies: Policies::default(),
    }
}

/// What comes of a destination, and the commands that change something.
pub async fn ensure_wanted(
    rule: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    wanted: Destination,
) -> (Result<Ready, DestinationError>, Vec<String>) {
    let fake = Fake::start(rule).await;
    let found = catalog(&fake).ensure_destination(&wanted, soon()).await;
    let changes = fake.csl().into_iter().filter(|csl| csl.starts_with('.') && !csl.starts_with(".show")).collect();
    (found, changes)
}

#[tokio::test]
async fn a_destination_that_is_as_it_has_to_be_is_not_altered() {
    let held = Held { schema: "Timestamp:datetime,RawData:dynamic,ChunkId:string,Extra:int", ..Held::default() };
    let (found, changes) = ensure(held, ChunkIdMode::Constant).await;
    assert_eq!((found.unwrap(), changes.len()), (Readiness::Ready, 0));
    let (found, changes) = ensure(Held::default(), ChunkIdMode::InRow).await;
    assert_eq!((found.unwrap(), changes.len()), (Readiness::Ready, 0));
}

#[tokio::test]
async fn the_python_apps_table_gains_the_column_and_keeps_its_folder() {
    let (found, changes) = ensure(Held::default(), ChunkIdMode::Constant).await;
    assert_eq!(found.unwrap(), Readiness::Extended);
    assert_eq!(changes, [".create-merge table T (ChunkId:string)"]);
}

/// A database that shows schemas and answers every other look with `code`.
fn showing_only_schemas(schema: &'static str, code: u16) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        let csl = seen.csl();
        if csl.starts_with(".show") && !csl.ends_with("cslschema") {
            status(code)
        } else {
            Held { schema, ..Held::default() }.answer(seen)
        }
    }
}

#[tokio::test]
async fn a_look_on_which_nothing_depends_is_a_warning_where_it_is_denied() {
    let held = || Held { schema: "Timestamp:datetime,RawData:dynamic,ChunkId:string", ..Held::default() };
    for denied in ["policy encoding", "policy extent_tags_retention"] {
        for of_the_database in [true, false] {
            let held = Held { of_all: Vec::new(), ..held() };
            let rule = move |seen: &Seen| {
                let csl = seen.csl();
                let is_it = of_the_database == csl.starts_with(".show database") && csl.ends_with(denied);
                if is_it { status(403) } else { held.answer(seen) }
            };
            let (found, changes) = ensure_wanted(rule, wanted()).await;
            let ready = found.unwrap_or_else(|error| panic!("{denied}: {error}"));
            assert_eq!((ready.largest_cell, changes.len()), (None, 0), "{denied}: {changes:?}");
            let told: Vec<_> = ready.warnings.iter().filter(|told| told.contains("could not be looked at")).collect();
            assert!(told.len() == 1 && told[0].contains("the role Database Viewer"), "{denied}: {:?}", ready.warnings);
        }
    }
    // Rows that are hidden would be missing from a count, which proves none of them.
    for denied in ["policy row_level_security", "policy restricted_view_access"] {
        for is_there in [true, false] {
            let held = held();
            let rule = move |seen: &Seen| match seen.csl() {
                csl if csl.ends_with(denied) => status(403),
                csl if !is_there && csl.ends_with("cslschema") => missing("Table", "T"),
                _ => held.answer(seen),
            };
            let (found, _) = ensure_wanted(rule, wanted()).await;
            let ready = found.unwrap_or_else(|error| panic!("{denied}: {error}"));
            let told = ready.warnings.iter().filter(|told| told.starts_with("whether T hides rows from the counts"));
            assert_eq!(told.count(), 1, "{denied}: {:?}", ready.warnings);
        }
    }
    // So is the table's own retention; that of the database says nothing then.
    for is_there in [true, false] {
        let held = Held { of_all: vec![("retention", r#"{"SoftDeletePeriod":"00:00:00"}"#)], ..held() };
        let rule = move |seen: &Seen| match seen.csl() {
            csl if csl == ".show table T policy retention" => status(403),
            csl if csl.starts_with(".show database") && csl.ends_with("policy retention") && !is_there => {
                Held::default().answer(seen)
            }
            csl if !is_there && csl.ends_with("cslschema") => missing("Table", "T"),
            _ => held.answer(seen),
        };
        let (found, _) = ensure_wanted(rule, wanted()).await;
        let ready = found.unwrap_or_else(|error| panic!("{is_there}: {error}"));
        let told = ready.warnings.iter().filter(|told| told.starts_with("for how long T keeps rows")).count();
        assert_eq!(told, usize::from(is_there), "{is_there}: {:?}", ready.warnings);
    }
    // And the mapping, which ingestion does without.
    let held_one = held();
    let rule = move |seen: &Seen| {
        if seen.csl().contains("ingestion json mapping") { status(403) } else { held_one.answer(seen) }
    };
    let (found, _) = ensure_wanted(rule, Destination { ours: true, ..wanted() }).await;
    let ready = found.unwrap();
    let told: Vec<_> = ready.warnings.iter().filter(|told| told.contains("mapping RawDataMap of T")).collect();
    assert!(told.len() == 1 && told[0].contains("the role Database"), "{:?}", ready.warnings);
    // Whether the database keeps rows at all the first count tells.
    for is_there in [true, false] {
        let held = held();
        let rule = move |seen: &Seen| match seen.csl() {
            csl if csl.starts_with(".show database") && csl.ends_with("policy retention") => status(403),
            csl if !is_there && csl.ends_with("cslschema") => missing("Table", "T"),
            _ => held.answer(seen),
        };
        let (found, _) = ensure_wanted(rule, wanted()).await;
        let ready = found.unwrap_or_else(|error| panic!("{is_there}: {error}"));
        let told = ready.warnings.iter().filter(|told| told.contains("keeps rows could not be looked at")).count();
        assert_eq!(told, 1, "{is_there}: {:?}", ready.warnings);
    }
}

#[tokio::test]
async fn a_policy_that_a_setting_asks_for_and_that_may_not_be_looked_at_stops_no_table() {
    let policies = || Policies {
        retention: Some(DAY * 90),
        caching: Some(DAY * 7),
        batching: json!({"MaximumNumberOfItems": 10}).as_object().cloned(),
        ..Policies::default()
    };
    let schema = "Timestamp:datetime,RawData:dynamic,ChunkId:string";
    for may_alter in [true, false] {
        let held = Held { schema, ..Held::default() };
        let rule = move |seen: &Seen| {
            let csl = seen.csl();
            let is_policy = ["retention", "caching", "ingestionbatching"].iter().any(|policy| {
                let alters = csl.starts_with(".alter") && csl.contains(&format!("policy {policy}"));
                csl == format!(".show table T policy {policy}") || (alters && !may_alter)
            });
            if is_policy { status(403) } else { held.answer(seen) }
        };
        let (found, changes) = ensure_wanted(rule, Destination { policies: policies(), ..wanted() }).await;
        let ready = found.unwrap_or_else(|error| panic!("{error}"));
        let told = |words: &str| ready.warnings.iter().filter(|told| told.contains(words)).count();
        // A caching policy may have hot windows, which would be lost.
        assert_eq!(told("the caching policy of T could not be looked at"), 1, "{:?}", ready.warnings);
        assert_eq!(
            told("have an administrator of the table run"),
            if may_alter { 0 } else { 2 },
            "{:?}",
            ready.warnings
        );
        let altered = |policy: &str| changes.iter().any(|csl| csl.contains(&format!("policy {policy}")));
        assert!(altered("retention") && altered("ingestionbatching") && !altered("caching"), "{changes:?}");
    }
}

#[tokio::test]
async fn what_may_not_be_looked_at_is_told_by_a_look_alone_too() {
    let held = Held { schema: "Timestamp:datetime,RawData:dynamic,ChunkId:string", ..Held::default() };
    let fake = Fake::start(
        move |seen| {
            if seen.csl().ends_with("T policy retention") { status(403) } else { held.answer(seen) }
        },
    );
    let (fake, mut told) = (fake.await, Vec::new());
    let missing = catalog(&fake).look_at_destination(&wanted(), &mut told, soon()).await.unwrap();
    assert_eq!((missing, told.len()), (Some(Vec::new()), 1), "{told:?}");
}

#[tokio::test]
async fn a_service_that_cannot_show_policies_has_none_and_one_that_denies_them_is_not_trusted() {
    for code in [400, 404, 405] {
        let rule = showing_only_schemas("Timestamp:datetime,RawData:dynamic", code);
        let (found, changes) = ensure_at(rule, ChunkIdMode::Constant, true).await;
        assert_eq!(found.unwrap(), Readiness::Extended, "{code}");
        assert_eq!(changes[0], ".create-merge table T (ChunkId:string)", "{code}");
        assert!(changes[1].starts_with(".create-or-alter table T ingestion json mapping"), "{changes:?}");
    }
    let rule = showing_only_schemas("Timestamp:datetime,RawData:dynamic", 403);
    let (found, changes) = ensure_at(rule, ChunkIdMode::Constant, true).await;
    assert!(matches!(found, Err(DestinationError::Adx(Error::Denied { .. }))), "{found:?}");
    assert!(changes.is_empty(), "{changes:?}");
}

#[tokio::test]
async fn a_mapping_lost_in_a_crash_is_made_by_the_next_run_and_no_other_is_touched() {
    let (as_made, wider) = (
        "Timestamp:datetime,RawData:dynamic,ChunkId:string",
        "Timestamp:datetime,RawData:dynamic,ChunkId:string,X:int",
    );
    for (schema, ours, made) in [(as_made, true, 1), (as_made, false, 1), (wider, true, 1), (wider, false, 0)] {
        let rule = move |seen: &Seen| {
            if seen.csl().starts_with(".show table T ingestion") {
                return v1("Name:string,Kind:string", &json!([["Other", "Json"]]));
            }
            Held { schema, ..Held::default() }.answer(seen)
        };
        let (found, changes) = ensure_at(rule, ChunkIdMode::Constant, ours).await;
        assert_eq!((found.unwrap(), changes.len()), (Readiness::Ready, made), "{schema} {ours}");
    }
    let held = |seen: &Seen| Held { schema: as_made, ..Held::default() }.answer(seen);
    assert_eq!(ensure_at(held, ChunkIdMode::Constant, false).await.1.len(), 0);
}

#[tokio::test]
async fn nothing_is_altered_when_a_view_or_a_policy_could_break() {
    let policy = |entity: &str, source: &str, query: &str, enabled: bool| {
        json!([[
            "UpdatePolicy",
            entity,
            json!([{"IsEnabled": enabled, "Source": source, "Query": query, "IsTransactional": true}]).to_string()
        ]])
    };
    let star = json!([["Latest", "T", "T | summarize arg_max(Timestamp, *) by Id", false]]);
    let follows = json!([["Latest", "T", "T | summarize arg_max(Timestamp, *) by Id", true]]);
    let joined = json!([["Joined", "Other", "Other | join T on Id | summarize take_any(*) by Id", false]]);
    let plain = json!([["Sums", "T", "T | summarize count() by Id", false]]);
    for (views, policies, blocker) in [
        (star, json!([]), Some("materialized view `Latest`")),
        (follows, json!([]), None),
        (plain, json!([]), None),
        (json!([]), policy("[Hunting].[Derived]", "T", "T | extend X = 1", true), Some("update policy of `Derived`")),
        (json!([]), policy("[Hunting].[Derived]", "T", "F()", true), Some("update policy of `Derived`")),
        (json!([]), policy("[Hunting].[Derived]", "T", "T", true), Some("update policy of `Derived`")),
        (json!([]), policy("[Hunting].[Derived]", "T", "Narrow()", true), None),
        (json!([]), policy("[Hunting].[Derived]", "T", "T | project Timestamp", true), None),
        (json!([]), policy("[Hunting].[Derived]", "T", "T | extend X = 1", false), None),
        (json!([]), policy("[Hunting].[Derived]", "Another", "Another", true), None),
        (
            json!([]),
            policy("[Hunting].[Derived]", "Another", "Another | join T on Id", true),
            Some("policy of `Derived`"),
        ),
        (json!([]), policy("[Hunting].[Derived]", "Another", "F()", true), Some("policy of `Derived`")),
        (json!([]), policy("[Hunting].[Derived]", "Another", "Another | join T on Id | project A", true), None),
        (json!([]), policy("[Hunting].[Derived]", "Another", "Another | where T2 == 1", true), None),
        (json!([]), policy("[Hunting].[Derived]", "Hunting.T", "T", true), Some("policy of `Derived`")),
        (json!([]), policy("Hunting.T", "Raw", "Raw | project A", true), Some("fills it from `Raw`")),
        (joined, json!([]), Some("materialized view `Joined`")),
        (json!([]), policy("[Hunting].[T]", "Raw", "Raw | project A", true), Some("fills it from `Raw`")),
    ] {
        let case = format!("{views} {policies}");
        let (found, changes) = ensure(Held { views, policies, ..Held::default() }, ChunkIdMode::Constant).await;
        match (found, blocker) {
            (Ok(Readiness::Extended), None) => assert_eq!(changes.len(), 1, "{case}"),
            (Err(error @ DestinationError::Blocked { .. }), Some(text)) => {
                let shown = error.to_string();
                assert!(shown.contains(text) && shown.contains("CHUNK_ID=row"), "{shown}");
                assert!(changes.is_empty(), "{changes:?}");
            }
            (found, _) => panic!("{case}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn what_makes_a_proof_impossible_is_named_before_anything_is_altered() {
    let own = |name, policy| Held { own: vec![(name, policy)], ..Held::default() };
    let of_all = |name, policy| Held { of_all: vec![(name, policy)], ..Held::default() };
    let secured = own("row_level_security", r#"{"IsEnabled":true,"Query":"F"}"#);
    let off = own("row_level_security", r#"{"IsEnabled":false,"Query":"F"}"#);
    let kept = own("retention", r#"{"SoftDeletePeriod":"365.00:00:00"}"#);
    let gone = own("retention", r#"{"SoftDeletePeriod":"00:00:00"}"#);
    let all_gone = of_all("retention", r#"{"SoftDeletePeriod":"00:00:00"}"#);
    let other = Held { schema: "Timestamp:string,RawData:dynamic", ..Held::default() };
    let (found, changes) = ensure(secured, ChunkIdMode::Constant).await;
    assert!(matches!(found, Err(DestinationError::Hidden(Hidden::RowLevelSecurity { .. }))) && changes.is_empty());
    assert!(ensure(off, ChunkIdMode::Constant).await.0.is_ok());
    assert!(ensure(kept, ChunkIdMode::Constant).await.0.is_ok());
    for held in [gone, all_gone] {
        let (found, changes) = ensure(held, ChunkIdMode::Constant).await;
        let shown = found.unwrap_err().to_string();
        assert!(shown.contains("`.alter-merge table T policy retention softdelete = 365d`"), "{shown}");
        assert!(changes.is_empty(), "{changes:?}");
    }
    let (found, changes) = ensure(other, ChunkIdMode::Constant).await;
    let shown = found.unwrap_err().to_string();
    assert!(shown.contains("`Timestamp` as `string` where `datetime`") && changes.is_empty(), "{shown}");
}

/// A table that is as it has to be.
fn as_made() -> Held {
    Held { schema: "Timestamp:datetime,RawData:dynamic,ChunkId:string", of_all: Vec::new(), ..Held::default() }
}

/// A table that is not there until it is made.
fn not_there(held: Held) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| if seen.csl().ends_with("cslschema") { missing("Table", "T") } else { held.answer(seen) }
}

#[tokio::test]
async fn a_table_whose_rows_are_proved_is_not_made_anew() {
    let lost = Destination { must_be_there: true, ..wanted() };
    let (found, changes) = ensure_wanted(not_there(as_made()), lost).await;
    assert!(matches!(found, Err(DestinationError::Gone { table }) if table == "T"));
    assert_eq!(changes, Vec::<String>::new());
    let (found, changes) = ensure_wanted(not_there(as_made()), wanted()).await;
    assert_eq!(found.unwrap().readiness, Readiness::Created);
    assert!(changes[0].starts_with(".create-merge table T "), "{changes:?}");
}

#[tokio::test]
async fn a_table_that_is_made_is_looked_at_like_any_as_made() {
    let zero = || vec![("retention", r#"{"SoftDeletePeriod":"00:00:00"}"#)];
    let (found, changes) = ensure_wanted(not_there(Held { of_all: zero(), ..as_made() }), wanted()).await;
    let shown = found.unwrap_err().to_string();
    assert!(shown.contains("`.alter-merge database Hunting policy retention softdelete = 365d`"), "{shown}");
    assert!(changes.is_empty(), "{changes:?}");

    let secured = Held { own: vec![("row_level_security", r#"{"IsEnabled":true}"#)], ..as_made() };
    let (found, _) = ensure_wanted(not_there(secured), wanted()).await;
    assert!(matches!(found, Err(DestinationError::Hidden(_))));

    // The setting raises it before it is looked at; where that is denied, nothing would stay.
    let policies = Policies { retention: Some(DAY * 90), ..Policies::default() };
    let (found, changes) =
        ensure_wanted(not_there(Held { of_all: zero(), ..as_made() }), Destination { policies, ..wanted() }).await;
    assert!(matches!(found, Err(DestinationError::ZeroRetention { .. })));
    assert!(changes.contains(&".alter-merge table T policy retention softdelete = 90d".to_owned()), "{changes:?}");
}

#[tokio::test]
async fn restricted_view_access_is_named_unless_this_identity_sees_the_rows_all_the_same() {
    let restricted = || Held { own: vec![("restricted_view_access", "true")], ..as_made() };
    for (code, hidden) in [(403, true), (200, false)] {
        let held = restricted();
        let rule = move |seen: &Seen| match (seen.csl().as_str(), code) {
            ("T | take 0", 403) => status(403),
            ("T | take 0", _) => v2("A:int", &json!([])),
            _ => held.answer(seen),
        };
        let (found, changes) = ensure_wanted(rule, wanted()).await;
        match found {
            Err(error @ DestinationError::Hidden(Hidden::RestrictedView { .. })) if hidden => {
                let shown = error.to_string();
                assert!(shown.contains("`.add database Hunting unrestrictedviewers ('aadapp="), "{shown}");
                assert!(changes.is_empty(), "{changes:?}");
            }
            Ok(_) if !hidden => {}
            other => panic!("{other:?}"),
        }
    }
    let fake = Fake::start(move |seen| restricted().answer(seen)).await;
    // The answer is none of a query: neither hidden nor seen.
    assert!(catalog(&fake).hides_rows(&name("T"), soon()).await.is_err());
}

/// The commands that change a table as made, and what is told.
async fn altered(held: Held, ours: bool, policies: Policies) -> (Vec<String>, Vec<String>) {
    let (found, changes) =
        ensure_wanted(move |seen| held.answer(seen), Destination { ours, policies, ..wanted() }).await;
    (changes, found.unwrap().warnings)
}

const THIRTY_DAYS: &str =
    r#".alter table T policy extent_tags_retention '[{"RetentionPeriod":"30.00:00:00","TagPrefix":"ingest-by:"}]'"#;

#[tokio::test]
async fn the_tags_of_windows_last_a_month_where_nobody_says_otherwise() {
    let tags = |text| vec![("extent_tags_retention", text)];
    let (short, long) = (
        r#"[{"TagPrefix":"ingest-by:","RetentionPeriod":"7.00:00:00"}]"#,
        r#"[{"TagPrefix":"ingest-by:","RetentionPeriod":"14.00:00:00"}]"#,
    );
    let none = Vec::<String>::new();
    let unasked = Policies::default;
    assert_eq!(altered(as_made(), true, unasked()).await, (vec![THIRTY_DAYS.to_owned()], none.clone()));
    assert_eq!(altered(as_made(), false, unasked()).await, (none.clone(), none.clone()), "not ours, and not asked for");
    for held in [Held { own: tags(long), ..as_made() }, Held { of_all: tags(long), ..as_made() }] {
        assert_eq!(altered(held, true, unasked()).await, (none.clone(), none.clone()));
    }
    for (held, ours) in
        [(Held { own: tags(short), ..as_made() }, true), (Held { of_all: tags(short), ..as_made() }, false)]
    {
        let (changes, told) = altered(held, ours, unasked()).await;
        assert_eq!(changes, none);
        assert!(told[0].contains("go after 7 days") && told[0].contains(&format!("`{THIRTY_DAYS}`")), "{told:?}");
    }
    let off = || Policies { tags: Tags::AsTheyAre, ..unasked() };
    assert_eq!(altered(as_made(), true, off()).await, (none.clone(), none.clone()));
    let asked = || Policies { tags: Tags::For(DAY * 60), ..unasked() };
    let drop_by = r#"[{"TagPrefix":"drop-by:","RetentionPeriod":"3.00:00:00"}]"#;
    let (changes, told) = altered(Held { of_all: tags(drop_by), ..as_made() }, false, asked()).await;
    assert_eq!(told, none);
    assert_eq!(
        changes,
        [
            r#".alter table T policy extent_tags_retention '[{"RetentionPeriod":"3.00:00:00","TagPrefix":"drop-by:"},{"RetentionPeriod":"60.00:00:00","TagPrefix":"ingest-by:"}]'"#
        ]
    );
    let backdated = Policies { backdated: true, ..unasked() };
    let (changes, _) = altered(as_made(), true, backdated).await;
    assert!(changes[0].contains("60.00:00:00"), "extents are as old as their rows: {changes:?}");
}

fn everything() -> Policies {
    let batching = json!({"MaximumBatchingTimeSpan": "00:00:30"});
    Policies {
        folder: Some("Hot".to_owned()),
        retention: Some(DAY * 90),
        caching: Some(DAY * 7),
        batching: batching.as_object().cloned(),
        encoding: Some(Encoding::BigObject32),
        tags: Tags::AsTheyAre,
        backdated: false,
    }
}

#[tokio::test]
async fn what_settings_ask_is_altered_once_and_only_where_it_differs() {
    let (changes, told) = altered(as_made(), false, everything()).await;
    assert_eq!(
        changes,
        [
            ".alter table T folder \"Hot\"",
            ".alter-merge table T policy retention softdelete = 90d",
            ".alter table T policy caching hot = 7d",
            ".alter-merge table T policy ingestionbatching '{\"MaximumBatchingTimeSpan\":\"00:00:30\"}'",
            ".alter column T.RawData policy encoding type = 'BigObject32'",
        ]
    );
    assert_eq!(told, Vec::<String>::new());
    let own = vec![
        ("retention", r#"{"SoftDeletePeriod":"90.00:00:00","Recoverability":"Disabled"}"#),
        ("caching", r#"{"DataHotSpan":{"Value":"7.00:00:00"},"IndexHotSpan":{"Value":"7.00:00:00"}}"#),
        ("ingestionbatching", r#"{"MaximumBatchingTimeSpan":"00:00:30","MaximumNumberOfItems":500}"#),
        ("encoding", r#"{"Profile":"BigObject32"}"#),
    ];
    let held = Held { own, ..as_made() };
    let rule = move |seen: &Seen| {
        if seen.csl().ends_with("cslschema") {
            return v1("TableName:string,Schema:string,Folder:string", &json!([["T", held.schema, "Hot"]]));
        }
        held.answer(seen)
    };
    let (found, changes) = ensure_wanted(rule, Destination { policies: everything(), ..wanted() }).await;
    assert_eq!((changes, found.unwrap().largest_cell), (Vec::new(), Some(32 << 20)));
}

#[tokio::test]
async fn hot_windows_of_a_person_are_not_taken_away() {
    let own = vec![(
        "caching",
        r#"{"DataHotSpan":"1.00:00:00","IndexHotSpan":"1.00:00:00","HotWindows":[{"MinValue":"2026-01-01"}]}"#,
    )];
    let policies = Policies { caching: Some(DAY * 7), tags: Tags::AsTheyAre, ..Policies::default() };
    let (changes, told) = altered(Held { own, ..as_made() }, true, policies).await;
    assert_eq!(changes, Vec::<String>::new());
    assert!(
        told[0].contains("hot windows") && told[0].contains("`.alter table T policy caching hot = 7d`"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_policy_that_may_not_be_altered_is_told_with_its_command_and_stops_nothing() {
    for code in [403, 400] {
        let held = as_made();
        let rule = move |seen: &Seen| if seen.csl().starts_with(".alter") { status(code) } else { held.answer(seen) };
        let (found, changes) = ensure_wanted(rule, Destination { policies: everything(), ..wanted() }).await;
        let told = found.unwrap().warnings;
        assert_eq!((changes.len(), told.len()), (5, 5), "{told:?}");
        for (command, told) in changes.iter().zip(&told) {
            assert!(told.contains(&format!("`{command}`")), "{command}: {told}");
            assert_eq!(told.contains("`.add table T admins ('aadapp="), code == 403, "{told}");
        }
    }
    let held = as_made();
    let rule = move |seen: &Seen| if seen.csl().starts_with(".alter") { status(503) } else { held.answer(seen) };
    let (found, _) = ensure_wanted(rule, Destination { policies: everything(), ..wanted() }).await;
    assert!(matches!(found, Err(DestinationError::Adx(Error::OutcomeUnknown { .. }))), "{found:?}");
}

#[tokio::test]
async fn what_reads_a_table_of_others_and_cannot_be_seen_could_break() {
    for look in [".show materialized-views", ".show table * policy update", ".show functions"] {
        for (ours, blocked) in [(false, true), (true, false)] {
            let rule = move |seen: &Seen| if seen.csl() == look { status(400) } else { Held::default().answer(seen) };
            let (found, changes) = ensure_at(rule, ChunkIdMode::Constant, ours).await;
            match found {
                Err(error @ DestinationError::Blocked { .. }) if blocked => {
                    let shown = error.to_string();
                    assert!(shown.contains("does not show them") && shown.contains("CHUNK_ID=row"), "{shown}");
                    assert!(changes.is_empty(), "{changes:?}");
                }
                Ok(Readiness::Extended) if !blocked => {}
                other => panic!("{look}: {other:?}"),
            }
        }
    }
    // Where the id is kept in the row nothing is looked at, as nothing is altered.
    let rule = |seen: &Seen| if seen.csl() == ".show functions" { status(400) } else { Held::default().answer(seen) };
    let (found, changes) = ensure_at(rule, ChunkIdMode::InRow, false).await;
    assert_eq!((found.unwrap(), changes), (Readiness::Ready, Vec::new()));
}
