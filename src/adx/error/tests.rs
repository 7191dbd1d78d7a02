use super::*;
use crate::adx::codes::DOWNLOAD_FORBIDDEN;
use crate::remedy::Application;
use serde_json::{Value, json};

fn error(status: u16, body: &Value, csl: &str, changes: bool) -> Error {
    let app = &Application::default();
    RequestText { csl, database: "Db", app, changes }.error_of_status(status, None, body.to_string().as_bytes())
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Throttled { .. } => "throttled",
        Error::Unavailable { .. } => "unavailable",
        Error::Refused { permanent: true, .. } => "refused for good",
        Error::Refused { .. } => "refused",
        Error::Denied { .. } => "denied",
        Error::Unauthorized { .. } => "unauthorized",
        Error::NotFound { .. } => "not found",
        Error::NotOffered { .. } => "not offered",
        Error::OutcomeUnknown { .. } => "unknown",
        Error::Corrupt { .. } => "corrupt",
        Error::TooLarge { .. } => "too large",
        Error::Outbound(_) => "outbound",
    }
}

#[test]
fn a_database_that_is_not_there_is_told_from_what_is_not_there_in_it() {
    let missing = |what: &str| Error::NotFound { what: what.to_owned() }.is_missing_database();
    assert!(missing("Entity name 'D' of kind 'Database' does not exist."));
    assert!(missing("Database 'D' could not be found"));
    assert!(!missing("Entity ID 'T' of kind 'Table' was not found in database 'D'"));
    assert!(!missing("'where' operator: Failed to resolve table or column expression named 'vw_database'"));
    assert!(!Error::corrupt("database").is_missing_database());
    assert!(Error::NotFound { what: format!("{NO_ADDRESS} (status 404)") }.is_missing_address());
}

#[test]
fn every_status_and_code_says_what_to_do_next() {
    let object = |code: &str, message: &str, permanent: bool| json!({"error": {"code": code, "message": "Request is invalid", "@message": message, "@permanent": permanent}});
    let semantic = |message: &str| {
        json!({"error": {"code": "General_BadRequest", "message": "x", "@message": "Semantic error", "@permanent": true,
            "innererror": {"code": "SEM0100", "message": message}}})
    };
    let table = [
        (401, object("Unauthorized", "bad token", true), true, "unauthorized"),
        (403, object("Forbidden", "Principal is not authorized", true), false, "denied"),
        (400, object("BadRequest_TableAccessDenied", "no", true), false, "denied"),
        (404, object("NotFound", "no such page", true), false, "not found"),
        (
            400,
            object("BadRequest_EntityNotFound", "Entity ID 'T' of kind 'Table' was not found.", true),
            true,
            "not found",
        ),
        (404, object("NotFound", "Entity name 'D' of kind 'Database' does not exist.", true), true, "not found"),
        (400, semantic("'where' operator: Failed to resolve table or column expression named 'T'"), false, "not found"),
        (400, semantic("Failed to resolve scalar expression named 'ChunkId'"), false, "refused for good"),
        // A function of the language, which no command makes.
        (
            400,
            json!({"error": {"code": "General_BadRequest", "message": "x", "@permanent": true, "innererror":
                {"code": "SEM0260", "message": "'where' operator: Unknown function: 'strcmp'"}}}),
            false,
            "refused for good",
        ),
        (400, object("BadRequest", "Failed to resolve table expression named 'T'", true), false, "not found"),
        (400, object("BadRequest", "failed to resolve entity 'T'", true), false, "not found"),
        (400, object("General_BadRequest", "Table 'T' could not be found", true), true, "not found"),
        (400, object("BadRequest", "The function V does not exist.", true), false, "not found"),
        (400, object("BadRequest", "View 'V' doesn't exist", true), false, "not found"),
        (400, object("BadRequest", "JSON mapping 'RawDataMap' not found", true), false, "not found"),
        (400, object("BadRequest", "column 'C' of table 'T' does not exist", true), false, "refused for good"),
        (400, object("BadRequest", "the viewer was not found", true), false, "refused for good"),
        (403, object("Forbidden", "principal not found among those of table 'T'", true), false, "denied"),
        (400, object("BadRequest_SyntaxError", "Syntax error", true), true, "refused for good"),
        (429, object("TooManyRequests", "slow down", false), true, "throttled"),
        (400, object("KustoRequestThrottledException", "aborted due to throttling", false), true, "throttled"),
        (503, json!("not json"), true, "unknown"),
        (503, json!("not json"), false, "unavailable"),
        (500, object("InternalServerError", "oops", false), false, "unavailable"),
        (500, object("InternalServerError", "oops", false), true, "unknown"),
        (500, object("InternalServerError", "oops", true), true, "unknown"),
        (500, object("InternalServerError", "oops", true), false, "refused for good"),
        (504, json!({}), true, "unknown"),
        (504, json!({}), false, "unavailable"),
        (520, json!({}), true, "unknown"),
        (413, json!({}), true, "refused for good"),
        (302, json!({}), true, "refused for good"),
    ];
    for (status, body, changes, expected) in table {
        let error = error(status, &body, ".show tables", changes);
        assert_eq!(kind(&error), expected, "{status} {body}: {error}");
    }
}

#[test]
fn an_address_that_is_not_known_is_told_from_a_table_that_is_missing() {
    let object = |code: &str, message: &str| json!({"error": {"code": code, "message": message}}).to_string();
    for (status, body, unknown) in [
        (404, String::new(), true),
        (404, "<html>Not Found</html>".to_owned(), true),
        (404, object("NotFound", "No HTTP resource was found that matches the request URI"), true),
        (404, object("BadRequest_EntityNotFound", "T was not found"), false),
        (404, object("NotFound", "Entity ID 'T' of kind 'Table' was not found."), false),
        (405, object("MethodNotAllowed", "POST is not allowed"), true),
        (501, String::new(), true),
        (400, String::new(), false),
        (403, String::new(), false),
        (500, String::new(), false),
        (503, String::new(), false),
    ] {
        assert_eq!(RequestText::is_unknown_address(status, body.as_bytes()), unknown, "{status} {body}");
    }
}

#[test]
fn the_innermost_code_is_shown() {
    let body = json!({"error": {"code": "General_BadRequest", "@message": "outer text",
        "innererror": {"code": "x", "@errorCode": "SEM0019", "@errorMessage": "a longer inner text"}}});
    let shown = error(400, &body, "T", false).to_string();
    assert_eq!(shown, "ADX refused (SEM0019): a longer inner text");
}

#[test]
fn a_denial_names_the_role_and_the_command_that_grants_it() {
    for (csl, role, grant) in [
        ("T | count", "Database Viewer", "viewers"),
        (".get ingestion resources", "Database Ingestor", "ingestors"),
        (".create-merge table T (a:int) with (folder=\"f\")", "Database User", "users"),
        (".set-or-append T <| x", "Database User and Database Ingestor", "users"),
    ] {
        let shown = error(403, &json!({"error": {"code": "Forbidden", "message": "no"}}), csl, true).to_string();
        assert!(shown.contains(role), "{shown}");
        let command = format!(".add database Db {grant} ('aadapp=<application id>;<tenant id>')");
        assert!(shown.contains(&command), "{shown}");
    }
}

#[test]
fn a_load_that_is_denied_names_what_helps_and_nothing_else() {
    let load = ".ingest into table T (h'https://a.blob/c/b.gz?sig=x')";
    let object = |code: &str, message: &str| json!({"error": {"code": code, "message": message, "@permanent": true}});
    let path = "Failed to download blob: Access to persistent storage path 'https://a.blob/c/b.gz?sig=x' was denied";
    for (status, body) in
        [(403, object("Download_Forbidden", "no")), (400, object("General_BadRequest", path)), (403, json!(path))]
    {
        let error = error(status, &body, load, true);
        assert!(
            matches!(&error, Error::Refused { code, permanent: true, .. } if code == DOWNLOAD_FORBIDDEN),
            "{error}"
        );
        assert!(!error.to_string().contains("role") && !error.to_string().contains("sig="), "{error}");
    }
    let principal = object("Forbidden", "Principal 'aadapp=a;b' is not authorized to write 'T'.");
    let denied = error(403, &principal, load, true).to_string();
    assert!(denied.contains("Database Ingestor") && !denied.contains("may not read"), "{denied}");
    let either = error(403, &json!({}), load, true).to_string();
    assert!(
        either.contains("Database Ingestor") && either.contains("if it has that role, the cluster may not read"),
        "{either}"
    );
}

#[test]
fn signatures_and_control_characters_are_cut_out_of_a_services_words() {
    let shown = clean("got 'https://a.blob/c/b.gz?sv=1&sig=SECRET' and\nhttp://q/m?sig=SECRET, done");
    assert_eq!(shown, "got 'https://a.blob/c/b.gz' and http://q/m done");
    assert!(clean(&"é".repeat(5000)).chars().count() <= 2049);
}
