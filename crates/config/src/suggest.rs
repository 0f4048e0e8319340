//! "Did you mean": the name that is nearest to one that is not known.

/// At most this many letters may be wrong; a swap of two neighbours is one.
const FAR: usize = 2;

/// Longer texts are not names that somebody mistyped; this also bounds the work.
const LONGEST: usize = 64;

/// The name of `names` that somebody who wrote `found` probably meant.
pub(crate) fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if found.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let wanted = plain(found);
    // In short names two wrong letters make another word.
    let far = if wanted.chars().count() <= 4 { 1 } else { FAR };
    let near = |name: &'a str| {
        let distance = distance(&wanted, &plain(name));
        (distance <= far).then_some((distance, name))
    };
    names
        .into_iter()
        .filter(|name| name.len() <= LONGEST)
        .filter_map(near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().abs_diff(right.len()) > FAR {
        return FAR + 1;
    }
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=right.len()).collect();
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["workers", "threads", "app", "env", "loop", "max_requests", "max_requests_jitter"];
        for (found, meant) in [
            ("wrokers", Some("workers")),
            ("worker", Some("workers")),
            ("Threads", Some("threads")),
            ("max-requests", Some("max_requests")),
            ("ap", Some("app")),
            ("evn", Some("env")),
            ("pool", None),
            ("lopo", Some("loop")),
            ("x", None),
            ("", None),
            ("completely_different", None),
        ] {
            assert_eq!(nearest(found, names), meant, "{found}");
        }
        assert_eq!(nearest(&"w".repeat(100_000), names), None);
    }
}
