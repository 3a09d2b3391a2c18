//! Files as people have them: gaps, categories, one row an observation, features of whole series, times in disorder.

use approx::assert_relative_eq;
use ncps_datasets::{DataSchema, Dataset, Error, Frame};

use crate::support::{Folder, first_batch};

const TEST_ONLY_TRAINING: &str = "split = { kind = \"fraction\", validation = 0.0, test = 0.0 }\nnormalise = { features = \"none\", targets = \"none\" }\n";

fn load(text: &str, config: &str) -> Result<Dataset, Error> {
    let folder = Folder::new();
    folder.write("data.csv", text);
    folder.load(&format!(
        "kind = \"csv\"\npath = \"data.csv\"\n{TEST_ONLY_TRAINING}{config}"
    ))
}

const GAPS: &str = "t,a,b\n0,1,\n1,,4\n3,3,\n4,,8\n";

fn gaps(missing: &str) -> Dataset {
    let config = format!(
        "missing = \"{missing}\"\nfeatures = [\"a\"]\ntargets = [\"b\"]\ntask = {{ kind = \"regression_each_step\" }}\ntime = {{ column = \"t\" }}"
    );
    load(GAPS, &config).unwrap()
}

#[test]
fn gaps_are_filled_as_asked() {
    for (missing, expected) in [
        ("forward_fill", vec![1.0, 1.0, 3.0, 3.0]),
        ("mean", vec![1.0, 2.0, 3.0, 2.0]),
        ("zero", vec![1.0, 0.0, 3.0, 0.0]),
        ("mask", vec![1.0, 1.0, 2.0, 0.0, 3.0, 1.0, 2.0, 0.0]),
    ] {
        let dataset = gaps(missing);
        let batch = first_batch(&dataset.train, 1);
        assert_eq!(batch.x, expected, "{missing}");
        // Targets are never made up: a step without one does not count.
        assert_eq!(batch.weights, [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(batch.targets, [0.0, 4.0, 0.0, 8.0]);
    }
}

#[test]
fn masks_come_with_the_time_since() {
    let dataset = gaps("mask_delta");
    assert_eq!(dataset.schema.features, ["a", "a observed", "a since"]);
    let batch = first_batch(&dataset.train, 1);
    // The median step is 1 s, so times since are divided by 1.
    let expected = [
        [1.0, 1.0, 0.0],
        [1.0, 0.0, 1.0],
        [3.0, 1.0, 3.0],
        [3.0, 0.0, 1.0],
    ];
    assert_eq!(batch.x, expected.concat());
}

#[test]
fn a_gap_without_a_policy_is_an_error_that_names_it() {
    let error = load(GAPS, "features = [\"a\"]\ntargets = [\"a\"]").unwrap_err();
    assert!(matches!(&error, Error::NotFinite { column, row: 2, .. } if column == "a"));
    assert!(error.to_string().contains("data.missing"), "{error}");
}

#[test]
fn a_model_fills_new_files_as_it_was_trained() {
    let dataset = gaps("mean");
    let saved = toml::to_string(&dataset.schema).unwrap();
    let schema: DataSchema = toml::from_str(&saved).unwrap();
    assert_eq!(schema, dataset.schema);
    let folder = Folder::new();
    folder.write("new.csv", "t,a\n5,\n6,7\n");
    let series = schema.read(&folder.path().join("new.csv"), ',').unwrap();
    // The mean of the training part, not of the new file.
    assert_eq!(series[0].x, [2.0, 7.0]);
}

#[test]
fn categories_become_inputs_of_their_own() {
    let text = "a,sky,y\n1,clear,0\n2,rain,1\n3,clear,0\n4,snow,1\n";
    let config =
        "categorical = [\"sky\"]\ntargets = [\"y\"]\ntask = { kind = \"label_each_step\" }";
    let dataset = load(text, config).unwrap();
    assert_eq!(
        dataset.schema.features,
        ["a", "sky=clear", "sky=rain", "sky=snow"]
    );
    let batch = first_batch(&dataset.train, 1);
    assert_eq!(batch.x[..8], [1.0, 1.0, 0.0, 0.0, 2.0, 0.0, 1.0, 0.0]);
    let folder = Folder::new();
    folder.write("new.csv", "a,sky\n5,hail\n");
    let series = dataset
        .schema
        .read(&folder.path().join("new.csv"), ',')
        .unwrap();
    assert_eq!(series[0].x, [5.0, 0.0, 0.0, 0.0]);
}

const LONG: &str = "patient,hour,what,value\np,0,hr,60\np,1,temp,37\np,1,hr,62\nq,0,temp,38\nq,2,hr,70\nq,0,hr,66\n";

#[test]
fn one_row_an_observation_is_made_wide() {
    let config = "group = \"patient\"\ntime = { column = \"hour\", unit = \"hour\" }\nlong = { channel = \"what\", value = \"value\" }\nmissing = \"mask\"\ntask = { kind = \"next_step\" }";
    let dataset = load(LONG, config).unwrap();
    let features = ["hr", "temp", "hr observed", "temp observed"];
    assert_eq!(dataset.schema.features, features);
    assert_eq!(dataset.schema.targets, ["hr", "temp"]);
    assert_eq!(dataset.train.len(), 2);
    let batch = first_batch(&dataset.train, 2);
    // p: (60, -) then (62, 37); the mean temperature 38 fills the gap. Only p's forecast has both its targets.
    assert_eq!(batch.x[..4], [60.0, 38.0, 1.0, 0.0]);
    assert_eq!(
        (batch.targets, batch.weights),
        (vec![62.0, 37.0, 0.0, 0.0], vec![1.0, 0.0])
    );

    let folder = Folder::new();
    folder.write("new.csv", "patient,hour,what,value\nz,0,hr,50\n");
    let series = dataset
        .schema
        .read(&folder.path().join("new.csv"), ',')
        .unwrap();
    assert_eq!(series[0].x, [50.0, 38.0, 1.0, 0.0]);
}

#[test]
fn a_long_table_needs_time_and_a_policy_for_gaps() {
    let long = "long = { channel = \"what\", value = \"value\" }\n";
    for (more, expected) in [
        ("missing = \"zero\"", "data.time"),
        ("time = { column = \"hour\" }", "data.missing"),
    ] {
        let error = load(LONG, &format!("{long}{more}"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn features_of_whole_series_are_joined_by_name() {
    let folder = Folder::new();
    folder
        .write("data.csv", "id,a\nx,1\nx,2\ny,3\ny,4\n")
        .write("who.csv", "id,age,sex\ny,50,m\nx,40,f\n");
    let config = format!(
        "kind = \"csv\"\npath = \"data.csv\"\n{TEST_ONLY_TRAINING}group = \"id\"\nstatics = {{ path = \"who.csv\", key = \"id\" }}\nfeatures = [\"a\", \"age\", \"sex\"]\ncategorical = [\"sex\"]\ntargets = [\"a\"]"
    );
    let dataset = folder.load(&config).unwrap();
    assert_eq!(dataset.schema.features, ["a", "age", "sex=f", "sex=m"]);
    let batch = first_batch(&dataset.train, 2);
    assert_eq!(batch.x, [1.0, 40.0, 1.0, 0.0, 3.0, 50.0, 0.0, 1.0]);

    folder.write("who.csv", "id,age,sex\ny,50,m\n");
    let error = folder.load(&config).unwrap_err();
    assert!(
        matches!(&error, Error::NoStatics { series, .. } if series == "x"),
        "{error}"
    );
}

#[test]
fn times_in_disorder_follow_the_policy() {
    let text = "t,a\n0,1\n2,2\n1,3\n2,6\n";
    let spans = |policy: &str| -> Result<(Vec<f32>, Vec<f32>), Error> {
        let config = format!(
            "features = [\"a\"]\ntargets = [\"a\"]\ntask = {{ kind = \"next_step\" }}\ntime = {{ column = \"t\", scale = \"none\", {policy} }}"
        );
        let batch = first_batch(&load(text, &config)?.train, 1);
        Ok((batch.x, batch.timespans.unwrap()))
    };
    assert!(matches!(
        spans("out_of_order = \"error\""),
        Err(Error::TimeBackwards { row: 3, .. })
    ));
    assert_eq!(
        spans("out_of_order = \"sort\"").unwrap(),
        (vec![1.0, 3.0, 2.0], vec![1.0, 1.0, 0.0])
    );
    assert_eq!(
        spans("out_of_order = \"sort\", duplicates = \"mean\"").unwrap(),
        (vec![1.0, 3.0], vec![1.0, 1.0])
    );
    assert!(matches!(
        spans("out_of_order = \"sort\", duplicates = \"error\""),
        Err(Error::TimeTwice { row: 4, .. })
    ));
}

#[test]
fn dates_without_a_zone_take_the_stated_one() {
    let text = "when,a\n2024-05-01 10:00,1\n2024-05-01T10:00Z,2\n2024-05-01 14:00,3\n";
    let config = "time = { column = \"when\", unit = \"hour\", zone = \"+02:00\", scale = \"none\" }\nfeatures = [\"a\"]\ntargets = [\"a\"]";
    let dataset = load(text, config).unwrap();
    let spans = first_batch(&dataset.train, 1).timespans.unwrap();
    assert_relative_eq!(spans[0], 2.0);
    assert_relative_eq!(spans[1], 2.0);
    let error = load(text, &config.replace("+02:00", "Vienna")).unwrap_err();
    assert!(error.to_string().contains("Vienna"), "{error}");
}

#[test]
fn several_distances_are_forecast_at_once() {
    let text: String = (0..8).map(|row| format!("{row},{}\n", 10 * row)).collect();
    let config = "task = { kind = \"forecast\", horizons = [1, 3] }\ntargets = [\"b\"]";
    let dataset = load(&format!("a,b\n{text}"), config).unwrap();
    assert_eq!(dataset.schema.targets, ["b+1", "b+3"]);
    let batch = first_batch(&dataset.train, 1);
    assert_eq!(batch.target_shape, [1, 5, 2]);
    assert_eq!(batch.targets[..4], [10.0, 30.0, 20.0, 40.0]);
    let baseline = dataset.baseline_on(&dataset.train);
    assert_eq!(baseline.name, "persistence");
    // Off by 10 and by 30.
    assert_relative_eq!(baseline.metrics["mse"], 500.0);
}

#[test]
fn a_column_can_tell_the_parts_apart() {
    let folder = Folder::new();
    folder.write(
        "data.csv",
        "a,fold\n1,train\n2,train\n3,dev\n4,dev\n5,test\n6,test\n7,none\n",
    );
    let split = "split = { kind = \"column\", column = \"fold\", validation = \"dev\" }";
    let config = format!("kind = \"csv\"\npath = \"data.csv\"\n{split}");
    let dataset = folder.load(&config).unwrap();
    assert_eq!(dataset.schema.features, ["a"]);
    let parts = [&dataset.train, &dataset.validation, &dataset.test];
    assert_eq!(parts.map(|part| part.len()), [1, 1, 1]);
    assert_relative_eq!(dataset.schema.normaliser.features[0].shift, 1.0);
    let error = folder
        .load(&config.replace("\"dev\"", "\"dev\", train = \"tarin\""))
        .unwrap_err();
    assert!(error.to_string().contains("`tarin`"), "{error}");
}

#[test]
fn a_short_last_window_is_padded_on_request() {
    let text: String = (0..11).map(|row| format!("{row}\n")).collect();
    let text = format!("a\n{text}");
    let windows = |more: &str| {
        load(&text, &format!("window = 4\n{more}"))
            .unwrap()
            .train
            .windows()
            .collect::<Vec<_>>()
    };
    assert_eq!(windows("").len(), 2);
    let padded = windows("pad = true");
    assert_eq!((padded.len(), padded[2].steps), (3, 2));
}

#[test]
fn arrays_are_padded_varied_sorted_by_length_and_searched_for_leaks_as_tables_are() {
    let folder = Folder::new();
    let wave = |rows: usize, speed: f64| (0..rows).map(|row| (row as f64 * speed).sin()).collect();
    for (name, rows) in [("a", 41), ("b", 23), ("c", 41)] {
        let frame = Frame::new().with_number("x", wave(rows, 0.3)).unwrap();
        frame
            .write(&folder.path().join(format!("{name}.npy")))
            .unwrap();
    }
    let head = "kind = \"npy\"\npath = \".\"\nsplit = { kind = \"files\", train = [\"a.npy\", \"b.npy\"], test = [\"c.npy\"] }\n";
    let plain = folder.load(&format!("{head}window = 12")).unwrap();
    assert_eq!(plain.train.len(), 4);
    // The test series is a training series under another name.
    assert!(
        plain.leaks[0].to_string().contains("same values"),
        "{:?}",
        plain.leaks
    );
    let refused = folder.load(&format!("{head}window = 12\nleakage = \"error\""));
    assert!(matches!(refused, Err(Error::Leak { .. })));
    let padded = folder
        .load(&format!("{head}window = 12\npad = true"))
        .unwrap();
    assert_eq!(padded.train.len(), 6);
    assert!(padded.train.has_mask());
    let sorted = folder.load(&format!("{head}buckets = 2")).unwrap();
    assert_eq!(sorted.train.batches(1, Some(1)).unwrap().shapes(), 2);
    let varied = folder
        .load(&format!("{head}window = 12\naugment = {{ jitter = 0.5 }}"))
        .unwrap();
    let shuffled = |data: &Dataset| {
        let mut batches = data.train.batches(4, Some(1)).unwrap();
        let mut batch = batches.host_batch();
        batches.fill(0, 0, &mut batch).unwrap();
        batch.x
    };
    assert_ne!(shuffled(&plain), shuffled(&varied));
    for (more, key) in [
        ("buckets = 0", "buckets"),
        ("augment = { jitter = -1.0 }", "augment"),
    ] {
        let refused = folder.load(&format!("{head}{more}")).unwrap_err();
        assert!(
            matches!(refused, Error::Config { key: found, .. } if found == key),
            "{refused}"
        );
    }
}
