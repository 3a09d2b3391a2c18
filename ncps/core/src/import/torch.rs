//! Weights of the PyTorch package `ncps`, from a `state_dict` saved as safetensors.
//!
//! The names are those of `CfC(...).state_dict()` and `LTC(...).state_dict()` of `ncps` 1.0.1.
//! Parameters have the same names here, with two exceptions. The backbone is a `Sequential` there,
//! whose numbers count activations and dropout too (0, 2, 4, ... or with dropout 0, 2, 5, 8, ...);
//! here the layers are counted. The sparsity masks are in the `state_dict`, but belong to the
//! wiring here: they are compared with it and not stored.
//!
//! # Example
//! ```no_run
//! use ncps_core::import::torch::{StateDict, load_cfc};
//! use ncps_core::rnn::CfcConfig;
//! use ncps_core::wiring::AutoNcp;
//!
//! let mut layer = CfcConfig::new(20, AutoNcp::new(28, 4)).build(0)?;
//! load_cfc(&mut layer, &StateDict::read("cfc.safetensors".as_ref())?)?;
//! # Ok::<(), ncps_core::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use half::{bf16, f16};
use mlx_rs::Array;
use mlx_rs::module::ModuleParameters;
use safetensors::{Dtype, SafeTensors};

use crate::array::During;
use crate::error::{Error, Result};
use crate::rnn::{Cfc, CfcNeurons, Ltc};

/// How many names an error message lists before it only counts.
const LISTED: usize = 5;

/// Named tensors of a PyTorch module.
#[derive(Debug, Clone, Default)]
pub struct StateDict {
    tensors: BTreeMap<String, Array>,
}

impl StateDict {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// [`Error::ImportRead`] if the file cannot be read or is damaged, or holds a tensor that is not of
    /// floating-point numbers.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |problem: String| Error::ImportRead {
            path: path.to_owned(),
            problem,
        };
        let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        Self::parse(&bytes).map_err(refuse)
    }

    /// Reads the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`Error::Import`] if they are damaged or hold a tensor that is not of floating-point numbers.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes).map_err(|problem| Error::Import { problem })
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let values = floats(view.dtype(), view.data())
                .ok_or_else(|| format!("`{name}` has elements of type {:?}", view.dtype()))?;
            let sizes = view.shape().iter().map(|&size| i32::try_from(size));
            let shape: Vec<i32> = sizes
                .collect::<std::result::Result<_, _>>()
                .map_err(|_| format!("`{name}` is larger than 2^31 along one axis"))?;
            if values.len() >= i32::MAX as usize {
                return Err(format!("`{name}` has 2^31 elements or more"));
            }
            tensors.insert(name, Array::from_slice(&values, &shape));
        }
        Ok(Self { tensors })
    }

    /// The tensors whose names begin with `prefix`, without it: a layer inside a larger module.
    #[must_use]
    pub fn under(&self, prefix: &str) -> Self {
        let inside = |(name, tensor): (&String, &Array)| {
            let own = name.strip_prefix(prefix)?;
            Some((own.to_owned(), tensor.clone()))
        };
        self.tensors.iter().filter_map(inside).collect()
    }

    /// Names and tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, Array> {
        &self.tensors
    }
}

impl FromIterator<(String, Array)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, Array)>>(tensors: I) -> Self {
        Self {
            tensors: tensors.into_iter().collect(),
        }
    }
}

/// Loads the weights of a `CfC`.
///
/// # Errors
/// [`Error::Import`] if a tensor is missing, unknown, of another shape, or a sparsity mask belongs
/// to another wiring; the layer is unchanged then.
pub fn load_cfc(layer: &mut Cfc, state: &StateDict) -> Result<()> {
    let mut masks = BTreeMap::new();
    let mut backbone = Vec::new();
    match &layer.rnn_cell {
        CfcNeurons::Dense(cell) => backbone = backbone_numbers(state, cell.backbone.len())?,
        CfcNeurons::Wired(cell) => {
            for (l, layer) in cell.layers().iter().enumerate() {
                let name = format!("rnn_cell.layer_{l}.sparsity_mask");
                masks.extend(layer.mask().map(|mask| (name, mask.clone())));
            }
        }
    }
    load(layer, state, &masks, &backbone)
}

/// Loads the weights of an `LTC`.
///
/// # Errors
/// As [`load_cfc`].
pub fn load_ltc(layer: &mut Ltc, state: &StateDict) -> Result<()> {
    let cell = &layer.rnn_cell;
    let masks = [
        ("sparsity_mask", cell.synapses().mask()),
        ("sensory_sparsity_mask", cell.sensory_synapses().mask()),
    ];
    let masks = masks.map(|(name, mask)| (format!("rnn_cell.{name}"), mask.clone()));
    load(layer, state, &BTreeMap::from(masks), &[])
}

/// The name in a `state_dict` of one of our parameters; `backbone` numbers its layers there.
pub fn torch_name(own: &str, backbone: &[usize]) -> String {
    const BACKBONE: &str = "rnn_cell.backbone.";
    let renumbered = own.strip_prefix(BACKBONE).and_then(|rest| {
        let (layer, leaf) = rest.split_once('.')?;
        let number = backbone.get(layer.parse::<usize>().ok()?)?;
        Some(format!("{BACKBONE}{number}.{leaf}"))
    });
    renumbered.unwrap_or_else(|| own.to_owned())
}

/// The numbers that PyTorch gives the linear layers of a backbone of `layers` layers.
///
/// Without dropout each is followed by its activation; with dropout one more module follows from
/// the second layer on.
pub fn backbone_numbering(layers: usize, has_dropout: bool) -> Vec<usize> {
    let number = |layer: usize| match (layer, has_dropout) {
        (0, _) => 0,
        (_, false) => 2 * layer,
        (_, true) => 3 * layer - 1,
    };
    (0..layers).map(number).collect()
}

/// Which of the two numberings the tensors follow.
fn backbone_numbers(state: &StateDict, layers: usize) -> Result<Vec<usize>> {
    let number = |name: &String| {
        let rest = name.strip_prefix("rnn_cell.backbone.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    let found: BTreeSet<usize> = state.tensors.keys().filter_map(number).collect();
    let found: Vec<usize> = found.into_iter().collect();
    let known = [false, true].map(|has_dropout| backbone_numbering(layers, has_dropout));
    if known.contains(&found) {
        return Ok(found);
    }
    Err(Error::Import {
        problem: format!(
            "the backbone's tensors are numbered {found:?}, expected {:?} (or {:?} with dropout) \
             for {layers} layers; set `backbone_layers` to what the weights were trained with",
            known[0], known[1]
        ),
    })
}

fn load(
    layer: &mut dyn ModuleParameters,
    state: &StateDict,
    masks: &BTreeMap<String, Array>,
    backbone: &[usize],
) -> Result<()> {
    for (name, mask) in masks {
        if let Some(found) = state.tensors.get(name) {
            check_mask(name, found, mask)?;
        }
    }
    let mut parameters = layer.parameters_mut().flatten();
    let wanted: BTreeMap<String, &mut Array> = parameters
        .drain()
        .map(|(own, parameter)| (torch_name(&own, backbone), parameter))
        .collect();
    check_names(&wanted, state, masks)?;
    let mut pairs = Vec::with_capacity(wanted.len());
    for (name, parameter) in wanted {
        let tensor = &state.tensors[&name];
        if tensor.shape() != parameter.shape() {
            return Err(Error::Import {
                problem: format!(
                    "`{name}` has shape {:?}, expected {:?}; build the layer with the sizes that \
                     the weights were trained with",
                    tensor.shape(),
                    parameter.shape()
                ),
            });
        }
        let tensor = tensor.as_dtype(parameter.dtype()).during("import")?;
        pairs.push((parameter, tensor));
    }
    for (parameter, tensor) in pairs {
        *parameter = tensor;
    }
    Ok(())
}

fn check_names(
    wanted: &BTreeMap<String, &mut Array>,
    state: &StateDict,
    masks: &BTreeMap<String, Array>,
) -> Result<()> {
    let has = |name: &&String| state.tensors.contains_key(*name);
    let missing: Vec<&String> = wanted.keys().filter(|name| !has(name)).collect();
    let known = |name: &&String| wanted.contains_key(*name) || masks.contains_key(*name);
    let unknown: Vec<&String> = state.tensors.keys().filter(|name| !known(name)).collect();
    if missing.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    let mut problem = Vec::new();
    for (names, what) in [(missing, "missing"), (unknown, "not of this layer")] {
        if !names.is_empty() {
            problem.push(format!("{what}: {}", list(&names)));
        }
    }
    Err(Error::Import {
        problem: format!(
            "the tensors do not fit the layer ({}); check mode, units, memory and mappings",
            problem.join("; ")
        ),
    })
}

fn list(names: &[&String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[allow(clippy::float_cmp, reason = "masks hold exact zeros and ones")]
fn check_mask(name: &str, found: &Array, expected: &Array) -> Result<()> {
    if found.shape() != expected.shape() {
        return Err(Error::Import {
            problem: format!(
                "the sparsity mask `{name}` has shape {:?}, expected {:?}; the weights belong to \
                 another wiring",
                found.shape(),
                expected.shape()
            ),
        });
    }
    let differing = found
        .as_slice::<f32>()
        .iter()
        .zip(expected.as_slice::<f32>())
        .filter(|(a, b)| a != b)
        .count();
    if differing == 0 {
        return Ok(());
    }
    Err(Error::Import {
        problem: format!(
            "the sparsity mask `{name}` differs from the wiring's in {differing} of {} synapses; \
             use the wiring (kind, sizes and seed) that the weights were trained with",
            expected.size()
        ),
    })
}

/// Little-endian floating-point numbers of any width as f32; none for other types.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|&b| value(b)).collect()
    }
    match dtype {
        Dtype::F32 => Some(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        Dtype::F16 => Some(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Some(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rnn::{CfcConfig, LtcConfig};
    use crate::wiring::AutoNcp;

    /// A layer's parameters under PyTorch's names.
    fn exported(layer: &impl ModuleParameters, backbone: &[usize]) -> StateDict {
        let parameters = layer.parameters().flatten();
        let named = parameters.into_iter();
        named
            .map(|(own, array)| (torch_name(&own, backbone), array.clone()))
            .collect()
    }

    fn deep_cfc(seed: u64) -> Cfc {
        let mut config = CfcConfig::new(3, 4);
        (config.backbone_layers, config.backbone_units) = (3, 5);
        config.build(seed).unwrap()
    }

    fn equal(a: &impl ModuleParameters, b: &impl ModuleParameters) -> bool {
        let b = b.parameters().flatten();
        a.parameters()
            .flatten()
            .iter()
            .all(|(name, array)| array.eq_exact(b[name]).unwrap())
    }

    #[test]
    fn backbone_layers_are_found_under_both_numberings() {
        assert_eq!(backbone_numbering(4, false), [0, 2, 4, 6]);
        assert_eq!(backbone_numbering(4, true), [0, 2, 5, 8]);
        let source = deep_cfc(1);
        for numbers in [[0, 2, 4], [0, 2, 5]] {
            let mut layer = deep_cfc(2);
            assert!(!equal(&layer, &source));
            load_cfc(&mut layer, &exported(&source, &numbers)).unwrap();
            assert!(equal(&layer, &source));
        }
        let mut layer = deep_cfc(2);
        let error = load_cfc(&mut layer, &exported(&source, &[0, 3, 6])).unwrap_err();
        assert!(error.to_string().contains("[0, 3, 6]"), "{error}");
    }

    #[test]
    fn a_layer_inside_a_module_is_found_by_its_prefix() {
        let source = deep_cfc(1);
        let tensors = exported(&source, &[0, 2, 4]);
        let mut inside: StateDict = tensors
            .tensors()
            .iter()
            .map(|(name, tensor)| (format!("policy.rnn.{name}"), tensor.clone()))
            .collect();
        let other = Array::from_f32(1.0);
        inside.tensors.insert("head.weight".to_owned(), other);
        let mut layer = deep_cfc(2);
        load_cfc(&mut layer, &inside.under("policy.rnn.")).unwrap();
        assert!(equal(&layer, &source));
    }

    #[test]
    fn another_wiring_missing_and_unknown_tensors_are_refused() {
        let config = LtcConfig::new(3, AutoNcp::new(12, 2));
        let source = config.build(1).unwrap();
        let mut state = exported(&source, &[]);
        let mask = "rnn_cell.sparsity_mask";
        let own = source.rnn_cell.synapses().mask().clone();
        state.tensors.insert(mask.to_owned(), own.clone());
        let mut layer = config.build(2).unwrap();
        load_ltc(&mut layer, &state).unwrap();
        assert!(equal(&layer, &source));

        let changed = Array::from_f32(1.0).subtract(own).unwrap();
        state.tensors.insert(mask.to_owned(), changed);
        let error = load_ltc(&mut layer, &state).unwrap_err().to_string();
        assert!(
            error.contains(mask) && error.contains("144 of 144"),
            "{error}"
        );

        state.tensors.remove(mask);
        let moved = state.tensors.remove("rnn_cell.gleak").unwrap();
        state.tensors.insert("rnn_cell.leak".to_owned(), moved);
        let error = load_ltc(&mut layer, &state).unwrap_err().to_string();
        assert!(error.contains("missing: `rnn_cell.gleak`"), "{error}");
        assert!(error.contains("`rnn_cell.leak`"), "{error}");
    }

    #[test]
    fn another_size_is_refused_and_changes_nothing() {
        let source = CfcConfig::new(3, 5).build(1).unwrap();
        let mut layer = CfcConfig::new(3, 4).build(2).unwrap();
        let before = layer.clone();
        let error = load_cfc(&mut layer, &exported(&source, &[0])).unwrap_err();
        assert!(error.to_string().contains("shape"), "{error}");
        assert!(equal(&layer, &before));
    }

    #[test]
    fn damaged_files_are_errors() {
        for bytes in [&b""[..], b"\x08\0\0\0\0\0\0\0{}", &[0xff; 64]] {
            let result = StateDict::from_bytes(bytes);
            assert!(result.is_err() || result.unwrap().tensors().is_empty());
        }
        let missing = StateDict::read("no/such/file.safetensors".as_ref());
        assert!(missing.unwrap_err().to_string().contains("no/such/file"));
    }
}
