//! Puts checked values into the KQL files under `kql/`. A file is one query or command; lines that start
//! with `//` say what it is for and are not sent. Values get in through the writers only.

use std::fmt::{self, Display, Write as _};

/// The text of `file` with every `{{name}}` replaced. Replaced text is not looked at again.
pub(crate) fn fill(file: &str, values: &[(&str, &(dyn Display + Sync))]) -> String {
    let mut text = String::with_capacity(file.len() + 256);
    for line in file.lines().filter(|line| !line.starts_with("//")) {
        if !text.is_empty() {
            text.push('\n');
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            text.push_str(before);
            let Some((name, after)) = after.split_once("}}") else {
                debug_assert!(false, "unclosed placeholder in {line}");
                break;
            };
            let value = values.iter().find(|(known, _)| *known == name);
            debug_assert!(value.is_some(), "no value for {name}");
            if let Some((_, value)) = value {
                // Writing to a String cannot fail.
                let _ = write!(text, "{value}");
            }
            rest = after;
        }
        text.push_str(rest);
    }
    text
}

/// Items with a comma between them.
pub(crate) struct Listed<T>(pub Vec<T>);

impl<T: Display> Display for Listed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_looks_like_a_placeholder_stays_a_value() {
        let text = fill("// why\n{{a}} | {{b}}", &[("a", &"{{b}}"), ("b", &"x")]);
        assert_eq!(text, "{{b}} | x");
    }
}
