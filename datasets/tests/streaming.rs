//! Tables whose rows stay on the disk: everything must be what it is in memory, to the bit.

use std::fs::File;
use std::path::Path;

use ncps_datasets::{DataConfig, Dataset, Error, HostBatch, Leak, WindowSet};
use polars::prelude::{Column, DataFrame, DataType, ParquetWriter, TimeUnit};

use crate::support::Folder;

/// Rows of three machines, 300, 20 and 180, in row groups of 64; times uneven, a few values missing in `b`.
fn write_table(path: &Path) {
    let rows = 500usize;
    let machine = |row: usize| match row {
        0..300 => "press",
        300..320 => "saw",
        _ => "lathe",
    };
    let wave = |row: usize, speed: f64| (row as f64 * speed).sin() * 3.0;
    let text = |value: &dyn Fn(usize) -> String| (0..rows).map(value).collect::<Vec<_>>();
    let times: Vec<i64> = (0..rows)
        .scan(0, |time, row| {
            *time += 500 + (row * 7919 % 1000) as i64;
            Some(*time)
        })
        .collect();
    let gaps: Vec<Option<f64>> = (0..rows)
        .map(|row| (row % 11 != 3).then(|| wave(row, 0.05) + 10.0))
        .collect();
    let columns = vec![
        Column::new("machine".into(), text(&|row| machine(row).to_owned())),
        Column::new("when".into(), times)
            .cast(&DataType::Datetime(TimeUnit::Milliseconds, None))
            .unwrap(),
        Column::new(
            "a".into(),
            (0..rows).map(|row| wave(row, 0.3)).collect::<Vec<_>>(),
        ),
        Column::new("b".into(), gaps),
        Column::new(
            "c".into(),
            (0..rows)
                .map(|row| wave(row, 0.011) as f32)
                .collect::<Vec<_>>(),
        ),
        Column::new(
            "state".into(),
            text(&|row| if wave(row, 0.1) > 1.0 { "hot" } else { "cold" }.to_owned()),
        ),
        Column::new(
            "part".into(),
            text(&|row| ["train", "validation", "test"][(row / 50) % 3].to_owned()),
        ),
    ];
    let mut frame = DataFrame::new(rows, columns).unwrap();
    ParquetWriter::new(File::create(path).unwrap())
        .with_row_group_size(Some(64))
        .finish(&mut frame)
        .unwrap();
}

fn both(folder: &Folder, more: &str) -> (Dataset, Dataset) {
    let config = format!("kind = \"parquet\"\npath = \"t.parquet\"\n{more}");
    let memory = folder.load(&config).unwrap();
    let streamed = folder.load(&format!("streaming = true\n{config}")).unwrap();
    assert!(streamed.train.is_streamed() && !memory.train.is_streamed());
    (memory, streamed)
}

/// All values of an epoch, sample by sample, sorted where the order is another.
fn samples(set: &WindowSet, shuffle: Option<u64>, epoch: u64) -> Vec<Vec<u32>> {
    let mut batches = set.batches(1, shuffle).unwrap();
    let mut batch = batches.host_batch();
    let mut all = Vec::new();
    for step in 0..batches.steps() {
        batches.fill(epoch, step, &mut batch).unwrap();
        all.push(bits(&batch));
    }
    all
}

fn bits(batch: &HostBatch) -> Vec<u32> {
    let optional = |values: &Option<Vec<f32>>| values.clone().unwrap_or_default();
    [
        batch.x.clone(),
        optional(&batch.timespans),
        optional(&batch.mask),
        batch.targets.clone(),
        batch.weights.clone(),
    ]
    .concat()
    .into_iter()
    .map(f32::to_bits)
    .collect()
}

fn assert_same(memory: &Dataset, streamed: &Dataset) {
    assert_eq!(memory.schema, streamed.schema);
    for (one, other) in [
        (&memory.train, &streamed.train),
        (&memory.validation, &streamed.validation),
        (&memory.test, &streamed.test),
    ] {
        let windows: Vec<_> = one.windows().collect();
        assert_eq!(windows, other.windows().collect::<Vec<_>>());
        assert_eq!(one.class_counts(), other.class_counts());
        let longest = |set: &WindowSet| set.longest_timespan().unwrap();
        assert_eq!(longest(one).to_bits(), longest(other).to_bits());
        if windows.is_empty() {
            continue;
        }
        assert!(samples(one, None, 0) == samples(other, None, 0));
        let sorted = |set| {
            let mut all = samples(set, Some(3), 1);
            all.sort();
            all
        };
        assert!(sorted(one) == sorted(other));
    }
    if !memory.test.is_empty() {
        assert_eq!(memory.baseline(), streamed.baseline());
    }
}

#[test]
fn every_kind_of_table_is_as_in_memory() {
    let folder = Folder::new();
    write_table(&folder.path().join("t.parquet"));
    folder.write("machines.csv", "machine,age\npress,3\nsaw,5\nlathe,8\n");
    let time = "time = { column = \"when\", unit = \"second\" }";
    for config in [
        // One series of the whole file, cut in time; windows cross the row groups.
        "features = [\"a\", \"c\"]\nwindow = 10\nstride = 3".to_owned(),
        // Each machine its own series, one shorter than a window; spans until the row that is forecast.
        format!("features = [\"a\", \"c\"]\ngroup = \"machine\"\nwindow = 16\nstride = 1\npad = true\n{time}\ntask = {{ kind = \"next_step\", horizon = 2 }}"),
        format!("features = [\"a\", \"c\"]\ngroup = \"machine\"\nwindow = 8\n{time}\ntask = {{ kind = \"forecast\", horizons = [1, 3, 4] }}\nsplit = {{ kind = \"time\", validation = 200, test = 260 }}"),
        // Missing values, a target that is no feature, and features of the machines.
        "features = [\"b\", \"age\"]\ntargets = [\"c\"]\ntask = { kind = \"regression_each_step\" }\nmissing = \"mask\"\ngroup = \"machine\"\nwindow = 12\nstatics = { path = \"machines.csv\", key = \"machine\" }".to_owned(),
        "features = [\"a\", \"b\"]\ntargets = [\"b\"]\ntask = { kind = \"next_step\" }\nmissing = \"mean\"\nwindow = 12\nnormalise = { features = \"min_max\" }".to_owned(),
        // Classes, and parts told by a column.
        format!("features = [\"a\", \"c\"]\ntargets = [\"state\"]\ntask = {{ kind = \"label_each_step\" }}\nwindow = 10\n{time}\nsplit = {{ kind = \"column\", column = \"part\" }}"),
        "features = [\"a\", \"c\"]\ntargets = [\"state\"]\ntask = { kind = \"label_last_step\" }\nwindow = 10\nstride = 2\ngroup = \"machine\"\nsplit = { kind = \"group\", train = [\"press\"], test = [\"lathe\"] }".to_owned(),
    ] {
        let (memory, streamed) = match config.contains("column = \"part\"") {
            // The parts change every 50 rows, so their series lie apart.
            true => {
                let folder = Folder::new();
                write_sorted_parts(&folder.path().join("t.parquet"));
                both(&folder, &config)
            }
            false => both(&folder, &config),
        };
        assert_same(&memory, &streamed);
    }
}

/// As the table above, with the rows of each part together.
fn write_sorted_parts(path: &Path) {
    write_table(path);
    let frame = ncps_datasets::Frame::read(path, ',').unwrap();
    let parts = ["train", "validation", "test"];
    let numbers = |name: &str| frame.numbers(name).unwrap();
    let (a, c) = (numbers("a"), numbers("c"));
    let when = frame.elapsed("when").unwrap();
    let part: Vec<usize> = (0..frame.rows()).map(|row| (row / 50) % 3).collect();
    let mut order: Vec<usize> = (0..frame.rows()).collect();
    order.sort_by_key(|&row| part[row]);
    let pick = |values: &[f64]| order.iter().map(|&row| values[row]).collect::<Vec<_>>();
    let text = |value: &dyn Fn(usize) -> &'static str| {
        order
            .iter()
            .map(|&row| value(row).to_owned())
            .collect::<Vec<_>>()
    };
    let columns = vec![
        Column::new("when".into(), pick(&when)),
        Column::new("a".into(), pick(&a)),
        Column::new("c".into(), pick(&c)),
        Column::new(
            "state".into(),
            text(&|row| if a[row] > 1.0 { "hot" } else { "cold" }),
        ),
        Column::new("part".into(), text(&|row| parts[part[row]])),
    ];
    let mut frame = DataFrame::new(order.len(), columns).unwrap();
    ParquetWriter::new(File::create(path).unwrap())
        .with_row_group_size(Some(64))
        .finish(&mut frame)
        .unwrap();
}

#[test]
fn an_epoch_of_many_blocks_has_each_window_once_and_can_begin_anywhere() {
    let folder = Folder::new();
    // 10 000 windows of 32 rows of 8 columns: about 42 blocks, so two buffers.
    let rows = 320_000usize;
    let columns = (0..8u32).map(|column| {
        let value = |row: usize| (row as u32).wrapping_mul(2_654_435_761 + column) as f32;
        Column::new(
            format!("x{column}").into(),
            (0..rows).map(value).collect::<Vec<f32>>(),
        )
    });
    let mut frame = DataFrame::new(rows, columns.collect()).unwrap();
    ParquetWriter::new(File::create(folder.path().join("t.parquet")).unwrap())
        .with_row_group_size(Some(50_000))
        .finish(&mut frame)
        .unwrap();
    drop(frame);
    let config = "kind = \"parquet\"\npath = \"t.parquet\"\nwindow = 32\nstreaming = true\nsplit = { kind = \"fraction\", validation = 0.0, test = 0.0 }";
    let dataset = folder.load(config).unwrap();
    let mut batches = dataset.train.batches(64, Some(9)).unwrap();
    let (count, steps) = (dataset.train.len(), batches.steps());
    let mut order = |epoch| -> Vec<u32> {
        let each = |step| batches.samples(epoch, step).unwrap().to_vec();
        (0..steps).flat_map(each).collect()
    };
    let (first, second) = (order(0), order(1));
    assert!(first != second && first == order(0));
    let mut sorted = first.clone();
    sorted.sort_unstable();
    assert!(sorted == (0..count as u32).collect::<Vec<_>>());
    // Half of all neighbours in the order lie more than a tenth of the data apart.
    let far = first
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) as usize > count / 10);
    assert!(far.count() > count / 2);

    // A run that goes on in the middle of an epoch gets the batches that it would have got.
    let mut there = dataset.train.batches(64, Some(9)).unwrap();
    let (mut one, mut other) = (there.host_batch(), there.host_batch());
    for step in [steps - 1, 0, 1, steps / 2] {
        let mut anew = dataset.train.batches(64, Some(9)).unwrap();
        there.fill(1, step, &mut one).unwrap();
        anew.fill(1, step, &mut other).unwrap();
        assert!(bits(&one) == bits(&other), "step {step}");
    }
}

#[test]
fn kept_rows_are_used_again_checked_and_made_anew_when_damaged() {
    let folder = Folder::new();
    let file = folder.path().join("t.parquet");
    write_table(&file);
    let cache = folder.path().join("cache");
    let text = "kind = \"parquet\"\npath = \"t.parquet\"\nfeatures = [\"a\"]\nwindow = 10\nstreaming = true";
    let config: DataConfig = toml::from_str(text).unwrap();
    let load = || config.load_with(folder.path(), Some(&cache)).unwrap();
    let stores = || -> Vec<_> {
        let entries = std::fs::read_dir(&cache).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let expected = samples(&load().train, None, 0);
    let [store] = &stores()[..] else {
        panic!("{:?}", stores())
    };
    let modified = || {
        std::fs::metadata(store.join("rows.f32"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = modified();
    assert!(samples(&load().train, None, 0) == expected && modified() == before);

    // Another window needs no other rows; another column does.
    let other: DataConfig = toml::from_str(&text.replace("10", "20")).unwrap();
    other.load_with(folder.path(), Some(&cache)).unwrap();
    assert_eq!(stores().len(), 1);
    let other: DataConfig = toml::from_str(&text.replace("\"a\"", "\"c\"")).unwrap();
    other.load_with(folder.path(), Some(&cache)).unwrap();
    assert_eq!(stores().len(), 2);

    for damage in ["flip", "short", "index", "gone"] {
        let rows = store.join("rows.f32");
        let mut bytes = std::fs::read(&rows).unwrap();
        match damage {
            "flip" => bytes[77] ^= 4,
            "short" => bytes.truncate(100),
            "index" => std::fs::write(store.join("index.json"), "{}").unwrap(),
            _ => std::fs::remove_file(&rows).unwrap(),
        }
        if damage != "gone" {
            std::fs::write(&rows, bytes).unwrap();
        }
        assert!(samples(&load().train, None, 0) == expected, "{damage}");
    }

    // The same name with other rows is other data.
    let frame = ncps_datasets::Frame::new()
        .with_number("a", vec![1.0; 99])
        .unwrap();
    frame.write(&file).unwrap();
    assert_eq!(load().train.len(), 6);
}

#[test]
fn what_cannot_be_streamed_is_refused_by_name() {
    let folder = Folder::new();
    write_table(&folder.path().join("t.parquet"));
    let head = "kind = \"parquet\"\npath = \"t.parquet\"\nstreaming = true\nfeatures = [\"a\"]\n";
    for (more, key) in [
        ("", "window"),
        ("window = 4\nmissing = \"forward_fill\"", "missing"),
        (
            "window = 4\nfeatures = [\"a\", \"state\"]\ncategorical = [\"state\"]",
            "categorical",
        ),
        (
            "window = 4\nsplit = { kind = \"fraction\", by = \"window\" }",
            "split",
        ),
        (
            "window = 4\ntime = { column = \"when\", out_of_order = \"sort\" }",
            "time",
        ),
    ] {
        let text = format!("{head}{more}").replace(
            "features = [\"a\"]\nwindow = 4\nfeatures",
            "window = 4\nfeatures",
        );
        let error = folder.load(&text).unwrap_err();
        assert!(
            matches!(error, Error::Config { key: found, .. } if found == key),
            "{error}"
        );
    }
    let error = folder
        .load("kind = \"csv\"\npath = \"t.csv\"\nwindow = 4\nstreaming = true")
        .unwrap_err();
    assert!(error.to_string().contains("Parquet"), "{error}");

    // The parts change every 50 rows: their series lie apart.
    let apart = "window = 4\nsplit = { kind = \"column\", column = \"part\" }";
    let error = folder.load(&format!("{head}{apart}")).unwrap_err();
    assert!(matches!(error, Error::Scattered { .. }), "{error}");
    // A missing value is named by its row in the file, not in its row group.
    let error = folder
        .load(&format!("{head}window = 4").replace("\"a\"", "\"b\""))
        .unwrap_err();
    assert!(matches!(error, Error::NotFinite { row: 4, .. }), "{error}");
    // No unfinished rows are left behind.
    let cache = folder.path().join("cache");
    let config: DataConfig = toml::from_str(&format!("{head}{apart}")).unwrap();
    config.load_with(folder.path(), Some(&cache)).unwrap_err();
    assert_eq!(std::fs::read_dir(cache).unwrap().count(), 0);
}

#[test]
fn the_same_series_in_two_parts_is_told() {
    let folder = Folder::new();
    let rows = 120usize;
    let columns = vec![
        Column::new(
            "id".into(),
            (0..rows).map(|row| (row / 40) as i64).collect::<Vec<_>>(),
        ),
        Column::new(
            "x".into(),
            (0..rows)
                .map(|row| (row % 40) as f64 + if row < 40 { 5.0 } else { 0.0 })
                .collect::<Vec<_>>(),
        ),
    ];
    let mut frame = DataFrame::new(rows, columns).unwrap();
    ParquetWriter::new(File::create(folder.path().join("t.parquet")).unwrap())
        .with_row_group_size(Some(50))
        .finish(&mut frame)
        .unwrap();
    let (memory, streamed) = both(
        &folder,
        "features = [\"x\"]\ngroup = \"id\"\nwindow = 8\nsplit = { kind = \"group\", train = [\"0\", \"1\"], test = [\"2\"] }",
    );
    assert!(matches!(
        &streamed.leaks[..],
        [Leak::SameSeries { part: "test", .. }]
    ));
    assert_eq!(memory.leaks, streamed.leaks);
}
