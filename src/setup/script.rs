//! A plan as a script for people: commands with the reason of each in a comment above it. Whatever a comment repeats, its lines
//! stay comments, so that nobody's name or message becomes a command.

use super::plan::{Item, Plan};
use crate::printable::parts;
use std::fmt::{self, Display};

/// The longest line of a comment.
const WIDTH: usize = 110;

/// Writes a text as a comment, its own lines and long ones broken.
pub(super) fn comment(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for line in parts(text) {
        let mut width = 0;
        for word in line.split_ascii_whitespace() {
            let length = word.chars().count() + 1;
            if width > 0 && width + length > WIDTH {
                width = 0;
                writeln!(f)?;
            }
            f.write_str(if width == 0 { "// " } else { " " })?;
            f.write_str(word)?;
            width += length;
        }
        if width > 0 {
            writeln!(f)?;
        }
    }
    Ok(())
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(f, &format!("adxingestor: what the database {} needs", self.database))?;
        comment(f, "Run the commands one by one, from top to bottom. Run again, none of them changes anything more.")?;
        if let Some(why) = &self.blind {
            writeln!(f)?;
            comment(
                f,
                &format!(
                    "It could not be seen what is there: {why}\nSo everything is listed. The commands of tables and rows leave alone what \
                     is there; those of views replace views of the same name."
                ),
            )?;
        }
        for item in &self.items {
            writeln!(f)?;
            match item {
                Item::There(what) => comment(f, &format!("Is there, and stays as it is: {what}"))?,
                Item::Note(what) => comment(f, &format!("Note: {what}"))?,
                Item::Wrong(what) => comment(f, &format!("To be mended first: {what}"))?,
                Item::Do(step) => {
                    comment(f, &step.why)?;
                    writeln!(f, "{}", step.csl)?;
                }
            }
        }
        if self.steps().next().is_none() && !self.is_wrong() {
            writeln!(f)?;
            comment(f, "Nothing is left to do.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_comment_becomes_a_command() {
        let hostile = "a\n.drop table T\r.drop table U\u{2028}.drop table V\u{85}.drop table W";
        let long = "word ".repeat(100);
        let items =
            vec![Item::There(hostile.into()), Item::Note(hostile.into()), Item::Wrong(format!("{hostile} {long}"))];
        let plan = Plan { database: hostile.into(), items, blind: Some(hostile.into()) };
        let text = plan.to_string();
        for line in text.split(['\n', '\r', '\u{2028}', '\u{85}']) {
            assert!(line.is_empty() || line.starts_with("// "), "{line:?}");
            assert!(line.chars().count() <= WIDTH + 4, "{line:?}");
        }
    }
}
