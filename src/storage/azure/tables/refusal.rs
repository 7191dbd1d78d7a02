//! Which operation a refusal of the table service is about, and what the codes of tables mean. Knows no request.
//!
//! Sources: rest-api-ref `Table-Service-Error-Codes`, `Performing-Entity-Group-Transactions` (the index before the
//! message).

use crate::storage::azure::error::Refusal;
use crate::storage::{Error, Operation};
use azure_core::http::headers::Headers;

/// A refusal of a whole request, or of one operation of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    refusal: Refusal,
    /// The number that the part of the batch bears, counted from 1.
    part: Option<usize>,
}

impl Refused {
    /// A refusal of a whole request.
    pub fn whole(status: u16, headers: &Headers, body: &[u8]) -> Self {
        Self { refusal: Refusal::read(status, headers, body), part: None }
    }

    /// A refusal in a part of a batch's answer.
    pub fn part(status: u16, body: &str, part: Option<usize>) -> Self {
        let mut refusal = Refusal::read(status, &Headers::new(), body.as_bytes());
        if let (true, Some((code, message))) = (refusal.code.is_empty(), of_atom(body)) {
            (refusal.code, refusal.message) = (code.to_owned(), message.lines().next().unwrap_or_default().to_owned());
        }
        Self { refusal, part }
    }

    /// Whether there is no table yet; nothing was written then.
    pub fn no_table(&self) -> bool {
        self.refusal.status == 404 && self.refusal.code == "TableNotFound"
    }

    /// Whether the table is there already.
    pub fn table_exists(&self) -> bool {
        self.refusal.status == 409 && self.refusal.code == "TableAlreadyExists"
    }

    /// Whether the row is not there. A 404 without the code may be anyone's.
    pub fn no_row(&self) -> bool {
        self.refusal.status == 404 && matches!(self.refusal.code.as_str(), "ResourceNotFound" | "EntityNotFound")
    }

    /// The error of the port. `operations` are those of the request, none for one that reads.
    pub fn into_error(self, operations: &[Operation]) -> Error {
        let code = self.refusal.code.as_str();
        let changes = |operation: &Operation| !matches!(operation, Operation::Insert(..));
        match (self.refusal.status, code) {
            (409, "EntityAlreadyExists") => Error::Exists { index: self.index(operations, |one| !changes(one)) },
            (412, _) => Error::Conflict { index: self.index(operations, changes) },
            _ if self.no_row() => Error::NotFound { what: self.row(operations, changes) },
            (413, _)
            | (_, "EntityTooLarge" | "PropertyValueTooLarge" | "TooManyProperties" | "RequestBodyTooLarge") => {
                let writes = |operation: &Operation| !matches!(operation, Operation::Delete(..));
                let what = match code {
                    "EntityTooLarge" | "PropertyValueTooLarge" | "TooManyProperties" => self.row(operations, writes),
                    _ => format!("the request of {} operations", operations.len()),
                };
                Error::TooLarge { what, limit: format!("the service ({})", self.refusal) }
            }
            // A table that is being deleted can be made again after a while.
            (_, "TableBeingDeleted" | "ServerBusy") => Error::Throttled { after: self.refusal.after },
            _ => self.refusal.into(),
        }
    }

    fn row(&self, operations: &[Operation], can_be: impl Fn(&Operation) -> bool) -> String {
        match operations.get(self.index(operations, can_be)) {
            Some(operation) => format!("the row {}", operation.key()),
            None => "the row".to_owned(),
        }
    }

    /// Which operation was refused: the number before the message, counted from 0. Where there is none, the number that
    /// the part bears; where that is missing, too, the first operation that can be refused like this: that nothing was
    /// written is what matters, and that is sure.
    fn index(&self, operations: &[Operation], can_be: impl Fn(&Operation) -> bool) -> usize {
        let within = |index: &usize| *index < operations.len();
        let named = self.refusal.message.split_once(':').and_then(|(number, _)| number.parse().ok()).filter(within);
        let part = || self.part.and_then(|part| part.checked_sub(1)).filter(within);
        named.or_else(part).or_else(|| operations.iter().position(can_be)).unwrap_or_default()
    }
}

/// Code and message of `<error …><code>…</code><message …>…</message></error>`, as older versions write them.
fn of_atom(body: &str) -> Option<(&str, &str)> {
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}"))?;
        let (_, content) = rest.split_once('>')?;
        content.split_once(&format!("</{name}>")).map(|(content, _)| content.trim())
    };
    Some((element("code")?, element("message").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{ETag, Key, Properties};
    use proptest::prelude::*;

    fn operations() -> Vec<Operation> {
        let key = |row| Key::new("p", row).unwrap();
        let etag = ETag("W/\"1\"".to_owned());
        vec![
            Operation::Insert(key("a"), Properties::new()),
            Operation::Merge(key("b"), Properties::new(), etag.clone()),
            Operation::Delete(key("c"), etag),
        ]
    }

    fn body(code: &str, message: &str) -> String {
        serde_json::json!({"odata.error": {"code": code, "message": {"lang": "en-US", "value": message}}}).to_string()
    }

    fn error(status: u16, code: &str, message: &str) -> Error {
        Refused::whole(status, &Headers::new(), body(code, message).as_bytes()).into_error(&operations())
    }

    #[test]
    fn json_and_xml_say_the_same() {
        let json = body("EntityAlreadyExists", "1:The specified entity already exists.\nRequestId:x\nTime:y");
        let atom = "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\n<error xmlns=\"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata\">\n  <code>EntityAlreadyExists</code>\n  <message xml:lang=\"en-US\">1:The specified entity already exists.\nRequestId:x</message>\n</error>";
        let xml = "<Error>\n  <Code>EntityAlreadyExists</Code>\n  <Message>1:The specified entity already exists.\nRequestId:x</Message>\n</Error>";
        for body in [&json, atom, xml] {
            let error = Refused::part(409, body, None).into_error(&operations());
            assert!(matches!(error, Error::Exists { index: 1 }), "{body}: {error}");
        }
    }

    #[test]
    fn the_refused_operation_is_named_in_the_message_or_by_its_part_or_can_be_concluded() {
        let index = |message: &str, part| {
            let refused = Refused::part(412, &body("UpdateConditionNotSatisfied", message), part);
            match refused.into_error(&operations()) {
                Error::Conflict { index } => index,
                error => panic!("{error}"),
            }
        };
        assert_eq!(index("2:The update condition was not satisfied.", Some(2)), 2);
        assert_eq!(index("The update condition was not satisfied.", Some(3)), 2);
        assert_eq!(index("3:Beyond.", Some(3)), 2);
        for (message, part) in [("None.", None), ("None.", Some(0)), ("9:Both beyond.", Some(4))] {
            assert_eq!(index(message, part), 1, "{message}");
        }
    }

    #[test]
    fn codes_become_errors_by_what_the_caller_does_next() {
        assert!(matches!(error(404, "ResourceNotFound", "2:x"), Error::NotFound { what } if what == "the row p/c"));
        assert!(matches!(error(412, "ConditionNotMet", "1:x"), Error::Conflict { index: 1 }));
        for code in ["EntityTooLarge", "PropertyValueTooLarge", "TooManyProperties"] {
            assert!(matches!(error(400, code, "1:x"), Error::TooLarge { what, .. } if what == "the row p/b"), "{code}");
        }
        assert!(matches!(error(413, "RequestBodyTooLarge", ""), Error::TooLarge { .. }));
        assert!(matches!(error(413, "", ""), Error::TooLarge { .. }));
        assert!(matches!(error(503, "ServerBusy", "x"), Error::Throttled { after: None }));
        assert!(matches!(error(409, "TableBeingDeleted", "0:x"), Error::Throttled { .. }));
        assert!(matches!(error(500, "OperationTimedOut", "x"), Error::Unavailable(_)));
        assert!(matches!(error(403, "AuthenticationFailed", "x"), Error::Fatal(_)));
        assert!(matches!(error(404, "", "x"), Error::Fatal(_)), "a 404 of someone else is no missing row");
        assert!(matches!(error(409, "", ""), Error::Fatal(_)));
    }

    proptest! {
        #[test]
        fn any_body_is_an_error(status in 300..600_u16, body in any::<String>(), xml in "(<(code|message)[^<]{0,4}>?|</(CODE|message)>|[a-zé]){0,8}") {
            drop(Refused::part(status, &body, Some(1)).into_error(&operations()));
            drop(Refused::part(status, &xml, None).into_error(&[]));
        }
    }
}
