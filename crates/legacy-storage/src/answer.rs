//! What an answer of the service says, read from its bytes: whether a transaction was applied as a whole, and why a
//! request was refused. Does no I/O.
//!
//! Sources: rest-api-ref `Performing-Entity-Group-Transactions`, `Status-and-Error-Codes2`.

use crate::failure::Failure;
use serde_json::Value;

/// The most characters of the service's words that are passed on. Only the first line is: the next ones can hold what was
/// signed.
const MAX_MESSAGE: usize = 200;

const STATUS_LINE: &str = "HTTP/1.1 ";

/// Whether the answer of a transaction says that each of its `operations` was applied.
///
/// # Errors
/// [`Failure::Refused`] when one was refused, which means that none was applied; [`Failure::Garbled`] when the answer
/// is not whole.
pub(crate) fn transaction(body: &[u8], operations: usize) -> Result<(), Failure> {
    let garbled = |why: &str| Failure::Garbled(format!("a transaction's answer {why}"));
    let text = std::str::from_utf8(body).map_err(|_| garbled("is not UTF-8"))?.trim();
    let batch = text.lines().next().unwrap_or_default();
    let changes = text
        .lines()
        .take_while(|line| !line.starts_with(STATUS_LINE))
        .find_map(|line| line.split_once("boundary=changesetresponse_"))
        .map(|(_, id)| format!("\n--changesetresponse_{}", id.trim_end().trim_end_matches('"')));
    let (true, Some(changes)) = (batch.starts_with("--batchresponse_"), changes) else {
        return Err(garbled("has no parts"));
    };
    // A status cut short reads as another one, so that nothing is believed of an answer without its end.
    let whole = text.strip_suffix(&format!("{batch}--")).and_then(|text| text.trim_end().strip_suffix("--"));
    let parts = whole.and_then(|text| text.strip_suffix(&changes)).ok_or_else(|| garbled("is cut off"))?;
    let mut applied = 0;
    for (number, part) in parts.split(&changes).enumerate() {
        let statuses = part.lines().filter(|line| line.starts_with(STATUS_LINE)).count();
        match (number, statuses) {
            // What stands before the first part are the headers of the set.
            (0, 0) => continue,
            (1.., 1) => {}
            _ => return Err(garbled("has parts with other than one status")),
        }
        let (status, body) = status_and_body(part).ok_or_else(|| garbled("has a part without a status"))?;
        if !(200..300).contains(&status) {
            return Err(refusal(status, None, body.as_bytes()));
        }
        applied += 1;
    }
    if applied != operations {
        return Err(garbled(&format!("has {applied} parts for {operations} operations")));
    }
    Ok(())
}

/// The refusal with `status`, whose code is in a header or in the body, JSON or XML.
pub(crate) fn refusal(status: u16, code: Option<&str>, body: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(body);
    let json: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    let error = &json["odata.error"];
    let (in_body, message) = match error["code"].as_str() {
        Some(code) => (Some(code), error["message"]["value"].as_str()),
        None => (between(&text, "<Code>", "</Code>"), between(&text, "<Message>", "</Message>")),
    };
    let message = message.unwrap_or_default().lines().next().unwrap_or_default();
    // `3:The specified entity already exists.`
    let index = message.split_once(':').and_then(|(index, _)| index.parse().ok());
    Failure::Refused {
        status,
        code: code.or(in_body).unwrap_or("without a code").chars().take(MAX_MESSAGE).collect(),
        message: message.chars().take(MAX_MESSAGE).collect(),
        after: None,
        index,
    }
}

/// The status of a part, and what stands after the empty line that ends its headers.
fn status_and_body(part: &str) -> Option<(u16, &str)> {
    let start = part.find("\nHTTP/1.1 ")? + 1;
    let answer = &part[start..];
    let status = answer.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
    let body = ["\r\n\r\n", "\n\n"].iter().filter_map(|end| Some(answer.find(end)? + end.len())).min();
    Some((status, body.map_or("", |body| &answer[body..])))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Azurite 3.35.0 and the sample of rest-api-ref `Performing-Entity-Group-Transactions` write it.
    fn answer(parts: &[&str]) -> String {
        let mut text =
            "--batchresponse_a1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_b2\r\n\r\n".to_owned();
        for part in parts {
            text +=
                "--changesetresponse_b2\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n";
            text += part;
            text += "\r\n";
        }
        text + "--changesetresponse_b2--\r\n--batchresponse_a1--\r\n"
    }

    const APPLIED: &str =
        "HTTP/1.1 204 No Content\r\nDataServiceVersion: 1.0;\r\nETag: W/\"datetime'2026-04-14T07%3A00%3A00Z'\"\r\n\r\n";
    const REFUSED: &str = "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\n\r\n{\"odata.error\":{\"code\":\"EntityAlreadyExists\",\"message\":{\"lang\":\"en-US\",\"value\":\"2:The specified entity already exists.\\nRequestId:x\"}}}";

    #[test]
    fn one_success_for_each_operation_is_a_success() {
        assert!(transaction(answer(&[APPLIED]).as_bytes(), 1).is_ok());
        assert!(transaction(answer(&[APPLIED; 100]).as_bytes(), 100).is_ok());
        assert!(transaction(answer(&[APPLIED, APPLIED]).replace("\r\n", "\n").as_bytes(), 2).is_ok());
    }

    #[test]
    fn a_refused_part_is_a_refusal_with_its_operation_and_code() {
        for parts in [&[REFUSED][..], &[APPLIED, REFUSED]] {
            match transaction(answer(parts).as_bytes(), parts.len()).unwrap_err() {
                Failure::Refused { status: 409, code, message, index: Some(2), .. } => {
                    assert_eq!(
                        (code.as_str(), message.as_str()),
                        ("EntityAlreadyExists", "2:The specified entity already exists.")
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn fewer_or_more_parts_than_operations_are_no_success() {
        for operations in [0, 1, 3] {
            let error = transaction(answer(&[APPLIED, APPLIED]).as_bytes(), operations).unwrap_err();
            assert!(matches!(error, Failure::Garbled(_)), "{error}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_anywhere_is_no_success() {
        let whole = answer(&[APPLIED, APPLIED]);
        let end = whole.trim_end().len();
        for cut in 0..end {
            let error = transaction(&whole.as_bytes()[..cut], 2).unwrap_err();
            assert!(matches!(error, Failure::Garbled(_)), "{cut}: {error}");
        }
    }

    #[test]
    fn codes_are_found_in_header_json_and_xml() {
        let xml = b"\xef\xbb\xbf<?xml version=\"1.0\"?><Error><Code>PopReceiptMismatch</Code><Message>The receipt.\nRequestId:x</Message></Error>";
        let json = br#"{"odata.error":{"code":"ResourceNotFound","message":{"lang":"en-US","value":"Gone."}}}"#;
        for (code, body, expected) in [
            (None, &xml[..], "400 PopReceiptMismatch: The receipt."),
            (None, json, "400 ResourceNotFound: Gone."),
            (Some("QueueNotFound"), b"", "400 QueueNotFound: "),
            (None, b"<html>", "400 without a code: "),
        ] {
            assert_eq!(refusal(400, code, body).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_prove_nothing(body in any::<Vec<u8>>(), operations in 0..3_usize) {
            prop_assert!(transaction(&body, operations).is_err());
            let _ = refusal(400, None, &body);
        }

        #[test]
        fn a_changed_answer_never_counts_more_operations(at in 0..600_usize, byte in any::<u8>(), operations in 0..6_usize) {
            let mut body = answer(&[APPLIED, APPLIED]).into_bytes();
            let at = at % body.len();
            body[at] = byte;
            prop_assert!(operations == 2 || transaction(&body, operations).is_err());
        }
    }
}
