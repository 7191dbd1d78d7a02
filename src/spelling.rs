//! Which of the names that there are somebody may have meant who wrote another one. Knows none of them.

/// How alike two names have to be, from 0 to 1.
const ALIKE: f64 = 0.6;
/// The most names that are offered.
const OFFERED: usize = 3;

/// How alike two names are, whatever the case of their letters: 1 for the same one.
pub fn alike(left: &str, right: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&left.to_ascii_lowercase(), &right.to_ascii_lowercase())
}

/// The names that are most like one, the best first.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let alike = known.into_iter().map(|known| (alike(name, known), known));
    let mut near: Vec<_> = alike.filter(|(alike, _)| *alike >= ALIKE).collect();
    near.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    near.into_iter().take(OFFERED).map(|(_, known)| known).collect()
}

/// The question for the end of a message, with what it is joined by; empty where no name is near.
pub fn did_you_mean<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let near = nearest(name, known);
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_are_most_like_one_are_offered_in_order() {
        let known = ["DeviceEvents", "DeviceInfo", "DeviceFileEvents", "DeviceLogonEvents", "AlertInfo"];
        assert_eq!(nearest("deviceevnts", known), ["DeviceEvents", "DeviceFileEvents", "DeviceLogonEvents"]);
        assert_eq!(did_you_mean("AlertInf", known), "; did you mean AlertInfo?");
        assert_eq!(did_you_mean("Zebra", known), "");
    }
}
