//! Results over seeds: runs whose configurations differ in the seed only, as mean and deviation of a metric on the test part.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::directory::{CONFIG, SUMMARY};
use super::summary::{BaselineSummary, Status, Summary};
use crate::error::{Error, Result};

/// Keys of a resolved configuration that do not make another experiment: where results go and how much is logged.
const INCIDENTAL: [&str; 4] = ["name", "seed", "output", "log"];

/// What runs of one configuration and different seeds reached on the test part.
#[derive(Clone, Debug, Serialize)]
pub struct SeedGroup {
    /// What their directories' names have in common.
    pub name: String,
    /// The configuration file that the first of them was started with.
    pub config: String,
    /// Their directories, by seed.
    pub runs: Vec<PathBuf>,
    /// Their seeds, ascending.
    pub seeds: Vec<u64>,
    /// The metric.
    pub metric: String,
    /// Its value of each seed on the test part, by the weights that were best on the validation part.
    pub values: Vec<f64>,
    /// Mean of the values.
    pub mean: f64,
    /// Standard deviation of the values with n - 1 in the denominator; none of a single run.
    pub deviation: Option<f64>,
    /// The metric of the trivial predictor, where it has one.
    pub baseline: Option<f64>,
    /// What that predictor is called.
    pub baseline_name: String,
    /// Number of trained values.
    pub parameters: usize,
    /// Mean time of training and validating in seconds.
    pub seconds: f64,
    /// What the first of them computed on.
    pub device: String,
}

struct Finished {
    path: PathBuf,
    summary: Summary,
    deciding: String,
}

/// Groups completed runs by their configurations without the seed, in the order of the runs; others are left out.
///
/// Without a `metric` the one that decided which weights are kept is taken; where that is the loss, `mse` or `accuracy`.
///
/// # Errors
/// [`Error::UnknownMetric`] for a metric that a group's runs do not have.
pub fn seed_groups(runs: &[PathBuf], metric: Option<&str>) -> Result<Vec<SeedGroup>> {
    let mut order: Vec<String> = Vec::new();
    let mut groups: BTreeMap<String, Vec<Finished>> = BTreeMap::new();
    for path in runs {
        let Some((key, finished)) = read(path) else {
            continue;
        };
        if !groups.contains_key(&key) {
            order.push(key.clone());
        }
        groups.entry(key).or_default().push(finished);
    }
    let groups = order.iter().filter_map(|key| groups.remove(key));
    groups.map(|runs| group(runs, metric)).collect()
}

/// The configuration without what is incidental, and the run; none of a run that is not complete.
fn read(path: &Path) -> Option<(String, Finished)> {
    let summary = fs::read_to_string(path.join(SUMMARY)).ok()?;
    let summary: Summary = serde_json::from_str(&summary).ok()?;
    if summary.status != Status::Completed {
        return None;
    }
    let config = fs::read_to_string(path.join(CONFIG)).ok()?;
    let mut config: toml::Table = config.parse().ok()?;
    let deciding = config
        .get("train")
        .and_then(|train| train.get("best_metric")?.as_str())
        .unwrap_or("loss")
        .to_owned();
    for key in INCIDENTAL {
        config.remove(key);
    }
    let path = path.to_owned();
    Some((
        config.to_string(),
        Finished {
            path,
            summary,
            deciding,
        },
    ))
}

fn group(mut runs: Vec<Finished>, metric: Option<&str>) -> Result<SeedGroup> {
    runs.sort_by_key(|run| run.summary.seed);
    let first = &runs[0];
    let found = first.summary.test.keys();
    let has = |name: &str| first.summary.test.contains_key(name);
    let metric = match (metric, first.deciding.as_str()) {
        (Some(metric), _) => metric,
        (None, "loss") => ["mse", "accuracy"]
            .into_iter()
            .find(|name| has(name))
            .unwrap_or("loss"),
        (None, deciding) => deciding,
    };
    let values: Option<Vec<f64>> = runs
        .iter()
        .map(|run| run.summary.test.get(metric).copied())
        .collect();
    let values = values.ok_or_else(|| Error::UnknownMetric {
        path: first.path.clone(),
        metric: metric.to_owned(),
        known: found.cloned().collect::<Vec<_>>().join(", "),
    })?;
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let BaselineSummary { name, metrics } = first.summary.baseline.clone();
    Ok(SeedGroup {
        name: common_name(&runs),
        config: first.summary.config.clone(),
        seeds: runs.iter().map(|run| run.summary.seed).collect(),
        metric: metric.to_owned(),
        mean,
        deviation: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
        values,
        baseline: metrics.get(metric).copied(),
        baseline_name: name,
        parameters: first.summary.parameters,
        seconds: runs
            .iter()
            .map(|run| run.summary.train_seconds)
            .sum::<f64>()
            / count,
        device: first.summary.device.clone(),
        runs: runs.into_iter().map(|run| run.path).collect(),
    })
}

/// What all directories' names begin with, without the digits and signs at its end that only number them.
fn common_name(runs: &[Finished]) -> String {
    let names: Vec<String> = runs
        .iter()
        .map(|run| {
            let name = run.path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        })
        .collect();
    let mut common = names[0].as_str();
    for name in &names[1..] {
        let shared = common
            .char_indices()
            .zip(name.chars())
            .find(|((_, a), b)| a != b)
            .map_or(common.len().min(name.len()), |((at, _), _)| at);
        common = &common[..shared];
    }
    if names.len() == 1 {
        return common.to_owned();
    }
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    match common.trim_end_matches(is_number) {
        "" => names[0].clone(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::write_file;

    fn finished(folder: &Path, name: &str, seed: u64, units: u64, mse: f64) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir(&path).unwrap();
        let config = format!(
            "name = \"{name}\"\nseed = {seed}\noutput = \"{name}\"\n[model]\nunits = {units}\n[train]\nbest_metric = \"loss\"\n"
        );
        write_file(&path.join(CONFIG), config.as_bytes()).unwrap();
        let summary = format!(
            r#"{{"schema": 1, "status": "completed", "config": "a.toml", "seed": {seed}, "device": "cpu", "parameters": 7,
            "steps": 1, "epochs": 1, "train_seconds": 2.0, "sequences_per_second": null, "peak_memory_bytes": null,
            "compilations": 0, "best_epoch": 0, "train": {{}}, "validation": {{}}, "test": {{"loss": 0.1, "mse": {mse}}},
            "baseline": {{"name": "mean", "mse": 9.0}}}}"#
        );
        write_file(&path.join(SUMMARY), summary.as_bytes()).unwrap();
        path
    }

    #[test]
    fn runs_that_differ_in_the_seed_are_one_group() {
        let root = tempfile::tempdir().unwrap();
        let runs = [
            finished(root.path(), "small-12", 12, 8, 4.0),
            finished(root.path(), "small-11", 11, 8, 2.0),
            finished(root.path(), "large-11", 11, 16, 1.0),
            finished(root.path(), "small-13", 13, 8, 3.0),
        ];
        fs::write(runs[3].join(SUMMARY), "{").unwrap();
        let groups = seed_groups(&runs, None).unwrap();
        assert_eq!(groups.len(), 2, "{groups:?}");
        let [small, large] = [&groups[0], &groups[1]];
        assert_eq!(
            (small.name.as_str(), large.name.as_str()),
            ("small", "large-11")
        );
        assert_eq!(
            (&small.seeds[..], &small.values[..]),
            (&[11, 12][..], &[2.0, 4.0][..])
        );
        // Deviations of 1 from the mean, over n - 1 = 1: the square root of 2.
        assert!((small.mean - 3.0).abs() < 1e-12);
        assert!((small.deviation.unwrap() - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!((small.metric.as_str(), small.baseline), ("mse", Some(9.0)));
        assert_eq!(large.deviation, None);
        let error = seed_groups(&runs, Some("f1")).unwrap_err().to_string();
        assert!(
            error.contains("`f1`") && error.contains("loss, mse"),
            "{error}"
        );
    }
}
