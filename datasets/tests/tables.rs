//! Tables of every role: groups, times, labels, regression columns, Parquet, and reading for prediction.

use approx::assert_relative_eq;
use ncps_datasets::{DataSchema, Dataset, Frame, Task};

use crate::support::{Folder, first_batch, npy};

/// Three boats of different length, one observation every second or two, with a text label.
fn boats() -> String {
    let mut text = String::from("boat,when,speed,wind,state\n");
    for (boat, rows) in [("ada", 12), ("bob", 9), ("cyd", 12)] {
        for row in 0..rows {
            let second = row + row / 2;
            let state = if row % 4 < 2 { "tack" } else { "gybe" };
            text += &format!(
                "{boat},2024-05-01T10:00:{second:02}Z,{row}.5,{},{state}\n",
                row % 5
            );
        }
    }
    text
}

fn load(config: &str) -> Dataset {
    let folder = Folder::new();
    folder.write("boats.csv", boats());
    folder
        .load(&format!(
            "kind = \"csv\"\npath = \"boats.csv\"\ngroup = \"boat\"\n{config}"
        ))
        .unwrap()
}

const BY_BOAT: &str = "split = { kind = \"group\", train = [\"ada\", \"bob\"], test = [\"cyd\"] }";

#[test]
fn features_left_open_are_the_numbers_without_another_role() {
    let dataset = load(&format!("time = {{ column = \"when\" }}\n{BY_BOAT}"));
    assert_eq!(dataset.schema.features, ["speed", "wind"]);
    assert_eq!(dataset.schema.targets, ["speed", "wind"]);
    // Whole series: the longest boat gives 11 steps, bob's 8 are padded and masked.
    assert_eq!((dataset.train.len(), dataset.train.time()), (2, 11));
    let batch = first_batch(&dataset.train, 2);
    assert_eq!(batch.mask.unwrap().iter().sum::<f32>() as usize, 11 + 8);
}

#[test]
fn times_become_spans_until_the_forecast() {
    let dataset = load(&format!(
        "time = {{ column = \"when\", scale = \"none\" }}\n{BY_BOAT}"
    ));
    let batch = first_batch(&dataset.test, 1);
    // Seconds 0, 1, 3, 4, 6, ...
    assert_eq!(
        batch.timespans.unwrap()[..4]
            .iter()
            .map(|span| *span as u32)
            .collect::<Vec<_>>(),
        [1, 2, 1, 2]
    );
}

#[test]
fn labels_of_text_become_sorted_classes() {
    let task = "targets = [\"state\"]\ntask = { kind = \"label_last_step\" }\ntime = { column = \"when\" }\nwindow = 4\nstride = 1";
    let dataset = load(&format!("{task}\n{BY_BOAT}"));
    assert_eq!(
        dataset.schema.task,
        Task::Classification {
            classes: vec!["gybe".into(), "tack".into()]
        }
    );
    let batch = first_batch(&dataset.test, 3);
    assert_eq!(batch.target_shape, [3]);
    // Last steps 3, 4 and 5 of the cycle tack, tack, gybe, gybe.
    assert_eq!(
        batch
            .targets
            .iter()
            .map(|class| *class as u32)
            .collect::<Vec<_>>(),
        [0, 1, 1]
    );
    let counts = dataset.test.class_counts().unwrap();
    assert_eq!(counts.iter().sum::<u64>(), 9);
    let baseline = dataset.baseline();
    assert_relative_eq!(baseline.metrics["balanced_accuracy"], 0.5);
}

#[test]
fn regression_reads_the_target_of_the_same_row() {
    let task = "features = [\"wind\"]\ntargets = [\"speed\"]\ntask = { kind = \"regression_last_step\" }\nwindow = 3\nstride = 3";
    let dataset = load(&format!(
        "{task}\nnormalise = {{ targets = \"none\" }}\n{BY_BOAT}"
    ));
    let batch = first_batch(&dataset.test, 2);
    assert_eq!(batch.target_shape, [2, 1]);
    assert_relative_eq!(batch.targets[0], 2.5);
    assert_relative_eq!(batch.targets[1], 5.5);
    let baseline = dataset.baseline();
    assert_eq!(baseline.name, "mean");
    assert!(baseline.metrics["r2"] <= 0.0);
}

#[test]
fn parquet_gives_what_csv_gives() {
    let folder = Folder::new();
    folder.write("boats.csv", boats());
    Frame::read(&folder.path().join("boats.csv"), ',')
        .unwrap()
        .write(&folder.path().join("boats.parquet"))
        .unwrap();
    let batch = |format: &str| {
        let head = format!("kind = \"{format}\"\npath = \"boats.{format}\"\ngroup = \"boat\"\n");
        let dataset = folder
            .load(&format!("{head}time = {{ column = \"when\" }}\n{BY_BOAT}"))
            .unwrap();
        first_batch(&dataset.train, 2)
    };
    assert_eq!(batch("csv"), batch("parquet"));
}

#[test]
fn a_model_reads_new_files_through_its_schema() {
    let dataset = load(&format!(
        "targets = [\"speed\"]\ntime = {{ column = \"when\" }}\n{BY_BOAT}"
    ));
    let schema = saved_and_loaded(&dataset.schema);
    let folder = Folder::new();
    folder.write(
        "new.csv",
        "wind,boat,when,speed\n1,eve,2024-05-01 10:00:00,2\n2,eve,2024-05-01 10:00:03,4\n",
    );
    let series = schema.read(&folder.path().join("new.csv"), ',').unwrap();
    assert_eq!(
        (series.len(), series[0].name.as_str(), series[0].steps),
        (1, "eve", 2)
    );
    // The features stand in the order of training, whatever the new file's order.
    assert_eq!(series[0].x[..2], schema.row(&[2.0, 1.0])[..]);
    let time = schema.time.as_ref().unwrap();
    let spans = series[0].timespans.as_ref().unwrap();
    assert_relative_eq!(f64::from(spans[0]), 3.0 / time.scale, epsilon = 1e-6);
    assert_relative_eq!(spans[1], time.edge);
    let mut predictions = [0.0f32];
    schema.restore(&mut predictions);
    assert_relative_eq!(
        f64::from(predictions[0]),
        schema.normaliser.targets[0].shift,
        epsilon = 1e-5
    );
}

fn saved_and_loaded(schema: &DataSchema) -> DataSchema {
    let text = toml::to_string(schema).unwrap();
    let loaded: DataSchema = toml::from_str(&text).unwrap();
    assert_eq!(&loaded, schema);
    loaded
}

#[test]
fn arrays_of_series_are_read_for_training_and_prediction() {
    let folder = Folder::new();
    let values: Vec<f64> = (0..4 * 10 * 2).map(f64::from).collect();
    folder
        .write("many.npy", npy(&[4, 10, 2], &values))
        .write("one.npy", npy(&[6, 2], &values[..12]));
    let split = "split = { kind = \"fraction\", validation = 0.25, test = 0.25, by = \"series\" }";
    let dataset = folder
        .load(&format!(
            "kind = \"npy\"\npath = \"many.npy\"\nwindow = 5\n{split}"
        ))
        .unwrap();
    assert_eq!(
        [
            dataset.train.len(),
            dataset.validation.len(),
            dataset.test.len()
        ],
        [2, 1, 1]
    );
    let series = dataset
        .schema
        .read(&folder.path().join("one.npy"), ',')
        .unwrap();
    assert_eq!(
        (series.len(), series[0].steps, series[0].x.len()),
        (1, 6, 12)
    );
    let narrow = folder
        .write("narrow.npy", npy(&[6], &values[..6]))
        .path()
        .join("narrow.npy");
    assert!(
        dataset
            .schema
            .read(&narrow, ',')
            .unwrap_err()
            .to_string()
            .contains("1 columns")
    );
}

#[test]
fn a_split_by_time_uses_dates() {
    let split = "split = { kind = \"time\", validation = \"2024-05-01T10:00:09Z\", test = \"2024-05-01T10:00:12Z\" }";
    let dataset = load(&format!(
        "features = [\"speed\"]\ntime = {{ column = \"when\" }}\n{split}"
    ));
    // Rows 0 to 5 of each boat come before second 9.
    assert_eq!(dataset.train.steps_total(), 3 * 5);
}

#[test]
fn tabs_separate_a_tsv() {
    let folder = Folder::new();
    let rows: String = (0..40).map(|row| format!("{row}\t{}\n", row * 2)).collect();
    folder.write("a.tsv", format!("a\tb\n{rows}"));
    let dataset = folder
        .load("kind = \"csv\"\npath = \"a.tsv\"\nwindow = 4")
        .unwrap();
    assert_eq!(dataset.inputs(), 2);
}
