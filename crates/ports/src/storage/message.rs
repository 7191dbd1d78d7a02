//! How a message's bytes stand in a queue that holds text. Knows no adapter.

use super::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The text of `body` on the queue: base64, as the Functions queue trigger expects by default.
pub fn to_text(body: &[u8]) -> String {
    STANDARD.encode(body)
}

/// What a text of the queue stands for. Text that happens to be base64 cannot be told from a message of ours.
pub fn from_text(text: String) -> Body {
    match STANDARD.decode(&text) {
        Ok(bytes) => Body::Bytes(bytes.into()),
        Err(_) => Body::Foreign(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_back_as_they_were(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(from_text(to_text(&bytes)), Body::Bytes(bytes.into()));
        }
    }

    #[test]
    fn text_that_is_not_base64_comes_back_as_it_was() {
        for text in ["{\"a\":1}", " aGk=", "aGk=\n", "aGk", "aGl=", "ü"] {
            assert_eq!(from_text(text.to_owned()), Body::Foreign(text.to_owned()));
        }
    }
}
