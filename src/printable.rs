//! Texts of services and of people, as they may stand on one line of a terminal or a script, and numbers as people read them. Knows
//! nothing of what they say.

use indicatif::HumanCount;

/// The parts of a text between whatever ends a line or steers a terminal.
pub fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// The text with blanks in the place of what ends a line or steers a terminal.
pub fn one_line(text: &str) -> String {
    parts(text).collect::<Vec<_>>().join(" ")
}

/// A number with a comma before each three digits.
pub fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_line_or_steers_the_terminal() {
        assert_eq!(one_line("a\nb\r\u{1b}[2Jc\u{2028}d\u{85}e"), "a b  [2Jc d e");
        assert_eq!(one_line("as it is  é😀"), "as it is  é😀");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
