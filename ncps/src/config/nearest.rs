//! The nearest known word to a misspelt one, for "did you mean".

/// Number of single-letter edits (insert, delete, replace, swap of neighbours) between two words.
///
/// # Source
/// Optimal string alignment, the restricted form of the Damerau-Levenshtein distance.
pub(crate) fn edit_distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let width = right.len() + 1;
    let mut before_last = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, b) in right.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b;
            if swapped {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[width - 1]
}

/// The candidate that `word` most likely stands for, or none if all are too far away.
///
/// A candidate counts when at most a third of the letters differ, or when one word begins with the other.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = normalise(word);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let known = normalise(candidate);
            let distance = edit_distance(&plain, &known);
            let allowed = (plain.chars().count().max(known.chars().count()) / 3).max(1);
            let is_prefix =
                plain.len() >= 3 && (known.starts_with(&plain) || plain.starts_with(&known));
            (distance <= allowed || (is_prefix && !known.is_empty()))
                .then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Lower case without separators, so that `batchSize` is no distance from `batch_size`.
fn normalise(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_counted_by_hand() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("epohcs", "epochs", 1),
            ("units", "units", 0),
        ] {
            assert_eq!(edit_distance(left, right), expected, "{left} / {right}");
        }
    }

    #[test]
    fn the_nearest_key_is_found_and_strangers_are_not() {
        let keys = ["epochs", "batch_size", "learning_rate"];
        assert_eq!(nearest("epoch", keys), Some("epochs"));
        assert_eq!(nearest("batchSize", keys), Some("batch_size"));
        assert_eq!(nearest("lerning_rate", keys), Some("learning_rate"));
        assert_eq!(nearest("batch", keys), Some("batch_size"));
        assert_eq!(nearest("zzz", keys), None);
    }
}
