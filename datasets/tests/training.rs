//! What holds for training batches: balanced classes, variations; and what is said of parts that know of each other.

use ncps_datasets::{Dataset, Error, Leak};

use crate::support::Folder;

fn text(rows: usize) -> String {
    let lines: String = (0..rows)
        .map(|row| format!("{},{},{}\n", row, (row * 37) % 11, u8::from(row % 20 > 17)))
        .collect();
    format!("t,a,label\n{lines}")
}

fn load(rows: usize, config: &str) -> Result<Dataset, Error> {
    let folder = Folder::new();
    folder.write("data.csv", text(rows));
    folder.load(&format!(
        "kind = \"csv\"\npath = \"data.csv\"\nfeatures = [\"a\"]\n{config}"
    ))
}

const LABELS: &str =
    "targets = [\"label\"]\ntask = { kind = \"label_last_step\" }\nwindow = 4\nstride = 1\n";

#[test]
fn balanced_epochs_draw_classes_alike() {
    let dataset = load(400, &format!("{LABELS}sampling = \"balanced\"")).unwrap();
    let labels = |shuffle, epoch| {
        let mut batches = dataset.train.batches(16, shuffle).unwrap();
        let mut batch = batches.host_batch();
        let mut labels = Vec::new();
        for step in 0..batches.steps() {
            batches.fill(epoch, step, &mut batch).unwrap();
            labels.extend(
                batch
                    .targets
                    .iter()
                    .zip(&batch.weights)
                    .filter(|(_, weight)| **weight > 0.0)
                    .map(|(label, _)| *label as usize),
            );
        }
        labels
    };
    let share = |labels: &[usize]| labels.iter().sum::<usize>() as f64 / labels.len() as f64;
    let drawn = labels(Some(1), 0);
    assert_eq!(drawn.len(), dataset.train.len());
    assert!((share(&drawn) - 0.5).abs() < 0.01);
    assert_eq!(drawn, labels(Some(1), 0));
    assert_ne!(drawn, labels(Some(1), 1));
    // Evaluation sees the data as they are.
    assert!(share(&labels(None, 0)) < 0.2);
    let error = load(400, "sampling = \"balanced\"").unwrap_err();
    assert!(error.to_string().contains("only classes"), "{error}");
}

#[test]
fn variations_are_fixed_by_seed_and_epoch_and_leave_evaluation_alone() {
    let config = format!(
        "{LABELS}time = {{ column = \"t\" }}\naugment = {{ jitter = 0.1, scale = 0.1, time_warp = 0.5, dropout = 0.2 }}"
    );
    let (varied, plain) = (
        load(400, &config).unwrap(),
        load(400, &format!("{LABELS}time = {{ column = \"t\" }}")).unwrap(),
    );
    let fill = |dataset: &Dataset, shuffle, epoch| {
        let mut batches = dataset.train.batches(8, shuffle).unwrap();
        let mut batch = batches.host_batch();
        batches.fill(epoch, 3, &mut batch).unwrap();
        batch
    };
    let first = fill(&varied, Some(1), 0);
    assert_eq!(first, fill(&varied, Some(1), 0));
    assert_ne!(first.x, fill(&plain, Some(1), 0).x);
    assert_eq!(first.targets, fill(&plain, Some(1), 0).targets);
    assert_eq!(fill(&varied, None, 0), fill(&plain, None, 0));
    // Warped time still takes as long.
    let total = |spans: &[f32]| spans[1..4].iter().sum::<f32>();
    let (warped, even) = (
        first.timespans.unwrap(),
        fill(&plain, Some(1), 0).timespans.unwrap(),
    );
    assert!((total(&warped) - total(&even)).abs() < 1e-4);
    assert!(warped.iter().zip(&even).any(|(a, b)| (a - b).abs() > 0.01));
    let error = load(400, "augment = { time_warp = 0.5 }").unwrap_err();
    assert!(error.to_string().contains("time_warp"), "{error}");
}

#[test]
fn hidden_values_become_what_stands_for_missing_ones() {
    let config = format!("{LABELS}missing = \"mask\"\naugment = {{ dropout = 0.5 }}");
    let dataset = load(400, &config).unwrap();
    let mut batches = dataset.train.batches(64, Some(1)).unwrap();
    let mut batch = batches.host_batch();
    batches.fill(0, 0, &mut batch).unwrap();
    let rows: Vec<&[f32]> = batch.x.chunks_exact(2).collect();
    let hidden = rows.iter().filter(|row| row[1] < 0.5).count();
    assert!((90..170).contains(&hidden), "{hidden} of {}", rows.len());
    assert!(rows.iter().all(|row| row[1] > 0.5 || row[0].abs() < 1e-5));
}

#[test]
fn windows_that_share_rows_are_named() {
    let overlap = "window = 8\nstride = 2\nsplit = { kind = \"fraction\", validation = 0.2, test = 0.0, by = \"window\" }\n";
    let dataset = load(100, overlap).unwrap();
    let [
        Leak::SharedRows {
            part: "validation",
            windows,
            of,
            series,
            ..
        },
    ] = &dataset.leaks[..]
    else {
        panic!("{:?}", dataset.leaks)
    };
    assert!(windows == of && series == "data");
    let error = load(100, &format!("{overlap}leakage = \"error\"")).unwrap_err();
    assert!(
        matches!(&error, Error::Leak { leak } if leak.contains("share rows")),
        "{error}"
    );
    assert!(
        load(100, &format!("{overlap}leakage = \"allow\""))
            .unwrap()
            .leaks
            .is_empty()
    );
    let apart = overlap.replace("stride = 2", "stride = 9");
    assert!(load(100, &apart).unwrap().leaks.is_empty());
    // Cut in time, no row is in two parts.
    assert!(
        load(100, "window = 4\nstride = 1")
            .unwrap()
            .leaks
            .is_empty()
    );
}

#[test]
fn a_copy_of_a_training_series_is_named() {
    let folder = Folder::new();
    folder
        .write("a.csv", text(50))
        .write("b.csv", text(60))
        .write("copy.csv", text(50));
    let split =
        "split = { kind = \"files\", train = [\"a.csv\", \"b.csv\"], test = [\"copy.csv\"] }";
    let dataset = folder
        .load(&format!(
            "kind = \"csv\"\npath = \".\"\nfeatures = [\"a\"]\n{split}"
        ))
        .unwrap();
    let expected = Leak::SameSeries {
        part: "test",
        series: "copy".into(),
        training: "a".into(),
    };
    assert_eq!(dataset.leaks, [expected]);
}
