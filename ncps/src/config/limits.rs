//! What the types alone cannot express, and where in the configuration the cause of another package's error stands.

use ncps_core::train::{LossConfig, TrainConfig, loss::ClassLoss};
use ncps_models::ModelConfig;

use super::load::Loaded;
use super::run_config::RunConfig;
use crate::error::{Error, Result};

/// More batches ahead than this are memory without a use.
const MOST_AHEAD: usize = 64;

/// Checks what can be checked without data.
pub(super) fn check(loaded: &Loaded<RunConfig>) -> Result<()> {
    check_name(loaded)?;
    check_loader(loaded)?;
    let train = &loaded.config.train;
    if loaded.is_set("train.loss.kind") {
        check_train(loaded, train)?;
    } else {
        // The data will choose between the losses for numbers and for classes; one of them must go with the rest.
        let classes = TrainConfig {
            loss: LossConfig::CrossEntropy(ClassLoss::default()),
            ..train.clone()
        };
        check_train(loaded, train)
            .or_else(|error| check_train(loaded, &classes).map_err(|_| error))?;
    }
    let data = &loaded.config.data;
    data.validate().map_err(|error| data_error(loaded, error))?;
    if !train.stateful {
        return Ok(());
    }
    if matches!(loaded.config.model, ModelConfig::Bidirectional(_)) {
        let message = "`train.stateful` carries the state forwards in time, but a \"bidirectional\" network begins at the end of a sequence too";
        let help = vec!["choose another kind of model, or remove `train.stateful`".to_owned()];
        return Err(loaded.error_at("model.kind", message.to_owned(), help));
    }
    data.check_lanes()
        .map_err(|error| data_error(loaded, error))
}

fn check_name(loaded: &Loaded<RunConfig>) -> Result<()> {
    let name = loaded.config.name();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(is_plain) {
        return Ok(());
    }
    let message = format!("`name` is \"{name}\", which cannot name a directory");
    let help = vec!["use letters, digits, `_`, `-` and `.`, a letter or digit first".to_owned()];
    Err(loaded.error_at("name", message, help))
}

fn check_loader(loaded: &Loaded<RunConfig>) -> Result<()> {
    let prefetch = loaded.config.loader.prefetch.unwrap_or_default();
    if prefetch <= MOST_AHEAD {
        return Ok(());
    }
    let message = format!("`loader.prefetch` is {prefetch}, expected 0 to {MOST_AHEAD}");
    let help = vec!["each batch made ready takes the memory of one; 2 is usual".to_owned()];
    Err(loaded.error_at("loader.prefetch", message, help))
}

/// Checks the `[train]` table.
pub(crate) fn check_train(loaded: &Loaded<RunConfig>, train: &TrainConfig) -> Result<()> {
    train.validate().map_err(|error| match error {
        ncps_core::Error::Setting {
            key,
            value,
            expected,
        } => {
            let key = format!("train.{key}");
            loaded.error_at(
                &key,
                format!("`{key}` is {value}, expected {expected}"),
                Vec::new(),
            )
        }
        other => loaded.error_at("train", other.to_string(), Vec::new()),
    })
}

/// An error of the data package, at the key that causes it.
pub(crate) fn data_error(loaded: &Loaded<RunConfig>, error: ncps_datasets::Error) -> Error {
    use ncps_datasets::{Error as Data, ErrorKind};
    let message = error.to_string();
    match (error.kind(), &error) {
        (ErrorKind::Io, _) => Error::DataFiles {
            config: loaded.path().to_owned(),
            source: error,
        },
        (ErrorKind::Config, Data::Config { key, .. }) => {
            loaded.error_at(&format!("data.{key}"), message, Vec::new())
        }
        (ErrorKind::Config, Data::WindowTooLong { .. }) => {
            loaded.error_at("data.window", message, Vec::new())
        }
        (ErrorKind::Config, _) => loaded.error_at("data", message, Vec::new()),
        _ => error.into(),
    }
}

/// An error of the model package or of a wiring in it, at the key that causes it.
pub(crate) fn model_error(loaded: &Loaded<RunConfig>, error: ncps_models::Error) -> Error {
    use ncps_core::Error as Core;
    let message = error.to_string();
    let key = match &error {
        ncps_models::Error::Setting { key, .. } => format!("model.{key}"),
        ncps_models::Error::Core(Core::WiringArgument { argument, .. }) => {
            format!("model.units.{argument}")
        }
        ncps_models::Error::Core(Core::Layer { key, .. }) => format!("model.{key}"),
        _ => "model".to_owned(),
    };
    match Error::from(error) {
        error if error.kind() != crate::ErrorKind::Config => error,
        _ => loaded.error_at(&key, message, Vec::new()),
    }
}
