//! The published protocols: half-cheetah forecasting and office occupancy, on files of their formats.

use approx::assert_relative_eq;
use ncps_datasets::Task;

use crate::support::{Folder, first_batch, load, npy, real_data};

/// The LTC paper's cheetah protocol: sorted files, raw units, windows of 32 with stride 10, next frame at every step.
const CHEETAH: &str = r#"
kind = "npy"
path = "."
window = 32
stride = 10
normalise = { features = "none", targets = "none" }

[split]
kind = "files"
train = { from = 15, to = 25 }
validation = { from = 0, to = 5 }
test = { from = 5, to = 15 }
"#;

/// The LTC paper's occupancy protocol: a tenth of the training file's windows validates, the other two files test.
const OCCUPANCY: &str = r#"
kind = "csv"
path = "."
features = ["Temperature", "Humidity", "Light", "CO2", "HumidityRatio"]
targets = ["Occupancy"]
task = { kind = "label_each_step" }
window = 16
stride = 1
test_stride = 8

[split]
kind = "files"
train = ["datatraining.txt"]
test = ["datatest.txt", "datatest2.txt"]
validation_fraction = 0.1
seed = 893429
"#;

#[test]
fn cheetah_files_are_split_by_place_and_windowed() {
    let folder = Folder::new();
    for file in 0..31 {
        let values: Vec<f64> = (0..60 * 2)
            .map(|value| (1000 * file + value) as f64)
            .collect();
        folder.write(&format!("trace_{file:04}.npy"), npy(&[60, 2], &values));
    }
    let dataset = folder.load(CHEETAH).unwrap();
    // Starts 0, 10 and 20 leave room for 32 steps and a target each.
    assert_eq!(
        [
            dataset.train.len(),
            dataset.validation.len(),
            dataset.test.len()
        ],
        [30, 15, 30]
    );
    assert_eq!(dataset.files.len(), 25);
    assert_eq!(dataset.train.series_name(0), "trace_0015");
    let batch = first_batch(&dataset.train, 2);
    assert_relative_eq!(batch.x[0], 15000.0);
    assert_eq!(batch.targets[..2 * 31], batch.x[2..2 * 32]);
    assert_eq!((batch.timespans, batch.mask), (None, None));
    // Every column rises by 2 a step.
    assert_relative_eq!(dataset.baseline().metrics["mse"], 4.0);
}

#[test]
fn cheetah_persistence_scores_what_the_protocol_says() {
    let Some(folder) = real_data("cheetah") else {
        return;
    };
    let dataset = load(CHEETAH, &folder).unwrap();
    assert_eq!(
        [
            dataset.train.len(),
            dataset.validation.len(),
            dataset.test.len()
        ],
        [970, 485, 970]
    );
    assert_eq!(
        (dataset.inputs(), dataset.outputs(), dataset.train.time()),
        (17, 17, 32)
    );
    // Both numbers were computed apart from this code: windows count a frame as often as they cover it,
    let baseline = dataset.baseline();
    assert_eq!(baseline.name, "persistence");
    assert_relative_eq!(baseline.metrics["mse"], 62.865_533, epsilon = 1e-4);
    // whole files count it once.
    let whole = CHEETAH.replace("window = 32\nstride = 10\n", "");
    let baseline = load(&whole, &folder).unwrap().baseline();
    assert_relative_eq!(baseline.metrics["mse"], 62.736_115, epsilon = 1e-4);
}

/// Rows of the occupancy format. The repository's header has no name for the column of row numbers; some copies have one.
fn occupancy_rows(rows: usize, quote: &str, row_number: &str) -> String {
    let mut text = format!(
        "{row_number}\"date\",\"Temperature\",\"Humidity\",\"Light\",\"CO2\",\"HumidityRatio\",\"Occupancy\"\n"
    );
    for row in 0..rows {
        let on = usize::from(row % 50 >= 30);
        let date = format!(
            "{quote}2015-02-04 {:02}:{:02}:00{quote}",
            row / 60,
            row % 60
        );
        let values = format!(
            "{}.5,{},{},{}.25,0.00{}",
            20 + on,
            25 + row % 3,
            on * 400,
            500 + row,
            400 + row % 9
        );
        text += &format!("\"{}\",{date},{values},{on}\n", row + 1);
    }
    text
}

#[test]
fn occupancy_files_are_split_and_scaled_by_the_training_file() {
    let folder = Folder::new();
    folder
        .write("datatraining.txt", occupancy_rows(215, "\"", ""))
        .write("datatest.txt", occupancy_rows(32, "\"", "\"sno\","));
    folder.write("datatest2.txt", occupancy_rows(41, "", ""));
    let dataset = folder.load(OCCUPANCY).unwrap();
    // 215 - 15 windows of stride 1, a tenth of them for validation; 3 and 4 test windows of stride 8.
    assert_eq!(
        [
            dataset.train.len(),
            dataset.validation.len(),
            dataset.test.len()
        ],
        [180, 20, 7]
    );
    let classes = Task::Classification {
        classes: vec!["0".into(), "1".into()],
    };
    assert_eq!(dataset.schema.task, classes);
    let batch = first_batch(&dataset.test, 1);
    assert_eq!(
        (batch.target_shape, batch.weights_shape),
        (vec![1, 16], vec![1, 16])
    );
    let co2 = dataset.schema.normaliser.features[3];
    // Random validation windows may hide a row or two of 215 from the fit.
    assert_relative_eq!(co2.shift, 500.25 + 107.0, epsilon = 2.0);
    assert_relative_eq!(
        f64::from(batch.x[3]),
        (500.25 - co2.shift) / co2.scale,
        epsilon = 1e-5
    );
}

#[test]
fn occupancy_has_the_published_numbers_of_rows() {
    let Some(folder) = real_data("occupancy") else {
        return;
    };
    let dataset = load(OCCUPANCY, &folder).unwrap();
    // 8143, 2665 and 9752 rows.
    assert_eq!(dataset.train.len() + dataset.validation.len(), 8143 - 15);
    assert_eq!(dataset.validation.len(), 812);
    assert_eq!(
        dataset.test.len(),
        (2665 - 16) / 8 + 1 + (9752 - 16) / 8 + 1
    );
    let baseline = dataset.baseline();
    println!("occupancy majority: {:?}", baseline.metrics);
    assert_eq!(baseline.name, "majority");
    assert!((0.74..0.80).contains(&baseline.metrics["accuracy"]));
    // Mean and deviation of the training file's temperature, computed apart from this code: 20.6191 and 1.0169.
    let temperature = dataset.schema.normaliser.features[0];
    assert_relative_eq!(temperature.shift, 20.6191, epsilon = 1e-3);
    assert_relative_eq!(temperature.scale, 1.0169, epsilon = 1e-3);
}

#[test]
fn occupancy_with_its_dates_has_timespans_of_a_minute() {
    let Some(folder) = real_data("occupancy") else {
        return;
    };
    let timed = OCCUPANCY.replace(
        "window = 16",
        "time = { column = \"date\", unit = \"minute\" }\nwindow = 16",
    );
    let dataset = load(&timed, &folder).unwrap();
    let time = dataset.schema.time.clone().unwrap();
    assert_relative_eq!(time.scale, 1.0, epsilon = 0.02);
    let batch = first_batch(&dataset.test, 32);
    assert!(
        batch
            .timespans
            .unwrap()
            .iter()
            .all(|span| (0.9..1.1).contains(span))
    );
}
