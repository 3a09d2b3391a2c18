//! Every kind of bad input has its own error, which names the place.

use ncps_datasets::{Error, ErrorKind, Frame};

use crate::support::{Folder, npy};

const CSV: &str = "kind = \"csv\"\npath = \"data.csv\"\n";

/// Loads a CSV text with some more config lines and gives the error.
fn csv_error(text: &str, config: &str) -> Error {
    let folder = Folder::new();
    folder.write("data.csv", text);
    folder.load(&format!("{CSV}{config}")).unwrap_err()
}

fn rows(count: usize) -> String {
    let lines: String = (0..count)
        .map(|row| format!("{row},{},{}\n", row * 2, row % 2))
        .collect();
    format!("t,a,label\n{lines}")
}

#[test]
fn missing_file() {
    let error = Folder::new().load(CSV).unwrap_err();
    assert!(matches!(&error, Error::NotFound { path } if path.ends_with("data.csv")));
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("data.path"), "{error}");
}

#[test]
fn folder_without_files_of_the_format() {
    let folder = Folder::new();
    folder.write("notes.md", "x");
    let error = folder.load("kind = \"npy\"\npath = \".\"").unwrap_err();
    assert!(matches!(&error, Error::NoFiles { extension, .. } if extension == "npy"));
}

#[test]
fn empty_file() {
    for text in ["", "\n", "a,b\n"] {
        assert!(matches!(csv_error(text, ""), Error::EmptyFile { .. }));
    }
    let folder = Folder::new();
    folder.write("data.npy", "").write("data.parquet", "");
    for kind in ["npy", "parquet"] {
        let error = folder
            .load(&format!("kind = \"{kind}\"\npath = \"data.{kind}\""))
            .unwrap_err();
        assert!(matches!(error, Error::EmptyFile { .. }), "{error}");
    }
}

#[test]
fn ragged_csv() {
    let error = csv_error("a,b\n1,2\n3,4\n5\n", "");
    assert!(matches!(
        error,
        Error::RaggedRow {
            row: 3,
            found: 1,
            expected: 2,
            ..
        }
    ));
    assert_eq!(error.kind(), ErrorKind::Data);
}

#[test]
fn text_in_a_number_column() {
    let error = csv_error("a,b\n1,2\n3,warm\n5,6\n", "features = [\"a\", \"b\"]");
    assert!(
        matches!(&error, Error::NotANumber { column, row: 2, value, .. } if column == "b" && value == "warm")
    );
    let message = error.to_string();
    assert!(
        message.contains("`b`, data row 2") && message.contains("`warm`"),
        "{message}"
    );
}

#[test]
fn nan_in_the_data() {
    for gap in ["NaN", "", "NA"] {
        let error = csv_error(&format!("a,b\n1,2\n3,{gap}\n5,6\n"), "");
        assert!(
            matches!(&error, Error::NotFinite { column, row: 2, .. } if column == "b"),
            "{error}"
        );
    }
    let infinite = csv_error("a,b\n1,2\n3,1e99\n", "");
    assert!(matches!(infinite, Error::NotFinite { row: 2, .. }));
    let folder = Folder::new();
    folder.write(
        "data.npy",
        npy(&[3, 2], &[1.0, 2.0, 3.0, f64::NAN, 5.0, 6.0]),
    );
    let error = folder
        .load("kind = \"npy\"\npath = \"data.npy\"")
        .unwrap_err();
    assert!(
        matches!(&error, Error::NotFinite { column, row: 2, .. } if column == "x1"),
        "{error}"
    );
}

#[test]
fn time_going_backwards() {
    let text = "id,t,a\nx,0,1\nx,1,1\ny,0,1\ny,2,1\ny,1.5,1\n";
    let config = "time = { column = \"t\" }\ngroup = \"id\"";
    let error = csv_error(text, config);
    assert!(
        matches!(&error, Error::TimeBackwards { series, row: 5, .. } if series == "y"),
        "{error}"
    );
    // Without the group column, time jumps back where the next series begins.
    let error = csv_error(text, "time = { column = \"t\" }\nfeatures = [\"a\"]");
    assert!(matches!(error, Error::TimeBackwards { row: 3, .. }));
    assert!(error.to_string().contains("data.group"), "{error}");
}

#[test]
fn time_that_is_none() {
    let error = csv_error(
        "when,a\n2015-02-04,1\nyesterday,2\n",
        "time = { column = \"when\" }",
    );
    assert!(matches!(&error, Error::InvalidTime { row: 2, value, .. } if value == "yesterday"));
}

#[test]
fn window_longer_than_the_data() {
    let error = csv_error(&rows(20), "window = 50");
    assert!(
        matches!(
            error,
            Error::WindowTooLong {
                window: 50,
                longest: 13,
                part: "training"
            }
        ),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Config);
    // Long enough for training, but not for the 3 validation rows.
    let error = csv_error(&rows(20), "window = 5");
    assert!(
        matches!(
            error,
            Error::WindowTooLong {
                part: "validation",
                longest: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn target_with_one_class() {
    let text: String = (0..40).map(|row| format!("{row},on\n")).collect();
    let config = "targets = [\"label\"]\ntask = { kind = \"label_each_step\" }\nwindow = 4";
    let error = csv_error(&format!("a,label\n{text}"), config);
    assert!(
        matches!(&error, Error::OneClass { column, class } if column == "label" && class == "on")
    );
}

#[test]
fn target_that_is_no_class() {
    let text: String = (0..40).map(|row| format!("{row},{}.5\n", row)).collect();
    let config = "targets = [\"label\"]\ntask = { kind = \"label_each_step\" }\nwindow = 4";
    let error = csv_error(&format!("a,label\n{text}"), config);
    assert!(
        matches!(&error, Error::NotAClass { reason, .. } if reason.contains("0.5")),
        "{error}"
    );
}

#[test]
fn unknown_column() {
    let error = csv_error(
        &rows(9),
        "targets = [\"lable\"]\ntask = { kind = \"regression_each_step\" }\nfeatures = [\"a\"]",
    );
    assert!(matches!(&error, Error::UnknownColumn { nearest: Some(near), .. } if near == "label"));
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn unknown_target_with_features_left_open() {
    let error = csv_error(
        &rows(9),
        "targets = [\"lable\"]\ntask = { kind = \"regression_each_step\" }",
    );
    assert!(matches!(error, Error::UnknownColumn { .. }), "{error}");
}

#[test]
fn duplicate_column() {
    let error = csv_error("a,b,a\n1,2,3\n", "");
    assert!(matches!(&error, Error::DuplicateColumn { column, .. } if column == "a"));
}

#[test]
fn truncated_and_foreign_npy() {
    let whole = npy(&[4, 2], &[0.0; 8]);
    for (bytes, expected) in [
        (&whole[..whole.len() - 3], "truncated"),
        (b"a,b\n1,2\n", "not an npy file"),
    ] {
        let folder = Folder::new();
        folder.write("data.npy", bytes);
        let error = folder
            .load("kind = \"npy\"\npath = \"data.npy\"")
            .unwrap_err();
        assert!(matches!(error, Error::Malformed { format: "npy", .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn npy_files_of_different_width() {
    let folder = Folder::new();
    folder
        .write("a.npy", npy(&[4, 2], &[0.0; 8]))
        .write("b.npy", npy(&[4, 1], &[0.0; 4]));
    let error = folder.load("kind = \"npy\"\npath = \".\"").unwrap_err();
    assert!(error.to_string().contains("b.npy"), "{error}");
}

#[test]
fn truncated_and_foreign_parquet() {
    let folder = Folder::new();
    let path = folder.path().join("data.parquet");
    Frame::new()
        .with_number("a", vec![1.0; 50])
        .unwrap()
        .write(&path)
        .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for (bytes, expected) in [
        (&bytes[..bytes.len() / 2], "truncated"),
        (b"a,b\n1,2\n3,4\n5,6\n", "not a Parquet"),
    ] {
        folder.write("data.parquet", bytes);
        let error = folder
            .load("kind = \"parquet\"\npath = \"data.parquet\"")
            .unwrap_err();
        assert!(matches!(
            error,
            Error::Malformed {
                format: "Parquet",
                ..
            }
        ));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn csv_that_is_no_text() {
    let folder = Folder::new();
    folder.write("data.csv", b"a,b\n\xff\xfe,1\n");
    let error = folder.load(CSV).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn fractions_that_leave_a_part_empty() {
    let split = "split = { kind = \"fraction\", validation = 0.01, test = 0.0, by = \"window\" }\nwindow = 3";
    let error = csv_error(&rows(30), split);
    assert!(
        matches!(
            error,
            Error::EmptyPart {
                part: "validation",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_file_that_is_in_no_part_leaves_training_empty() {
    let folder = Folder::new();
    folder.write("a.csv", rows(9)).write("b.csv", rows(9));
    let split = "split = { kind = \"group\", train = [\"a\"], test = [\"b\"] }";
    assert!(
        folder
            .load(&format!("kind = \"csv\"\npath = \".\"\n{split}"))
            .is_ok()
    );
    let split = "split = { kind = \"files\", train = [], test = [\"b.csv\"] }";
    let error = folder
        .load(&format!("kind = \"csv\"\npath = \".\"\n{split}"))
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::EmptyPart {
                part: "training",
                ..
            }
        ),
        "{error}"
    );
}
