//! Each way in which a file of each format can be malformed: the message names the file, says what was expected and what to do.
//!
//! The table of formats and tests is in `tests/README.md`.

mod archives;
mod arrow;
mod csv;
mod folders;
mod idx;
mod npy;
mod npz;
mod parquet;
mod times;

use ncps_datasets::Error;

use crate::support::Folder;

/// The message of an error, if it has all these words; each is of the file, of what was expected or of what to do.
#[track_caller]
fn told(error: &Error, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
}

/// Loads one file with more lines of configuration, and checks that it is refused in these words.
#[track_caller]
fn refused(kind: &str, name: &str, bytes: impl AsRef<[u8]>, more: &str, words: &[&str]) {
    let folder = Folder::new();
    folder.write(name, bytes);
    let loaded = folder.load(&format!("kind = \"{kind}\"\npath = \"{name}\"\n{more}"));
    assert!(loaded.is_err(), "{name} was taken");
    told(&loaded.unwrap_err(), &[&[name], words].concat());
}

/// Loads truncations of a file that leave more than what it is known by; each must be refused by name and with advice.
#[track_caller]
fn truncated(kind: &str, name: &str, whole: &[u8], stride: usize) {
    for keep in (8..whole.len()).step_by(stride) {
        refused(
            kind,
            name,
            &whole[..keep],
            "",
            &["cannot read", "copy or download it again"],
        );
    }
}
