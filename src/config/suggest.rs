//! Did you mean?

/// `; did you mean x?`, or nothing when no name is close.
pub(super) fn did_you_mean<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let allowed = (name.chars().count() / 3).max(1);
    let nearest = known
        .map(|known| (distance(name, known), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min();
    match nearest {
        Some((_, known)) => format!("; did you mean {known}?"),
        None => String::new(),
    }
}

/// Levenshtein's distance, in characters, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((above_left, above), to) in row.iter().zip(row.iter().skip(1)).zip(b.chars()) {
            let replace = above_left + usize::from(from != to);
            let left = next.last().copied().unwrap_or(i);
            next.push(replace.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["bootstrap", "client_id", "mode"];
        let hint = |name| did_you_mean(name, known.into_iter());
        assert_eq!(hint("boostrap"), "; did you mean bootstrap?");
        assert_eq!(hint("Mode"), "; did you mean mode?");
        assert_eq!(hint("zookeeper"), "");
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
