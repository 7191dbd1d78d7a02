//! The document: markup, style and script in one, and the policy that allows exactly those two. Holds no data.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

const MARKUP: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Where style and script go.
const STYLE_PLACE: &str = "/*style*/";
const SCRIPT_PLACE: &str = "/*script*/";

/// The page, and what a browser is to allow it.
pub struct Page {
    /// HTML.
    pub document: String,
    /// The value of `Content-Security-Policy` (www.w3.org "Content Security Policy Level 3"): style and script are known by
    /// their hashes, and no text can become markup or a script's source (`require-trusted-types-for`).
    pub policy: String,
}

/// The page.
pub fn page() -> Page {
    let document = MARKUP.replacen(STYLE_PLACE, STYLE, 1).replacen(SCRIPT_PLACE, SCRIPT, 1);
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        source(SCRIPT),
        source(STYLE)
    );
    Page { document, policy }
}

fn source(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between the only two tags of a name.
    fn between<'t>(document: &'t str, tag: &str) -> &'t str {
        let (before, rest) = document.split_once(&format!("<{tag}>")).unwrap();
        let (inside, after) = rest.split_once(&format!("</{tag}>")).unwrap();
        assert!(!before.contains(&format!("<{tag}")) && !after.contains(&format!("<{tag}")), "{tag}");
        inside
    }

    #[test]
    fn the_policy_knows_the_only_script_and_the_only_style() {
        let page = page();
        for (tag, directive) in [("script", "script-src"), ("style", "style-src")] {
            let expected = format!("{directive} {};", source(between(&page.document, tag)));
            assert!(page.policy.contains(&expected), "{expected} in {}", page.policy);
        }
        assert!(!page.policy.contains("unsafe"));
    }

    #[test]
    fn the_page_takes_nothing_from_elsewhere_and_makes_no_markup_of_texts() {
        let document = page().document;
        let elsewhere = ["<link rel=\"stylesheet\"", " src=", "@import", "url(", " style=", " onclick", "innerHTML"];
        for word in elsewhere.into_iter().chain(["outerHTML", "insertAdjacentHTML", "document.write", "eval("]) {
            assert!(!document.contains(word), "{word}");
        }
        assert!(!document.replace("http://www.w3.org/2000/svg", "").contains("http"));
    }
}
