//! Reading and batching on data that are made here: CSV beside polars' own reader, shuffled windows, streamed rows.
//!
//! One run of `cargo bench -p ncps-datasets` on a virtual 2-core AVX-512 machine with nothing else to do (criterion's means):
//!
//! | bench | speed |
//! |---|---|
//! | CSV to columns (15.2 MB, 16 columns) | 402 MiB/s; polars' reader with given types 297 MiB/s |
//! | CSV file to scaled windows | 266 MiB/s |
//! | shuffled windows of 16 steps and 16 features, in memory | 4.6 million a second |
//! | the same streamed from unpacked Parquet | 1.6 million a second |
//!
//! `cargo bench -p ncps-datasets -- csv` runs the benches with that in their name.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Cursor;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ncps_datasets::{DataConfig, Dataset, Frame};
use polars::prelude::{CsvReadOptions, DataType, Field, Schema, SerReader};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const COLUMNS: usize = 16;
const ROWS: usize = 100_000;
const BATCH: usize = 64;

fn value(row: usize, column: usize) -> f64 {
    ((row * (column + 3)) as f64 * 0.37).sin() * 10.0
}

fn csv() -> Result<String> {
    let names: Vec<String> = (0..COLUMNS).map(|column| format!("c{column}")).collect();
    let mut text = names.join(",") + "\n";
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let end = if column + 1 == COLUMNS { '\n' } else { ',' };
            write!(text, "{:.6}{end}", value(row, column))?;
        }
    }
    Ok(text)
}

/// polars' reader with the column types given, as it is fastest.
fn polars_csv(text: &[u8]) -> Result<usize> {
    let fields =
        (0..COLUMNS).map(|column| Field::new(format!("c{column}").into(), DataType::Float64));
    let schema: Schema = fields.collect();
    let frame = CsvReadOptions::default()
        .with_schema(Some(schema.into()))
        .into_reader_with_file_handle(Cursor::new(text))
        .finish()?;
    Ok(frame.height())
}

fn load(folder: &Path, text: &str) -> Result<Dataset> {
    let config: DataConfig = toml::from_str(text)?;
    Ok(config.load(folder)?)
}

fn fill(criterion: &mut Criterion, name: &str, data: &Dataset) -> Result<()> {
    let mut batches = data.train.batches(BATCH, Some(1))?;
    let mut batch = batches.host_batch();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(data.train.len() as u64));
    let mut epoch = 0;
    group.bench_function("windows of an epoch", |bencher| {
        bencher.iter(|| {
            for step in 0..batches.steps() {
                // Benches have no other way to say that something is wrong than to stop.
                assert!(batches.fill(epoch, step, &mut batch).is_ok());
            }
            epoch += 1;
        });
    });
    group.finish();
    Ok(())
}

fn run(criterion: &mut Criterion) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("ncps-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let text = csv()?;
    std::fs::write(folder.join("t.csv"), &text)?;

    let mut group = criterion.benchmark_group("csv");
    group
        .sample_size(20)
        .throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("columns", |bencher| {
        bencher
            .iter(|| assert!(ncps_datasets::parse::csv(black_box(text.as_bytes()), ',').is_ok()));
    });
    group.bench_function("columns by polars", |bencher| {
        bencher.iter(|| assert!(polars_csv(black_box(text.as_bytes())).is_ok()));
    });
    let table = "kind = \"csv\"\npath = \"t.csv\"\nwindow = 16\nstride = 4";
    group.bench_function("file to scaled windows", |bencher| {
        bencher.iter(|| assert!(load(&folder, table).is_ok()));
    });
    group.finish();
    fill(criterion, "memory", &load(&folder, table)?)?;

    Frame::read(&folder.join("t.csv"), ',')?.write(&folder.join("t.parquet"))?;
    let streamed =
        "kind = \"parquet\"\npath = \"t.parquet\"\nwindow = 16\nstride = 4\nstreaming = true";
    fill(criterion, "streamed", &load(&folder, streamed)?)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a bench says what stopped it")]
fn loader(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        eprintln!("the benches of the loader stopped: {error}");
        std::process::exit(1);
    }
}

criterion_group!(benches, loader);
criterion_main!(benches);
