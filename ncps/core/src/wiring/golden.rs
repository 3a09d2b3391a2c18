//! Graphs of the reference package, synapse by synapse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{AutoNcp, FullyConnected, Ncp, NeuronKind, Random, Synapse, Wiring, WiringConfig};

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn golden_folder() -> PathBuf {
    std::env::var_os("NCPS_GOLDEN_DIR").map_or_else(own_folder, PathBuf::from)
}

/// What the manifest says of one wiring.
#[derive(Deserialize)]
struct Entry {
    index: usize,
    wiring: Reference,
    input_dim: usize,
    units: usize,
    output_dim: usize,
    synapses: usize,
    sensory_synapses: usize,
    layers: Vec<Vec<usize>>,
}

/// The constructor call in the reference package.
#[derive(Deserialize)]
struct Reference {
    kind: String,
    args: BTreeMap<String, Value>,
}

impl Reference {
    /// Our configuration for the call: the arguments under our names.
    fn config(&self) -> WiringConfig {
        let ours = |name: &str| match name {
            "output_dim" | "output_size" => "outputs".to_owned(),
            "erev_init_seed" | "random_seed" => "seed".to_owned(),
            "sparsity_level" => "sparsity".to_owned(),
            same => same.to_owned(),
        };
        let kind = match self.kind.as_str() {
            "FullyConnected" => "fully_connected",
            "Random" => "random",
            "NCP" => "ncp",
            "AutoNCP" => "auto_ncp",
            other => panic!("the manifest names an unknown wiring `{other}`"),
        };
        let mut keys: serde_json::Map<_, _> = self
            .args
            .iter()
            .map(|(name, value)| (ours(name), value.clone()))
            .collect();
        keys.insert("kind".to_owned(), kind.into());
        serde_json::from_value(Value::Object(keys)).unwrap()
    }
}

fn matrix(file: &SafeTensors<'_>, name: &str) -> Vec<i32> {
    let bytes = file.tensor(name).unwrap().data().as_chunks::<4>().0;
    bytes
        .iter()
        .map(|entry| i32::from_le_bytes(*entry))
        .collect()
}

#[test]
fn every_wiring_of_the_manifest_is_drawn_element_by_element() {
    #[derive(Deserialize)]
    struct Manifest {
        wirings: Wirings,
    }
    #[derive(Deserialize)]
    struct Wirings {
        file: String,
        entries: Vec<Entry>,
    }
    let folder = golden_folder();
    let text = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let Wirings { file, entries } = serde_json::from_str::<Manifest>(&text).unwrap().wirings;
    let bytes = std::fs::read(folder.join(file)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(!entries.is_empty());
    for entry in entries {
        let index = entry.index;
        let wiring = entry.wiring.config().build(entry.input_dim).unwrap();
        let adjacency = matrix(&tensors, &format!("{index}.adjacency_matrix"));
        assert_eq!(wiring.adjacency(), adjacency, "wiring {index}");
        let sensory = matrix(&tensors, &format!("{index}.sensory_adjacency_matrix"));
        assert_eq!(
            wiring.sensory_adjacency(),
            sensory,
            "sensory part of wiring {index}"
        );
        assert_eq!(wiring.layers(), entry.layers, "wiring {index}");
        assert_eq!(
            (wiring.units(), wiring.outputs()),
            (entry.units, entry.output_dim)
        );
        assert_eq!(wiring.synapse_count(), entry.synapses, "wiring {index}");
        assert_eq!(
            wiring.sensory_synapse_count(),
            entry.sensory_synapses,
            "wiring {index}"
        );
    }
}

/// One graph of `wirings_edges.json`.
#[derive(Deserialize)]
struct Edges {
    units: usize,
    input_dim: usize,
    output_dim: usize,
    synapses: Vec<Synapse>,
    sensory_synapses: Vec<Synapse>,
    layers: Vec<Vec<usize>>,
    synapse_count: usize,
    sensory_synapse_count: usize,
    adjacency_sha256: String,
    sensory_sha256: String,
}

/// The configuration of each graph in `wirings_edges.json`, by its name before the slash.
fn named_config(name: &str) -> WiringConfig {
    let ncp = |sizes: [usize; 7]| Ncp {
        inter_neurons: sizes[0],
        command_neurons: sizes[1],
        motor_neurons: sizes[2],
        sensory_fanout: sizes[3],
        inter_fanout: sizes[4],
        recurrent_command_synapses: sizes[5],
        motor_fanin: sizes[6],
        seed: 22222,
    };
    let auto = |units, outputs, sparsity, seed| AutoNcp {
        units,
        outputs,
        sparsity,
        seed,
    };
    match name {
        "FullyConnected(8,4)" => FullyConnected::new(8, 4).into(),
        "FullyConnected(8,4,erev_init_seed=7,self_connections=False)" => FullyConnected {
            seed: 7,
            self_connections: false,
            ..FullyConnected::new(8, 4)
        }
        .into(),
        "Random(12,3,0.5)" => Random::new(12, 3, 0.5).into(),
        "Random(32,1,0.75,random_seed=42)" => Random {
            seed: 42,
            ..Random::new(32, 1, 0.75)
        }
        .into(),
        "NCP(10,10,8,6,6,4,6)" => ncp([10, 10, 8, 6, 6, 4, 6]).into(),
        "NCP(12,6,1,4,5,4,4)" => ncp([12, 6, 1, 4, 5, 4, 4]).into(),
        "AutoNCP(16,1,sparsity_level=0.5,seed=22222)" => auto(16, 1, 0.5, 22222).into(),
        "AutoNCP(28,4,sparsity_level=0.5,seed=22222)" => auto(28, 4, 0.5, 22222).into(),
        "AutoNCP(28,4,sparsity_level=0.75,seed=22222)" => auto(28, 4, 0.75, 22222).into(),
        "AutoNCP(8,2,sparsity_level=0.5,seed=22222)" => auto(8, 2, 0.5, 22222).into(),
        "AutoNCP(64,8,sparsity_level=0.5,seed=42)" => auto(64, 8, 0.5, 42).into(),
        "AutoNCP(10,3,sparsity_level=0.1,seed=1)" => auto(10, 3, 0.1, 1).into(),
        "AutoNCP(20,5,sparsity_level=1.0,seed=22222)" => auto(20, 5, 1.0, 22222).into(),
        other => panic!("no configuration is known for the golden graph `{other}`"),
    }
}

fn sha256(matrix: &[i32]) -> String {
    let bytes: Vec<u8> = matrix
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect();
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn every_edge_list_of_the_reference_is_drawn() {
    let text = std::fs::read_to_string(own_folder().join("wirings_edges.json")).unwrap();
    let graphs: BTreeMap<String, Edges> = serde_json::from_str(&text).unwrap();
    assert_eq!(graphs.len(), 14);
    for (name, expected) in graphs {
        let (config, _) = name.split_once('/').unwrap();
        let wiring = named_config(config).build(expected.input_dim).unwrap();
        assert!(wiring.synapses().eq(expected.synapses), "{name}");
        assert!(
            wiring.sensory_synapses().eq(expected.sensory_synapses),
            "{name}"
        );
        assert_eq!(
            sha256(wiring.adjacency()),
            expected.adjacency_sha256,
            "{name}"
        );
        assert_eq!(
            sha256(wiring.sensory_adjacency()),
            expected.sensory_sha256,
            "{name}"
        );
        assert_eq!(wiring.layers(), expected.layers, "{name}");
        assert_eq!(wiring.synapse_count(), expected.synapse_count, "{name}");
        assert_eq!(
            wiring.sensory_synapse_count(),
            expected.sensory_synapse_count,
            "{name}"
        );
        assert_eq!(
            (wiring.units(), wiring.outputs()),
            (expected.units, expected.output_dim)
        );
    }
}

fn kinds(wiring: &Wiring, kind: NeuronKind) -> Vec<usize> {
    (0..wiring.units())
        .filter(|&id| wiring.kind(id) == kind)
        .collect()
}

#[test]
fn kinds_follow_the_ids_of_the_reference() {
    let wiring = AutoNcp::new(28, 4).build(20).unwrap();
    assert_eq!(kinds(&wiring, NeuronKind::Motor), Vec::from_iter(0..4));
    assert_eq!(kinds(&wiring, NeuronKind::Command), Vec::from_iter(4..13));
    assert_eq!(kinds(&wiring, NeuronKind::Inter), Vec::from_iter(13..28));
    let flat = Random::new(12, 3, 0.5).build(5).unwrap();
    assert_eq!(kinds(&flat, NeuronKind::Motor), Vec::from_iter(0..3));
    assert_eq!(kinds(&flat, NeuronKind::Inter), Vec::from_iter(3..12));
}

/// The drawing of populations over 10,000 pairs, which no golden graph reaches: SHA-256 of both
/// matrices as numpy 2.4.6 and the reference package give them.
#[test]
fn large_random_graphs_take_numpys_other_sampling_path() {
    let dense = Random {
        seed: 5,
        ..Random::new(120, 6, 0.9)
    }
    .build(90)
    .unwrap();
    assert_eq!(
        sha256(dense.adjacency()),
        "7b6e992dad1c0fadecb86e90f6fb25674bf4c9776daf64a68ab56b39048f4f83"
    );
    assert_eq!(
        sha256(dense.sensory_adjacency()),
        "7e28bf59a71ef18ec5fa2eb94a6852cc17d041d1605ff3681d9d56e2768fbd53"
    );
    let sparse = Random {
        seed: 6,
        ..Random::new(150, 2, 0.985)
    }
    .build(80)
    .unwrap();
    assert_eq!(
        sha256(sparse.adjacency()),
        "0466d7cb096741eb4e5ad4304deca2a59d89969caa864f6d5e2ec636363ba109"
    );
    assert_eq!(
        sha256(sparse.sensory_adjacency()),
        "8086fb6b78d9ee2dd9fc485e1bec95c005ec54344a8838cc071ced355f377d06"
    );
}
