//! IMDB: whether a film review is positive, word by word.

use std::collections::HashMap;
use std::path::Path;

use super::{NAMES_OF_OPINIONS, files_below};
use crate::arrays::numbered;
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::{Error, Result};
use crate::normalise::NormaliseConfig;
use crate::random::Random;
use crate::readers::read_bytes;
use crate::series::RawSeries;
use crate::split::Parts;

/// Rarer words are all one unknown word.
const VOCABULARY: usize = 20_000;
/// The last words of longer reviews count.
const MOST_WORDS: usize = 200;
/// Values that stand for a word.
const WIDTH: usize = 16;

/// Reads the folders `train/pos`, `train/neg`, `test/pos` and `test/neg`; every tenth training review validates.
///
/// Words are the training part's 20,000 most frequent ones. Where the paper learns 64 values a word, a word is 16 fixed random numbers of
/// deviation 1 here, since these networks have no layer that learns them.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let root = folder.join("aclImdb");
    let root = if root.is_dir() {
        root
    } else {
        folder.to_path_buf()
    };
    let (train, test) = (reviews(&root, "train")?, reviews(&root, "test")?);
    let ranks = vocabulary(&train);
    let vectors = vectors();
    let series = |(index, review): (usize, &Review)| {
        let words = &review.words[review.words.len().saturating_sub(MOST_WORDS)..];
        let unknown = &vectors[..WIDTH];
        let vector = |word: &String| {
            ranks
                .get(word)
                .map_or(unknown, |rank| &vectors[rank * WIDTH..(rank + 1) * WIDTH])
        };
        RawSeries {
            name: review.name.clone(),
            file: index,
            rows: words.len(),
            features: words.iter().flat_map(vector).copied().collect(),
            targets: vec![review.is_positive; words.len()],
            ..RawSeries::default()
        }
    };
    let all: Vec<RawSeries> = train.iter().enumerate().map(series).collect();
    let (validation, train) = all.into_iter().partition(|one| one.file % 10 == 9);
    Ok(Assembly {
        parts: Parts {
            train,
            validation,
            test: test.iter().enumerate().map(series).collect(),
            ..Parts::default()
        },
        features: numbered("word", WIDTH),
        targets: vec!["opinion".to_owned()],
        task: TaskConfig::LabelLastStep,
        classes: NAMES_OF_OPINIONS.map(str::to_owned).to_vec(),
        normalise: NormaliseConfig::NONE,
        ..Assembly::default()
    })
}

struct Review {
    name: String,
    words: Vec<String>,
    is_positive: f32,
}

fn reviews(root: &Path, part: &str) -> Result<Vec<Review>> {
    let mut reviews = Vec::new();
    for (folder, is_positive) in [("neg", 0.0), ("pos", 1.0)] {
        for path in files_below(&root.join(part).join(folder), "imdb", "txt")? {
            let text = String::from_utf8_lossy(&read_bytes(&path)?)
                .to_lowercase()
                .replace("<br />", " ");
            let is_inside = |c: char| c.is_alphanumeric() || c == '\'';
            let words: Vec<String> = text
                .split(|c| !is_inside(c))
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect();
            if words.is_empty() {
                return Err(Error::EmptyFile { path });
            }
            reviews.push(Review {
                name: format!("{part}/{folder}/{}", crate::table::stem(&path)),
                words,
                is_positive,
            });
        }
    }
    Ok(reviews)
}

/// Ranks from 1, the most frequent word first; 0 is the unknown word.
fn vocabulary(reviews: &[Review]) -> HashMap<String, usize> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in reviews.iter().flat_map(|review| &review.words) {
        *counts.entry(word).or_default() += 1;
    }
    let mut words: Vec<(&str, usize)> = counts.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    words.truncate(VOCABULARY - 1);
    words
        .into_iter()
        .enumerate()
        .map(|(rank, (word, _))| (word.to_owned(), rank + 1))
        .collect()
}

/// Fixed vectors of the ranks, the unknown word's first.
fn vectors() -> Vec<f32> {
    let mut random = Random::new(20_000, 0);
    (0..VOCABULARY * WIDTH)
        .map(|_| random.normal() as f32)
        .collect()
}
