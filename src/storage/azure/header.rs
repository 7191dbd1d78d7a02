//! Looking up a header. The SDK's own look-ups write the text of an error first, and with `RUST_BACKTRACE` even walk the
//! stack, whether or not there is one; a table request makes several. Knows no header.

use azure_core::http::headers::{HeaderName, Headers};

/// The value of the header `wanted`.
pub(super) fn header<'h>(headers: &'h Headers, wanted: &HeaderName) -> Option<&'h str> {
    // Names are in lower case.
    let found = headers.iter().find(|(name, _)| name.as_str() == wanted.as_str());
    found.map(|(_, value)| value.as_str())
}
