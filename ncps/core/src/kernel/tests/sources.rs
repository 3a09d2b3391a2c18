//! The texts that MLX compiles for a GPU: complete, and without what Metal forbids.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Case;
use super::emulated::ROOMY;
use crate::cell::{Activation, Mode};
use crate::kernel::gpu::{
    ASSUMED, Backend, ChainGeometry, ChainKernels, Geometry, Plan, Spans, Written,
};
use crate::kernel::spec::{CfcLayer, CfcSpec, ParameterSpec, SequenceSpec};
use crate::kernel::{Chain, Judgement, LinearStage, Loss, SequenceStage, Stage, Strides};

/// Functions of the languages that bodies may call, besides those that their own files define.
const ALLOWED: [&str; 15] = [
    "if",
    "for",
    "while",
    "return",
    "sizeof",
    "defined",
    "BARRIER",
    "UNROLL_BY",
    "SIMD_SUM",
    "SIMD_SUM_OVER",
    "ADD_ROWS",
    "PUT",
    "PUT_ALL",
    "TEAM_BARRIER",
    "SIMD_MATRIX",
];
/// What Metal's C++ does not have, or what is not the same everywhere.
const FORBIDDEN: [&str; 18] = [
    "double",
    "std",
    "static",
    "new",
    "delete",
    "goto",
    "try",
    "throw",
    "virtual",
    "auto",
    "long",
    "atomic",
    "printf",
    "class",
    "dynamic_cast",
    "thread_local",
    "asm",
    "lambda",
];

/// Units, backbone, features, batch and time of layers as people train them.
const USUAL: [(usize, usize, usize, usize, usize); 3] = [
    (64, 128, 8, 64, 32),
    (128, 128, 8, 256, 64),
    (256, 256, 32, 1024, 128),
];

/// The sources of a variety of layers.
fn sources(backend: Backend) -> Vec<Written> {
    let mut all = Vec::new();
    for seed in 0..40 {
        let case: Case = super::properties::case(seed);
        let spec = Arc::new(case.spec.clone());
        if let Ok(plan) = Plan::new(&spec, case.geometry(true, ROOMY), backend) {
            all.extend(plan.sources(backend).unwrap());
        }
    }
    for (units, backbone, inputs, batch, time) in USUAL {
        all.extend(of_chain(units, backbone, inputs, (batch, time), backend));
    }
    all
}

/// A CfC and a linear map, as they are trained.
fn of_chain(
    units: usize,
    backbone: usize,
    inputs: usize,
    (batch, time): (usize, usize),
    backend: Backend,
) -> Vec<Written> {
    let layer = CfcLayer {
        inputs,
        units,
        mask: None,
    };
    let spec = SequenceSpec::cfc(
        CfcSpec {
            layers: vec![layer],
            mode: Mode::Default,
            activation: Activation::LecunTanh,
            backbone_units: backbone,
            backbone_layers: 1,
            dropped: Vec::new(),
        },
        false,
    );
    let names = spec.parameters().into_iter().map(|p| p.name).collect();
    let map = LinearStage {
        inputs: units,
        outputs: 4,
        weight: "weight".to_owned(),
        bias: Some("bias".to_owned()),
    };
    let layer = SequenceStage {
        spec: Arc::new(spec),
        parameters: names,
        dropout: 0.0,
        is_last_only: false,
    };
    let chain = Chain::new(inputs, vec![Stage::Sequence(layer), Stage::Linear(map)]).unwrap();
    let mut end = 0;
    let place = |parameter: &ParameterSpec| {
        end += parameter.len();
        end - parameter.len()..end
    };
    let places: Vec<_> = chain.parameters().iter().map(place).collect();
    let geometry = ChainGeometry {
        judgement: Judgement {
            loss: Loss::Mse,
            targets: Strides {
                sample: 4 * time,
                step: 4,
            },
            weights: Strides { sample: 1, step: 0 },
            is_last_step: false,
        },
        layer: Geometry {
            batch,
            time,
            spans: Spans::Constant(1.0),
            has_mask: false,
            dropout: 0,
            is_last_only: false,
            is_training: true,
            record_limit: ROOMY,
        },
    };
    let kernels = ChainKernels::new(&chain, &places, geometry, usize::MAX, backend).unwrap();
    kernels.sources().unwrap()
}

/// The text without comments and macros; what macros stand for is named in [`ALLOWED`].
fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Names directly before a bracket, with their places.
fn calls(text: &str) -> Vec<(usize, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices('(')
        .filter_map(|(at, _)| {
            let name = text[..at].rsplit(|c| !is_name(c)).next()?;
            (!name.is_empty()).then_some((at, name))
        })
        .collect()
}

/// Pointers whose address space is not named.
fn bare_pointers(text: &str) -> Vec<&str> {
    let types = ["float*", "int*", "float4*", "float *", "int *"];
    text.lines()
        .filter(|line| {
            types.iter().any(|pointer| {
                line.match_indices(pointer).any(|(at, _)| {
                    let before = &line[..at];
                    let start = before.rfind(['(', ',', ';', '=', '{']).map_or(0, |i| i + 1);
                    !["GLOBAL", "SHARED", "CONSTANT"]
                        .iter()
                        .any(|space| before[start..].contains(space))
                })
            })
        })
        .collect()
}

#[test]
fn bodies_keep_to_what_all_languages_have() {
    let written = sources(Backend::Metal);
    assert!(written.len() > 20, "{}", written.len());
    let mut seen = BTreeSet::new();
    for source in &written {
        // Metal's table of buffers has 31 places.
        assert!(source.arrays() <= 31, "{}", source.name);
        let own = without_comments(&source.own);
        if !seen.insert(own.clone()) {
            continue;
        }
        let prologue = without_comments(&source.header);
        let defined: BTreeSet<&str> = prologue
            .match_indices("FUNCTION ")
            .filter_map(|(at, _)| {
                let (before, _) = prologue[at..].split_once('(')?;
                words(before).last()
            })
            .collect();
        for word in words(&own) {
            assert!(!FORBIDDEN.contains(&word), "`{word}` in {}", source.name);
        }
        for (at, name) in calls(&own) {
            let is_known = ALLOWED.contains(&name) || defined.contains(name);
            let end = own[at..].find('\n').map_or(own.len(), |n| at + n);
            assert!(
                is_known,
                "{}: `{name}` in `{}`",
                source.name,
                &own[at.saturating_sub(60)..end]
            );
        }
        assert_eq!(bare_pointers(&own), Vec::<&str>::new(), "{}", source.name);
        // A function may call those before it only, so none calls itself.
        let mut before = BTreeSet::new();
        for part in prologue.split("FUNCTION ").skip(1) {
            let name = part
                .split_once('(')
                .and_then(|(head, _)| words(head).last())
                .unwrap_or("");
            let body = part.split_once('{').map_or("", |(_, body)| body);
            for (_, called) in calls(body) {
                assert!(
                    !defined.contains(called) || before.contains(called),
                    "`{name}` calls `{called}`, which is not defined before it"
                );
            }
            before.insert(name);
        }
    }
}

/// Metal, and CUDA for GPUs without and with clusters of groups.
const TARGETS: [(Backend, Option<i32>); 3] = [
    (Backend::Metal, None),
    (Backend::Cuda, Some(80)),
    (Backend::Cuda, Some(90)),
];

#[test]
fn brackets_close_and_names_tell_sources_apart() {
    for (backend, capability) in TARGETS {
        ASSUMED.set(capability);
        let written = sources(backend);
        ASSUMED.set(None);
        let is_clustered = |source: &Written| source.header.contains("int CLUSTER = 2;");
        assert_eq!(written.iter().any(is_clustered), capability == Some(90));
        let mut names = std::collections::BTreeMap::new();
        for source in &written {
            let text = format!("{}\n{}", source.header, source.body);
            let plain = without_comments(&text);
            for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
                let count = |c| plain.chars().filter(|other| *other == c).count();
                assert_eq!(count(open), count(close), "{} {open}", source.name);
            }
            let known = names
                .entry(source.name.clone())
                .or_insert_with(|| text.clone());
            assert_eq!(known, &text, "two sources have the name {}", source.name);
        }
        // For a compiler outside: each as a file, with its signature.
        if let Some(folder) = std::env::var_os("NCPS_KERNEL_SOURCES") {
            let folder = std::path::Path::new(&folder);
            std::fs::create_dir_all(folder).unwrap();
            let target = capability.map_or_else(String::new, |found| format!(".sm_{found}"));
            for source in &written {
                let (end, text) = source.with_signature();
                let name = format!("{}{target}.{end}", source.name);
                std::fs::write(folder.join(name), text).unwrap();
            }
        }
    }
}
