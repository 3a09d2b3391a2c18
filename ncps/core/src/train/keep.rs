//! How many of the best checkpoints stay: a number, or the word of the time when it was one or none.

use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Reads a number, `true` as 1 and `false` as 0.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    deserializer.deserialize_any(Count)
}

struct Count;

impl Visitor<'_> for Count {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("how many of the best checkpoints stay, for example 1")
    }

    fn visit_bool<E: Error>(self, is_kept: bool) -> Result<usize, E> {
        Ok(usize::from(is_kept))
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<usize, E> {
        usize::try_from(count).map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<usize, E> {
        usize::try_from(count).map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))
    }
}

#[cfg(test)]
mod tests {
    use crate::train::CheckpointConfig;

    #[test]
    fn numbers_and_the_older_words_are_read() {
        let read = |text: &str| toml::from_str::<CheckpointConfig>(text).map(|c| c.keep_best);
        assert_eq!(read("").unwrap(), 1);
        for (text, count) in [("true", 1), ("false", 0), ("0", 0), ("5", 5)] {
            assert_eq!(read(&format!("keep_best = {text}")).unwrap(), count);
        }
        for text in ["-1", "\"two\"", "1.5"] {
            let error = read(&format!("keep_best = {text}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains("how many of the best"), "{error}");
        }
    }
}
