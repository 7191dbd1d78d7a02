//! Where the rows of one table are found: URLs, and the filter of a page. Keys are quoted here and nowhere else. Knows
//! no request.
//!
//! Sources: rest-api-ref `Querying-Tables-and-Entities`, `Query-Timeout-and-Pagination`, `Insert-Entity`,
//! `Understanding-the-Table-Service-Data-Model`.

use crate::storage::limits::{self, MAX_PAGE_ROWS};
use crate::storage::{Continuation, Error, Key, Range};
use azure_core::http::Url;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;

/// All but what RFC 3986 calls unreserved. In a batch the URLs are read as text, so nothing else may stand for itself.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URLs of one table.
#[derive(Debug)]
pub(super) struct Urls {
    endpoint: Url,
    /// Where all others begin, with a slash at the end.
    base: String,
    table: String,
}

impl Urls {
    /// # Errors
    /// [`Error::Invalid`] for a name that no table can have.
    pub fn new(endpoint: Url, table: &str) -> Result<Self, Error> {
        limits::table_name(table)?;
        let base = below(&endpoint, "").into();
        Ok(Self { endpoint, base, table: table.to_owned() })
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.table
    }

    /// Where tables are made.
    pub fn tables(&self) -> Url {
        self.at("Tables")
    }

    /// Where rows are inserted.
    pub fn table(&self) -> Url {
        self.at(&self.table)
    }

    /// Where entity-group transactions go.
    pub fn batch(&self) -> Url {
        self.at("$batch")
    }

    /// The row at `key`.
    pub fn row(&self, key: &Key) -> Url {
        self.at(&self.row_path(key))
    }

    /// [`Self::table`] as the text that it is in a batch; a hundred are made sooner so.
    pub fn table_text(&self) -> String {
        format!("{}{}", self.base, self.table)
    }

    /// [`Self::row`] likewise.
    pub fn row_text(&self, key: &Key) -> String {
        format!("{}{}", self.base, self.row_path(key))
    }

    fn row_path(&self, key: &Key) -> String {
        let (partition, row) = (quoted(key.partition()), quoted(key.row()));
        format!("{}(PartitionKey={},RowKey={})", self.table, encoded(&partition), encoded(&row))
    }

    /// A page of `range`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a continuation that [`continuation`] did not make.
    pub fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Url, Error> {
        let mut query = format!("$filter={}&$top={MAX_PAGE_ROWS}", encoded(&filter(range)));
        if let Some(Continuation(text)) = after {
            let (partition, row): (String, Option<String>) = serde_json::from_str(text).map_err(|_| {
                Error::Invalid(format!("{text:?} is no continuation of this table; pass the one of the last page"))
            })?;
            query += &format!("&NextPartitionKey={}", encoded(&partition));
            if let Some(row) = row {
                query += &format!("&NextRowKey={}", encoded(&row));
            }
        }
        let mut url = self.at(&format!("{}()", self.table));
        url.set_query(Some(&query));
        Ok(url)
    }

    fn at(&self, path: &str) -> Url {
        below(&self.endpoint, path)
    }
}

fn below(endpoint: &Url, path: &str) -> Url {
    let mut url = endpoint.clone();
    url.set_path(&format!("{}/{path}", endpoint.path().trim_end_matches('/')));
    url
}

/// What the service says about the page after this one, as one text. Its parts are opaque.
pub(super) fn continuation(partition: &str, row: Option<&str>) -> Continuation {
    Continuation(serde_json::json!([partition, row]).to_string())
}

fn filter(range: &Range) -> String {
    let mut filter = format!("PartitionKey eq {}", quoted(&range.partition));
    if !range.from.is_empty() {
        filter += &format!(" and RowKey ge {}", quoted(&range.from));
    }
    if let Some(to) = &range.to {
        filter += &format!(" and RowKey lt {}", quoted(to));
    }
    filter
}

/// A text literal of OData: a quote in it is written twice.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    fn urls() -> Urls {
        Urls::new("http://127.0.0.1:10002/devstoreaccount1/".parse().unwrap(), "adxingestor").unwrap()
    }

    fn range(partition: &str, from: &str, to: Option<&str>) -> Range {
        Range { partition: partition.to_owned(), from: from.to_owned(), to: to.map(str::to_owned) }
    }

    #[test]
    fn urls_stand_below_the_endpoint() {
        let urls = urls();
        assert_eq!(urls.tables().as_str(), "http://127.0.0.1:10002/devstoreaccount1/Tables");
        assert_eq!(urls.batch().as_str(), "http://127.0.0.1:10002/devstoreaccount1/$batch");
        assert_eq!(urls.table().as_str(), "http://127.0.0.1:10002/devstoreaccount1/adxingestor");
        let urls = Urls::new("https://a.table.core.windows.net".parse().unwrap(), "abc").unwrap();
        assert_eq!(urls.table().as_str(), "https://a.table.core.windows.net/abc");
        assert_eq!(urls.table_text(), "https://a.table.core.windows.net/abc");
    }

    #[test]
    fn keys_are_quoted_and_then_encoded() {
        let key = Key::new("o'brien", " 100%+&:;{ü}").unwrap();
        assert_eq!(
            urls().row(&key).path(),
            "/devstoreaccount1/adxingestor(PartitionKey=%27o%27%27brien%27,RowKey=%27%20100%25%2B%26%3A%3B%7B%C3%BC%7D%27)"
        );
    }

    #[test]
    fn a_page_has_a_filter_and_goes_on_where_the_last_one_ended() {
        let after = continuation("1!4!cA--", Some("a b+'"));
        let url = urls().page(&range("p'", "a", Some("b c")), Some(&after)).unwrap();
        assert_eq!(
            url.query().unwrap(),
            "$filter=PartitionKey%20eq%20%27p%27%27%27%20and%20RowKey%20ge%20%27a%27%20and%20RowKey%20lt%20%27b%20c%27\
             &$top=1000&NextPartitionKey=1%214%21cA--&NextRowKey=a%20b%2B%27"
        );
        let url = urls().page(&range("p", "", None), Some(&continuation("x", None))).unwrap();
        assert!(url.query().unwrap().ends_with("&NextPartitionKey=x"), "{url}");
        for foreign in ["", "0001", "[]", "[1,2]"] {
            let error = urls().page(&range("p", "", None), Some(&Continuation(foreign.to_owned()))).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{foreign}: {error}");
        }
    }

    #[test]
    fn table_names_that_the_service_forbids_are_refused() {
        for name in ["abc", "A1b2", &"n".repeat(63)] {
            assert!(Urls::new(urls().endpoint, name).is_ok(), "{name}");
        }
        for name in ["", "ab", "1ab", "a-b", "a_bc", "äbc", "tables", "Tables", &"n".repeat(64)] {
            assert!(matches!(Urls::new(urls().endpoint, name), Err(Error::Invalid(_))), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_key_can_be_read_back_from_its_url(partition in "[^/\\\\#?\\p{Cc}]{1,40}", row in "[^/\\\\#?\\p{Cc}]{1,40}") {
            let key = Key::new(&partition, &row).unwrap();
            let url = urls().row(&key);
            prop_assert_eq!(urls().row_text(&key), url.as_str());
            let path = percent_decode_str(url.path()).decode_utf8().unwrap().into_owned();
            let keys = format!("PartitionKey='{}',RowKey='{}'", partition.replace('\'', "''"), row.replace('\'', "''"));
            prop_assert_eq!(path, format!("/devstoreaccount1/adxingestor({keys})"));
            prop_assert!(url.query().is_none() && url.fragment().is_none());
            prop_assert!(url.path().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%/(),=".contains(&byte)));
        }

        #[test]
        fn any_range_can_be_read_back_from_its_url(from in "\\PC{1,40}", to in "\\PC{1,40}") {
            let url = urls().page(&range("p", &from, Some(&to)), None).unwrap();
            let pairs: Vec<_> = url.query_pairs().collect();
            prop_assert_eq!(pairs.len(), 2);
            let filter = format!(
                "PartitionKey eq 'p' and RowKey ge '{}' and RowKey lt '{}'", from.replace('\'', "''"), to.replace('\'', "''")
            );
            prop_assert_eq!(&*pairs[0].1, &filter);
        }
    }
}
