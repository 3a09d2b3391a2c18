//! npz and IDX files.

use ncps_datasets::{Error, Task};

use crate::support::{Folder, first_batch};

const SAVED: [(&str, &[u8]); 2] = [
    ("saved.npz", include_bytes!("data/saved.npz")),
    ("packed.npz", include_bytes!("data/packed.npz")),
];
const ALL: &str = "split = { kind = \"fraction\", validation = 0.0, test = 0.0 }\nnormalise = { features = \"none\", targets = \"none\" }";

#[test]
fn numpys_archives_are_read() {
    for (name, bytes) in SAVED {
        let folder = Folder::new();
        folder.write(name, bytes);
        let config = format!(
            "kind = \"npz\"\npath = \"{name}\"\ny = \"y\"\nt = \"t\"\ntask = {{ kind = \"label_last_step\" }}\n{ALL}"
        );
        let dataset = folder.load(&config).unwrap();
        let classes = ["0", "1"].map(str::to_owned).to_vec();
        assert_eq!(dataset.schema.task, Task::Classification { classes });
        let batch = first_batch(&dataset.train, 2);
        let counted: Vec<f32> = (0..12u8).map(f32::from).collect();
        assert_eq!((batch.x, batch.targets), (counted, vec![0.0, 1.0]));
        assert_eq!(batch.timespans.unwrap(), [1.0; 6]);
    }
}

#[test]
fn arrays_that_do_not_fit_are_named() {
    let folder = Folder::new();
    folder.write("a.npz", SAVED[0].1);
    for (more, expected) in [
        (
            "y = \"labels\"\ntask = { kind = \"label_last_step\" }",
            "`labels`",
        ),
        ("task = { kind = \"label_last_step\" }", "array of targets"),
        (
            "y = \"t\"\nt = \"x\"\ntask = { kind = \"regression_each_step\" }",
            "times of shape [2, 3, 2]",
        ),
        (
            "x = \"x\"\ny = \"x\"\ntask = { kind = \"label_each_step\" }",
            "a class is one",
        ),
    ] {
        let error = folder
            .load(&format!("kind = \"npz\"\npath = \"a.npz\"\n{ALL}\n{more}"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    folder.write("b.npz", &SAVED[0].1[..300]);
    let error = folder.load("kind = \"npz\"\npath = \"b.npz\"").unwrap_err();
    assert!(
        matches!(error, Error::Malformed { format: "npz", .. }),
        "{error}"
    );
}

fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

#[test]
fn images_are_series_of_their_rows() {
    let folder = Folder::new();
    let images: Vec<u8> = (0..10).flat_map(|image| [image, 255, 0, 51]).collect();
    let labels: Vec<u8> = (0..10).map(|image| 3 + image % 2 * 4).collect();
    folder
        .write("images", idx(&[10, 2, 2], &images))
        .write("labels", idx(&[10], &labels))
        .write("few", idx(&[9], &labels[..9]));
    let config = "kind = \"idx\"\nimages = \"images\"\nlabels = \"labels\"\ntest_images = \"images\"\ntest_labels = \"labels\"\nvalidation = 0.2";
    let dataset = folder.load(config).unwrap();
    let classes = ["3", "7"].map(str::to_owned).to_vec();
    assert_eq!(dataset.schema.task, Task::Classification { classes });
    assert_eq!(
        [
            dataset.train.len(),
            dataset.validation.len(),
            dataset.test.len()
        ],
        [8, 2, 10]
    );
    let batch = first_batch(&dataset.train, 2);
    assert_eq!(batch.x[4..], [1.0 / 255.0, 1.0, 0.0, 0.2]);
    assert_eq!(batch.targets, [0.0, 1.0]);
    let error = folder
        .load(&config.replace("\"labels\"", "\"few\""))
        .unwrap_err();
    assert!(error.to_string().contains("each of 10 images"), "{error}");
}
