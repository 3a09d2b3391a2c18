//! The settings that are tried.

use ncps_core::rnn::{Implementation, Units};
use ncps_core::train::Precision;
use ncps_core::wiring::WiringConfig;
use ncps_models::{LayerConfig, ModelConfig};
use serde::{Deserialize, Serialize};

use crate::config::{Override, RunConfig};

/// Everything that is varied at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Sequences in a batch.
    pub batch: usize,
    /// Units of every layer, as a multiple of the configuration's.
    pub width: usize,
    /// `cpu` or `gpu`.
    pub device: String,
    /// `auto`, `fused` or `plain`.
    pub implementation: String,
    /// Type of the network's numbers, as `train.precision` has it: `f32`, `f16` or `bf16`.
    pub dtype: String,
}

impl Setting {
    /// Everything but the batch: one curve of a plot.
    pub fn family(&self) -> String {
        let width = match self.width {
            1 => String::new(),
            times => format!(", width x{times}"),
        };
        let dtype = match self.dtype.as_str() {
            "f32" => String::new(),
            dtype => format!(", {dtype}"),
        };
        format!("{}, {}{dtype}{width}", self.device, self.implementation)
    }

    /// The same with half the batch, unless that is one sequence.
    #[must_use]
    pub fn halved(&self) -> Option<Self> {
        (self.batch > 1).then(|| Self {
            batch: self.batch / 2,
            ..self.clone()
        })
    }

    /// The setting in a few words.
    pub fn text(&self) -> String {
        format!("batch {}, {}", self.batch, self.family())
    }

    /// What it sets in a configuration whose model is `model`.
    pub fn overrides(&self, model: &ModelConfig) -> Vec<Override> {
        let mut all = vec![
            Override::of_flag("device", self.device.clone()),
            Override::of_flag("train.batch_size", self.batch as i64),
            Override::of_flag("train.precision", self.dtype.clone()),
        ];
        all.extend(layers(model).into_iter().flat_map(|(key, layer)| {
            let mut of_layer = Vec::new();
            if has_implementations(&layer) {
                let key = format!("{key}.implementation");
                of_layer.push(Override::of_flag(&key, self.implementation.clone()));
            }
            if self.width > 1 {
                let wider = units(&layer).into_iter();
                of_layer.extend(wider.map(|(name, units)| {
                    let key = format!("{key}.{name}");
                    Override::of_flag(&key, (units * self.width) as i64)
                }));
            }
            of_layer
        }));
        all
    }
}

/// The keys that choose the implementation of each layer.
pub(crate) fn implementation_keys(model: &ModelConfig) -> Vec<String> {
    let layers = layers(model).into_iter();
    layers
        .filter(|(_, layer)| has_implementations(layer))
        .map(|(key, _)| format!("{key}.implementation"))
        .collect()
}

/// The layers with the key of their table.
fn layers(model: &ModelConfig) -> Vec<(String, LayerConfig)> {
    let single = |layer: LayerConfig| vec![("model".to_owned(), layer)];
    match model {
        ModelConfig::Cfc(model) => single(model.clone().into()),
        ModelConfig::Ltc(model) => single(model.clone().into()),
        ModelConfig::Lstm(model) => single(model.clone().into()),
        ModelConfig::Gru(model) => single(model.clone().into()),
        ModelConfig::Stacked(model) => model
            .layers
            .iter()
            .enumerate()
            .map(|(index, layer)| (format!("model.layers.{index}"), layer.clone()))
            .collect(),
        ModelConfig::Bidirectional(model) => {
            vec![("model.layer".to_owned(), model.layer.clone())]
        }
    }
}

/// The GRU has the plain implementation alone.
fn has_implementations(layer: &LayerConfig) -> bool {
    !matches!(layer, LayerConfig::Gru(_))
}

/// The keys of a layer that make it wider, with their values; a wiring of one's own has a fixed size.
fn units(layer: &LayerConfig) -> Vec<(String, usize)> {
    let of = |units: &Units| match units {
        Units::Dense(count) => Some(("units".to_owned(), *count)),
        Units::Wired(WiringConfig::AutoNcp(wiring)) => {
            Some(("units.units".to_owned(), wiring.units))
        }
        Units::Wired(WiringConfig::FullyConnected(wiring)) => {
            Some(("units.units".to_owned(), wiring.units))
        }
        Units::Wired(WiringConfig::Random(wiring)) => {
            Some(("units.units".to_owned(), wiring.units))
        }
        Units::Wired(_) => None,
    };
    match layer {
        LayerConfig::Cfc(model) => {
            let mut keys: Vec<(String, usize)> = of(&model.units).into_iter().collect();
            // A wired layer has no backbone of its own width.
            if matches!(model.units, Units::Dense(_)) && model.backbone_layers > 0 {
                keys.push(("backbone_units".to_owned(), model.backbone_units));
            }
            keys
        }
        LayerConfig::Ltc(model) => of(&model.units).into_iter().collect(),
        LayerConfig::Lstm(model) => vec![("units".to_owned(), model.units)],
        LayerConfig::Gru(model) => vec![("units".to_owned(), model.units)],
    }
}

/// What to vary; an empty list takes the usual values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Space {
    /// Batch sizes.
    pub batches: Vec<usize>,
    /// Multiples of the configuration's width.
    pub widths: Vec<usize>,
    /// Devices.
    pub devices: Vec<String>,
    /// Implementations.
    pub implementations: Vec<String>,
    /// Types of the network's numbers.
    pub dtypes: Vec<String>,
}

impl Space {
    /// Every combination that makes sense for a configuration with `windows` training windows.
    ///
    /// Usual batches are the configuration's own and powers of two from 8 to the number of windows or 1024; usual devices
    /// are all that MLX has here; usual implementations are fused and plain on a CPU and the automatic choice on a GPU; the usual type is the configuration's
    /// own, since another one rounds otherwise.
    pub fn settings(&self, config: &RunConfig, windows: usize, has_gpu: bool) -> Vec<Setting> {
        let own = config.train.batch_size;
        let mut batches = self.batches.clone();
        if batches.is_empty() {
            let most = windows.clamp(8, 1024);
            let powers = (3..=10).map(|power| 1usize << power);
            batches = powers.filter(|batch| *batch <= most).collect();
            batches.push(own);
        }
        batches.retain(|batch| (1..=windows.max(own)).contains(batch));
        batches.sort_unstable();
        batches.dedup();
        let widths = if self.widths.is_empty() {
            vec![1]
        } else {
            self.widths.clone()
        };
        let dtypes = match self.dtypes.is_empty() {
            true => vec![dtype_of(config)],
            false => self.dtypes.clone(),
        };
        let devices = match self.devices.is_empty() {
            false => self.devices.clone(),
            true if has_gpu => vec!["gpu".to_owned(), "cpu".to_owned()],
            true => vec!["cpu".to_owned()],
        };
        let mut settings = Vec::new();
        for device in &devices {
            for implementation in self.implementations_on(device, &config.model) {
                let kinds = dtypes
                    .iter()
                    .flat_map(|d| widths.iter().map(move |&w| (d, w)));
                for (dtype, width) in kinds {
                    settings.extend(batches.iter().map(|&batch| Setting {
                        batch,
                        width,
                        device: device.clone(),
                        implementation: implementation.clone(),
                        dtype: dtype.clone(),
                    }));
                }
            }
        }
        settings
    }

    fn implementations_on(&self, device: &str, model: &ModelConfig) -> Vec<String> {
        let is_any = layers(model)
            .iter()
            .any(|(_, layer)| has_implementations(layer));
        let name = |implementation| {
            match implementation {
                Implementation::Auto => "auto",
                Implementation::Plain => "plain",
                Implementation::Fused => "fused",
            }
            .to_owned()
        };
        match (is_any, self.implementations.is_empty()) {
            (false, _) => vec![name(Implementation::Auto)],
            (true, false) => self.implementations.clone(),
            (true, true) if device == "cpu" => {
                vec![name(Implementation::Fused), name(Implementation::Plain)]
            }
            (true, true) => vec![name(Implementation::Auto)],
        }
    }
}

/// The type that a configuration trains in, by its name there.
pub(super) fn dtype_of(config: &RunConfig) -> String {
    match config.train.precision {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
        Precision::Bf16 => "bf16",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Source;

    fn config() -> RunConfig {
        let source = Source::of_machine(&ncps_profiling::device::detect(), vec![]);
        let own = [Override::of_flag("train.batch_size", 24)];
        source.load(&own).unwrap().config
    }

    #[test]
    fn usual_settings_have_the_own_batch_and_never_more_than_the_windows() {
        let settings = Space::default().settings(&config(), 100, false);
        let batches: Vec<usize> = settings
            .iter()
            .filter(|s| s.implementation == "fused")
            .map(|s| s.batch)
            .collect();
        assert_eq!(batches, [8, 16, 24, 32, 64]);
        assert_eq!(settings.len(), 2 * batches.len());
        assert!(settings.iter().all(|s| s.device == "cpu" && s.width == 1));
        let gpu = Space::default().settings(&config(), 100, true);
        assert!(
            gpu.iter()
                .any(|s| s.device == "gpu" && s.implementation == "auto")
        );
    }

    #[test]
    fn given_lists_are_taken_and_become_overrides() {
        let space = Space {
            batches: vec![16, 400],
            widths: vec![1, 2],
            devices: vec!["cpu".into()],
            implementations: vec!["fused".into()],
            dtypes: vec!["f32".into(), "bf16".into()],
        };
        let config = config();
        let settings = space.settings(&config, 100, true);
        assert_eq!(settings.len(), 4, "{settings:?}");
        assert_eq!(settings[2].text(), "batch 16, cpu, fused, bf16");
        let keys = |setting: &Setting| -> Vec<String> {
            let all = setting.overrides(&config.model);
            all.iter().map(|item| item.path.join(".")).collect()
        };
        assert!(!keys(&settings[0]).contains(&"model.units.units".to_owned()));
        assert!(keys(&settings[1]).contains(&"model.units.units".to_owned()));
        assert_eq!(settings[1].text(), "batch 16, cpu, fused, width x2");
    }
}
