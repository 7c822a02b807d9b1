//! Did you mean?

/// `; did you mean x?`, or nothing when no name is close. Every name is said with `prefix`.
pub(super) fn did_you_mean<'n>(
    name: &str,
    known: impl Iterator<Item = &'n str>,
    prefix: &str,
) -> String {
    let name = lowercase(name);
    let allowed = (name.len() / 3).max(1);
    let mut nearest: Option<(usize, &str)> = None;
    for known in known {
        let limit = nearest.map_or(allowed, |(distance, _)| distance);
        let near = distance(&name, &lowercase(known), limit).map(|distance| (distance, known));
        nearest = nearest.into_iter().chain(near).min();
    }
    match nearest {
        Some((_, known)) => format!("; did you mean {prefix}{known}?"),
        None => String::new(),
    }
}

fn lowercase(text: &str) -> Vec<char> {
    let mut chars = Vec::with_capacity(text.len());
    chars.extend(text.chars().flat_map(char::to_lowercase));
    chars
}

/// Levenshtein's distance in characters, where it is at most `limit`. What is farther away costs
/// next to nothing: whatever somebody wrote, the known names are short.
fn distance(a: &[char], b: &[char], limit: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(same..)?, b.get(same..)?);
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut next = Vec::with_capacity(row.len());
    for (i, from) in a.iter().enumerate() {
        next.clear();
        next.push(i + 1);
        for ((above_left, above), to) in row.iter().zip(row.iter().skip(1)).zip(b) {
            let replace = above_left + usize::from(from != to);
            let left = next.last().copied().unwrap_or(i);
            next.push(replace.min(above + 1).min(left + 1));
        }
        // A row's least never shrinks from one row to the next.
        if next.iter().all(|distance| *distance > limit) {
            return None;
        }
        std::mem::swap(&mut row, &mut next);
    }
    row.last().copied().filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far(a: &str, b: &str, limit: usize) -> Option<usize> {
        distance(&lowercase(a), &lowercase(b), limit)
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["bootstrap", "client_id", "mode", "node"];
        let hint = |name| did_you_mean(name, known.into_iter(), "");
        assert_eq!(hint("boostrap"), "; did you mean bootstrap?");
        assert_eq!(hint("Mode"), "; did you mean mode?");
        assert_eq!(hint("zookeeper"), "");
        // Of two that are equally near, the first by name; a nearer one comes before both.
        assert_eq!(hint("lode"), "; did you mean mode?");
        assert_eq!(hint("nods"), "; did you mean node?");
        let hint = did_you_mean("MOD", known.into_iter(), "GATE_");
        assert_eq!(hint, "; did you mean GATE_mode?");
    }

    #[test]
    fn a_distance_is_told_up_to_the_limit() {
        assert_eq!(far("kitten", "sitting", 3), Some(3));
        assert_eq!(far("kitten", "sitting", 2), None);
        assert_eq!(far("", "abc", 3), Some(3));
        assert_eq!(far("abc", "", 2), None);
        assert_eq!(far("UPGRADE_GATE_x", "upgrade_gate_y", 1), Some(1));
        assert_eq!(far("same", "same", 0), Some(0));
        assert_eq!(far(&"x".repeat(100_000), "mode", 30_000), None);
    }
}
