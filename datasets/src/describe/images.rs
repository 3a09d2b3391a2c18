//! Images in IDX files: which files belong together, and what they hold.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::columns::describe_column;
use super::propose::quoted;
use super::{ColumnDescription, Description};
use crate::arrays::numbered;
use crate::error::{Error, Result};
use crate::frame::Column;
use crate::readers::{Format, idx};

/// The largest value of a byte, by which pixels are divided unless a configuration says more.
const BYTE: f32 = 255.0;

/// An IDX file with its shape.
#[derive(Debug, Clone)]
pub(super) struct Found {
    path: PathBuf,
    shape: Vec<usize>,
}

/// Images with the labels that belong to them.
#[derive(Debug)]
struct Pair {
    images: Found,
    labels: PathBuf,
}

/// The IDX files of a folder, sorted by name.
pub(super) fn in_folder(folder: &Path) -> Vec<Found> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let shaped = |path: PathBuf| idx::shape(&path).map(|shape| Found { path, shape });
    paths.into_iter().filter_map(shaped).collect()
}

/// Describes images by a file of them, of their labels, or the folder of both.
pub(super) fn describe(path: &Path) -> Result<Description> {
    let folder = match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(Path::new("")),
    };
    // The folder of a bare name is the one that we are in.
    let searched = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut around = in_folder(searched);
    for found in &mut around {
        found.path = folder.join(found.path.file_name().unwrap_or_default());
    }
    let (train, test) = pairs(path, &around)?;
    let pictures = idx::read(&train.images.path)?;
    let classes = idx::read(&train.labels)?;
    let [count, rows, width] = *pictures.shape.as_slice() else {
        return Err(no_pair(path, "it holds no list of images"));
    };
    let column = |column: usize| -> Vec<f64> {
        let values = pictures.values.iter().skip(column).step_by(width);
        values.map(|value| f64::from(*value)).collect()
    };
    let mut columns: Vec<ColumnDescription> = numbered("x", width)
        .iter()
        .enumerate()
        .map(|(at, name)| ColumnDescription {
            // Grey values are no classes, however few there are.
            classes: None,
            ..describe_column(name, &Column::Number(column(at)))
        })
        .collect();
    let labels = classes.values.iter().map(|value| f64::from(*value));
    columns.push(describe_column("label", &Column::Number(labels.collect())));
    let largest = pictures.values.iter().copied().fold(0.0, f32::max);
    let mut files = vec![train.images.path.clone(), train.labels.clone()];
    if let Some(test) = &test {
        files.extend([test.images.path.clone(), test.labels.clone()]);
    }
    Ok(Description {
        path: path.to_path_buf(),
        format: Format::Idx.name(),
        delimiter: None,
        files,
        rows: count * rows,
        images: Some([count, rows, width]),
        columns,
        time: None,
        proposed_config: propose(&train, test.as_ref(), largest),
    })
}

/// The images to learn from and those to test on, where the files of a folder have both.
fn pairs(path: &Path, around: &[Found]) -> Result<(Pair, Option<Pair>)> {
    let (images, labels): (Vec<&Found>, Vec<&Found>) = around
        .iter()
        .filter(|found| [1, 3].contains(&found.shape.len()))
        .partition(|found| found.shape.len() == 3);
    // Of several files of as many labels, the one whose name begins and ends most like that of the images.
    let labelled = |images: &Found| {
        let fitting = labels.iter().filter(|one| one.shape[0] == images.shape[0]);
        let likest = fitting.max_by_key(|one| likeness(&one.path, &images.path));
        likest.map(|one| Pair {
            images: images.clone(),
            labels: one.path.clone(),
        })
    };
    let asked = around.iter().find(|found| found.path == path);
    let mut all: Vec<Pair> = match asked {
        Some(found) if found.shape.len() == 3 => labelled(found).into_iter().collect(),
        _ => images.iter().copied().filter_map(labelled).collect(),
    };
    if let Some(found) = asked.filter(|found| found.shape.len() == 1) {
        all.retain(|pair| pair.labels == found.path);
    }
    if all.is_empty() {
        let reason = match asked {
            Some(found) if found.shape.len() == 3 => format!(
                "no file beside it holds one label for each of its {} images",
                found.shape[0]
            ),
            Some(found) if found.shape.len() == 1 => format!(
                "no file beside it holds {} images, one for each of its labels",
                found.shape[0]
            ),
            _ => "it holds no images with as many labels".to_owned(),
        };
        return Err(no_pair(path, &reason));
    }
    // Files to learn from are called so, or are the larger ones.
    let is_train = |pair: &Pair| name(&pair.images.path).contains("train");
    all.sort_by_key(|pair| (!is_train(pair), std::cmp::Reverse(pair.images.shape[0])));
    let train = all.remove(0);
    let is_like = |found: &&&Found| {
        found.path != train.images.path && found.shape[1..] == train.images.shape[1..]
    };
    // A name that says so goes before one that only fits.
    let says_test = |found: &&&Found| {
        let name = name(&found.path);
        ["test", "t10k"].iter().any(|word| name.contains(word))
    };
    let (said, others): (Vec<&&Found>, Vec<&&Found>) =
        images.iter().filter(is_like).partition(says_test);
    let mut likely = said.into_iter().chain(others);
    let other = likely.next().and_then(|found| labelled(found));
    // Whoever names the images to test on wants to look at these alone.
    let test =
        other.filter(|test| is_train(&train) || test.images.shape[0] < train.images.shape[0]);
    Ok((train, test))
}

fn no_pair(path: &Path, reason: &str) -> Error {
    Error::Malformed {
        path: path.to_path_buf(),
        format: "IDX",
        reason: format!(
            "{reason}: put images [count, rows, columns] and labels [count] into one folder, as `images.idx` and `labels.idx`"
        ),
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().to_lowercase()
}

/// Characters that two names have in common at their begins.
fn likeness(one: &Path, other: &Path) -> usize {
    let (one, other) = (name(one), name(other));
    one.chars()
        .zip(other.chars())
        .take_while(|(a, b)| a == b)
        .count()
}

fn propose(train: &Pair, test: Option<&Pair>, largest: f32) -> String {
    let mut text = "[data]\nkind = \"idx\"\n".to_owned();
    let mut line = |key: &str, path: &Path| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key} = {}", quoted(&path.display().to_string()));
    };
    line("images", &train.images.path);
    line("labels", &train.labels);
    if let Some(test) = test {
        line("test_images", &test.images.path);
        line("test_labels", &test.labels);
    }
    text.push_str("validation = 0.15   # the last of the images to learn from\n");
    // Grey values become 0 to 1.
    let divisor = match largest {
        largest if largest <= 1.0 => Some(1.0),
        largest if largest > BYTE => Some(largest),
        _ => None,
    };
    if let Some(divisor) = divisor {
        let _ = writeln!(text, "divisor = {divisor:?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataConfig;
    use crate::describe::describe;

    #[derive(serde::Deserialize)]
    struct Run {
        data: DataConfig,
    }

    fn file(shape: &[u32], values: impl Iterator<Item = u8>) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn folder(parts: &[(&str, u8)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for &(part, count) in parts {
            let pixels = (0..count).flat_map(|image| [image, 0, 200, 9, 1, image]);
            let images = file(&[u32::from(count), 2, 3], pixels);
            let labels = file(&[u32::from(count)], (0..count).map(|image| image % 3));
            let at = |what: &str| folder.path().join(format!("{part}-{what}"));
            std::fs::write(at("images-idx3-ubyte"), images).unwrap();
            std::fs::write(at("labels-idx1-ubyte"), labels).unwrap();
        }
        folder
    }

    #[test]
    fn files_that_belong_together_are_found_by_any_of_them() {
        let folder = folder(&[("t10k", 6), ("train", 30)]);
        let at = |name: &str| folder.path().join(name);
        let all = [
            folder.path().to_path_buf(),
            at("train-images-idx3-ubyte"),
            at("train-labels-idx1-ubyte"),
        ];
        for path in all {
            let found = describe(&path).unwrap();
            assert_eq!((found.format, found.images), ("idx", Some([30, 2, 3])));
            assert_eq!(found.files.len(), 4, "{path:?}");
            let names: Vec<&str> = found.columns.iter().map(|column| &*column.name).collect();
            assert_eq!(names, ["x0", "x1", "x2", "label"]);
            let label = found.columns[3].classes.as_ref().unwrap();
            assert!(label.iter().all(|class| class.rows == 10) && label.len() == 3);
            let run: Run = toml::from_str(&found.proposed_config).unwrap();
            let dataset = run.data.load(Path::new("")).unwrap();
            let windows = [&dataset.train, &dataset.validation, &dataset.test];
            assert_eq!(windows.map(|set| set.len()), [26, 4, 6], "{path:?}");
        }
        // The images to test on, alone.
        let test = describe(&at("t10k-images-idx3-ubyte")).unwrap();
        assert_eq!((test.images, test.files.len()), (Some([6, 2, 3]), 2));
    }

    #[test]
    fn images_without_labels_are_refused_with_what_is_missing() {
        let folder = folder(&[("some", 7)]);
        let labels = folder.path().join("some-labels-idx1-ubyte");
        std::fs::write(&labels, file(&[6], 0..6)).unwrap();
        for (path, words) in [
            (folder.path().to_path_buf(), "with as many labels"),
            (
                folder.path().join("some-images-idx3-ubyte"),
                "one label for each of its 7 images",
            ),
            (labels, "holds 6 images, one for each"),
        ] {
            let error = describe(&path).unwrap_err().to_string();
            let name = path.file_name().unwrap().to_string_lossy();
            for part in [words, &name, "images.idx"] {
                assert!(error.contains(part), "no `{part}` in: {error}");
            }
        }
    }
}
