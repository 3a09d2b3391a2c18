//! Whether a run may be continued with a configuration.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::directory::{CONFIG, RunDirectory};
use crate::config::RunConfig;
use crate::error::{Error, Result};

/// Keys that may change between two sittings: how long, where to, on what, what to keep.
const FREE: &[&str] = &[
    "name",
    "output",
    "device",
    "tf32",
    "train.epochs",
    "train.checkpoint.",
    "train.early_stopping.",
    "train.on_nonfinite",
    "train.nonfinite_limit",
    "train.rollback_factor",
    "loader.",
    "log.",
];

/// Compares the configuration in the directory with the one of now.
pub(super) fn check_same(directory: &RunDirectory, now: &str) -> Result<()> {
    let path = directory.join(CONFIG);
    let was = std::fs::read_to_string(&path).map_err(|source| Error::Read {
        path,
        what: "configuration of the run",
        source,
    })?;
    match first_difference(&was, now) {
        None => Ok(()),
        // As many samples an update: see `Trainer::resume`.
        Some(_) if is_regrouped(&was, now) => Ok(()),
        Some((key, was, now)) => Err(Error::ResumeMismatch {
            path: directory.path().to_owned(),
            key,
            was,
            now,
        }),
    }
}

/// The first key outside of [`FREE`] whose values differ, with both.
fn first_difference(was: &str, now: &str) -> Option<(String, String, String)> {
    let (was, now) = (leaves(&completed(was)), leaves(now));
    let mut keys: Vec<&String> = was.keys().chain(now.keys()).collect();
    keys.sort();
    let is_free = |key: &str| {
        FREE.iter()
            .any(|free| key == *free || (free.ends_with('.') && key.starts_with(free)))
    };
    let differing = keys
        .into_iter()
        .find(|key| !is_free(key) && was.get(*key) != now.get(*key))?;
    let shown = |values: &BTreeMap<String, String>| {
        values
            .get(differing)
            .cloned()
            .unwrap_or_else(|| "not set".into())
    };
    Some((differing.clone(), shown(&was), shown(&now)))
}

/// Whether smaller batches, of which as many more are accumulated, are all that differs; a deterministic run has none.
fn is_regrouped(was: &str, now: &str) -> bool {
    let configs = [was, now].map(|text| toml::from_str::<RunConfig>(text).ok());
    let [Some(mut was), Some(given)] = configs else {
        return false;
    };
    let per_update =
        |config: &RunConfig| config.train.batch_size.checked_mul(config.train.accumulate);
    let is_same = per_update(&was) == per_update(&given);
    (was.train.batch_size, was.train.accumulate) = (given.train.batch_size, given.train.accumulate);
    let is_all = toml::to_string(&was).is_ok_and(|was| first_difference(&was, now).is_none());
    is_same && is_all && !given.deterministic
}

/// The configuration with the keys that were added since it was written, at their defaults.
fn completed(text: &str) -> String {
    let config = toml::from_str::<RunConfig>(text).ok();
    let text_of = |config| toml::to_string(&config).ok();
    config.and_then(text_of).unwrap_or_else(|| text.to_owned())
}

fn leaves(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let table = toml::from_str::<Table>(text).unwrap_or_default();
    collect(&Value::Table(table), String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            collect(value, path, found);
        }),
        other => {
            found.insert(path, other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_free_keys_may_change() {
        // No whole configuration, so that it is compared as it stands.
        let was = "seed = 1\n[train]\nepochs = 3\nlearning_rate = 0.1\n";
        let longer = was.replace(
            "epochs = 3",
            "epochs = 30\nearly_stopping = { patience = 3 }",
        );
        assert_eq!(first_difference(was, &longer), None);
        let other = was.replace("0.1", "0.2");
        assert_eq!(
            first_difference(was, &other),
            Some(("train.learning_rate".into(), "0.1".into(), "0.2".into()))
        );
        let (key, was, now) = first_difference(was, "seed = 1\n[train]\nepochs = 3\n").unwrap();
        assert_eq!(
            (key.as_str(), was.as_str(), now.as_str()),
            ("train.learning_rate", "0.1", "not set")
        );
    }

    #[test]
    fn batches_may_become_smaller_if_updates_stay_as_large() {
        let text = "deterministic = false\nseed = 1\n[data]\nkind = \"generated\"\ngenerator = { kind = \"sine\" }\n\
                    [model]\nkind = \"cfc\"\nunits = 8\n[train]\nbatch_size = 32\naccumulate = 1\n";
        let text = &completed(text);
        let changed = |batch: &str, accumulate: &str| {
            text.replace("= 32", &format!("= {batch}"))
                .replace("accumulate = 1", &format!("accumulate = {accumulate}"))
        };
        assert!(is_regrouped(text, &changed("8", "4")));
        assert!(!is_regrouped(text, &changed("8", "2")));
        assert!(!is_regrouped(
            text,
            &changed("8", "4").replace("seed = 1", "seed = 2")
        ));
        let fixed = |text: &str| text.replace("deterministic = false", "deterministic = true");
        assert!(!is_regrouped(&fixed(text), &fixed(&changed("8", "4"))));
    }

    #[test]
    fn a_key_that_an_older_version_did_not_know_has_its_default() {
        let sine = "seed = 1\n[data]\nkind = \"generated\"\ngenerator = { kind = \"sine\" }\n\
                    [model]\nkind = \"cfc\"\nunits = 8\n";
        let config: RunConfig = toml::from_str(sine).unwrap();
        let now = toml::to_string(&config).unwrap();
        assert!(now.contains("precision = \"f32\""));
        let old = now.replace("precision = \"f32\"\n", "");
        assert_eq!(first_difference(&old, &now), None);
        let half = now.replace("precision = \"f32\"", "precision = \"f16\"");
        let (key, was, now) = first_difference(&old, &half).unwrap();
        assert_eq!(
            (key.as_str(), was.as_str(), now.as_str()),
            ("train.precision", "\"f32\"", "\"f16\"")
        );
    }
}
