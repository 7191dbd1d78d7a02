//! A shared access signature of an account (rest-api-ref `Create-an-account-SAS`). Checks what can be seen without its key.

use crate::secret::Secret;
use crate::timestamp::Timestamp;
use std::borrow::Cow;
use url::form_urlencoded;

/// What a signature must be for.
const SERVICES: &str = "bqt";
/// Without one of these nothing can be done: read, add, update, delete, and take messages. The others are needed once, to make
/// table, queues and container.
const PERMISSIONS: &str = "raudp";

/// A signature, as a query. `Debug` shows its times only.
#[derive(Debug, Clone)]
pub(in crate::storage::azure) struct Sas {
    query: Secret,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Sas {
    /// Checks a signature; the question mark before it may be there.
    ///
    /// # Errors
    /// What is wrong with it, without any part of it but the letters of its services.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let query = text.trim().trim_start_matches('?').trim_matches('&');
        if query.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#') {
            return Err(
                "the SharedAccessSignature holds white space or other characters that no signature has".to_owned()
            );
        }
        let value = |name: &str| -> Option<Cow<'_, str>> {
            form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
        };
        if value("sig").is_none_or(|signature| signature.is_empty()) {
            return Err("the SharedAccessSignature lacks its signature (`sig=`); copy it whole".to_owned());
        }
        let Some(services) = value("ss") else {
            return Err("the SharedAccessSignature is not one of an account (it has no `ss=`); make an account SAS for tables, \
                 queues and blobs"
                .to_owned());
        };
        if !SERVICES.chars().all(|service| services.contains(service)) {
            return Err("the SharedAccessSignature is not for all of tables, queues and blobs (`ss=bqt`)".to_owned());
        }
        if value("sp").is_some_and(|permissions| !PERMISSIONS.chars().all(|letter| permissions.contains(letter))) {
            return Err("the SharedAccessSignature lacks a permission; make one with `sp=rwdlacup`".to_owned());
        }
        let time = |name: &str| value(name).and_then(|text| instant(&text));
        Ok(Self { query: Secret::new(query), from: time("st"), until: time("se") })
    }

    /// The query, for the one place that sends it.
    pub(in crate::storage::azure) fn expose(&self) -> &str {
        self.query.expose()
    }

    /// When it begins, if it says so.
    pub(in crate::storage::azure) fn from(&self) -> Option<Timestamp> {
        self.from
    }

    /// When it ends.
    pub(in crate::storage::azure) fn until(&self) -> Option<Timestamp> {
        self.until
    }
}

/// A time in one of the forms that signatures have: a date, with minutes, or with seconds.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        17 => format!("{}:00Z", text.trim_end_matches('Z')),
        _ => text.to_owned(),
    };
    whole.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_knows_its_times_in_every_form() {
        for (text, expected) in [
            ("2026-04-14", "2026-04-14T00:00:00Z"),
            ("2026-04-14T07:08Z", "2026-04-14T07:08:00Z"),
            ("2026-04-14T07:08:09Z", "2026-04-14T07:08:09Z"),
            ("2026-04-14T07%3A08%3A09Z", "2026-04-14T07:08:09Z"),
        ] {
            let sas = Sas::parse(&format!("?sv=2022-11-02&ss=bqt&se={text}&sig=x")).unwrap();
            assert_eq!(sas.until(), Some(expected.parse().unwrap()), "{text}");
            assert_eq!(sas.from(), None);
        }
        let sas = Sas::parse("ss=tqbf&sig=a%2Bb&st=soon&").unwrap();
        assert_eq!((sas.expose(), sas.from(), sas.until()), ("ss=tqbf&sig=a%2Bb&st=soon", None, None));
    }

    #[test]
    fn what_cannot_be_a_signature_for_all_three_services_is_refused() {
        for text in ["", "?", "sv=1&ss=bqt", "ss=bqt&sig=", "sig=hunter2", "ss=b&sig=hunter2", "ss=bqt&sig=hunter2 x"] {
            let error = Sas::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", Sas::parse("ss=bqt&sig=hunter2").unwrap()).contains("hunter2"));
    }
}
