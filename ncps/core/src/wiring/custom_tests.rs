//! Custom wirings: what is accepted, and every way to be wrong.

use std::fs;
use std::path::Path;

use super::{AutoNcp, CustomWiring, NeuronKind, Wiring, WiringConfig};
use crate::Error;

/// Two inputs, neurons 3 and 4 -> 2 -> 1 -> motor 0: four layers.
const DEEP: &str = "\
# sizes
units 5
inputs 2
outputs 1
layer 3 4
layer 2
layer 1   # command
layer 0
s0 3 +1
s1 4 -1
3 2 1
4 2 -1
2 1 +1
1 1 -1
1 0 +1
";

fn deep() -> Wiring {
    CustomWiring::from_edge_list(DEEP)
        .unwrap()
        .build(2)
        .unwrap()
}

fn small() -> CustomWiring {
    CustomWiring::from_edges(3, 1, [(1, 0, 1), (2, 0, -1)], [(0, 1, 1), (1, 2, 1)])
}

fn message(config: &CustomWiring) -> String {
    config.build(2).unwrap_err().to_string()
}

#[test]
fn any_number_of_layers_has_kinds() {
    let wiring = deep();
    assert_eq!(wiring.layers().len(), 4);
    let kinds = [NeuronKind::Motor, NeuronKind::Command, NeuronKind::Inter];
    assert_eq!(wiring.kinds()[..3], kinds);
    assert_eq!(wiring.layer_order(), [3, 4, 2, 1, 0]);
    assert_eq!(
        (wiring.synapse_count(), wiring.sensory_synapse_count()),
        (5, 2)
    );
    assert_eq!(wiring.in_degrees(), [1, 2, 2, 1, 1]);
    assert_eq!(wiring.out_degrees(), [0, 2, 1, 1, 1]);
    assert!((wiring.sparsity() - 0.8).abs() < 1e-12);
}

#[test]
fn edges_matrices_json_and_toml_describe_the_same_graph() {
    let expected = small().build(2).unwrap();
    let matrices = CustomWiring::from_adjacency(
        1,
        vec![vec![0, 0, 0], vec![1, 0, 0], vec![-1, 0, 0]],
        vec![vec![0, 1, 0], vec![0, 0, 1]],
    );
    assert_eq!(matrices.build(2).unwrap(), expected);
    let toml = "outputs = 1\nadjacency = [[0, 0, 0], [1, 0, 0], [-1, 0, 0]]\n\
                sensory_edges = [[0, 1, 1], [1, 2, 1]]";
    assert_eq!(
        CustomWiring::from_toml(toml).unwrap().build(2).unwrap(),
        expected
    );
    let json = r#"{"units": 3, "outputs": 1, "edges": [[1, 0, 1], [2, 0, -1]],
                   "sensory_adjacency": [[0, 1, 0], [0, 0, 1]]}"#;
    assert_eq!(
        CustomWiring::from_json(json).unwrap().build(2).unwrap(),
        expected
    );
    assert_eq!(Wiring::from_json(json).unwrap(), expected);
}

#[test]
fn a_built_wiring_can_be_edited() {
    let wiring = AutoNcp::new(16, 1).build(2).unwrap();
    let mut config = CustomWiring::from(&wiring);
    let removed = config.edges.as_mut().unwrap().pop().unwrap();
    let edited = config.build(2).unwrap();
    assert_eq!(edited.synapse_count(), wiring.synapse_count() - 1);
    assert!(edited.synapses().all(|synapse| synapse != removed));
    assert_eq!(edited.kinds(), wiring.kinds());
}

#[test]
fn wrong_synapses_are_named() {
    let cases = [
        (
            (1, 0, 2),
            "polarity 2 of the synapse 1 -> 0 in `edges`, expected -1 or 1",
        ),
        ((1, 0, 0), "polarity 0 of the synapse 1 -> 0 in `edges`"),
        (
            (3, 0, 1),
            "3 -> 0 in `edges` has no such source; expected an id below 3",
        ),
        (
            (1, 3, 1),
            "1 -> 3 in `edges` has no such target; expected an id below 3",
        ),
        ((2, 0, 1), "2 -> 0 is listed twice in `edges`"),
    ];
    for (edge, expected) in cases {
        let mut config = small();
        config.edges.as_mut().unwrap().push(edge.into());
        let found = message(&config);
        assert!(found.contains(expected), "{found}");
    }
    let mut config = small();
    config
        .sensory_edges
        .as_mut()
        .unwrap()
        .push((2, 0, 1).into());
    assert!(
        message(&config).contains("`sensory_edges` has no such source"),
        "sensory"
    );
    config = small();
    config
        .sensory_edges
        .as_mut()
        .unwrap()
        .push((1, 2, -1).into());
    assert!(
        message(&config).contains("listed twice in `sensory_edges`"),
        "sensory"
    );
}

#[test]
fn wrong_matrices_are_named() {
    let square = || vec![vec![0, 1], vec![1, 0]];
    let sensory = || vec![vec![1, 0], vec![0, 0]];
    let build = |adjacency, sensory| message(&CustomWiring::from_adjacency(1, adjacency, sensory));
    let mut wide = square();
    wide[1].push(1);
    assert!(build(wide, sensory()).contains("`adjacency` has 3 entries in row 1, expected 2"));
    let mut long = sensory();
    long[0].pop();
    assert!(build(square(), long).contains("`sensory_adjacency` has 1 entries in row 0"));
    let mut strong = square();
    strong[0][1] = -2;
    let found = build(strong, sensory());
    assert!(
        found.contains("polarity -2 of the synapse 0 -> 1 in `adjacency`"),
        "{found}"
    );
    let mut config = CustomWiring::from_adjacency(1, square(), sensory());
    config.units = Some(3);
    assert!(message(&config).contains("`adjacency` has 2 rows, expected 3"));
}

#[test]
fn layers_must_be_a_partition_that_ends_with_the_motor_neurons() {
    let cases = [
        (
            vec![vec![1], vec![0]],
            "hold 2 neurons, expected each of the 3 once",
        ),
        (vec![vec![1, 1], vec![0]], "name neuron 1 twice"),
        (
            vec![vec![1, 7], vec![0]],
            "name neuron 7, expected ids below 3",
        ),
        (
            vec![vec![1, 2], vec![], vec![0]],
            "have no neuron in layer 1",
        ),
        (
            vec![vec![0], vec![1, 2]],
            "starts with the motor neurons 0 to 0",
        ),
        (vec![], "hold 0 neurons"),
    ];
    for (layers, expected) in cases {
        let found = message(&small().with_layers(layers));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_motor_neuron_without_a_path_from_the_input_is_refused() {
    let loops = CustomWiring::from_edges(3, 2, [(2, 0, 1), (1, 1, 1)], [(0, 2, 1)]);
    let error = loops.build(1).unwrap_err();
    assert!(
        matches!(error, Error::WiringUnreachable { motor: 1, .. }),
        "{error}"
    );
}

#[test]
fn missing_and_contradicting_keys_are_named() {
    let whole = small();
    let sized = CustomWiring {
        inputs: Some(4),
        ..whole.clone()
    };
    assert!(
        message(&sized).contains("describe 4 sensory neurons"),
        "{}",
        message(&sized)
    );
    let no_units = CustomWiring {
        units: None,
        ..whole.clone()
    };
    assert!(message(&no_units).contains("`units` is absent"));
    let no_outputs = CustomWiring {
        outputs: None,
        ..whole.clone()
    };
    assert!(message(&no_outputs).contains("`outputs` is absent"));
    let both = CustomWiring {
        adjacency: Some(vec![vec![0; 3]; 3]),
        ..whole.clone()
    };
    assert!(message(&both).contains("either `edges` or `adjacency`"));
    let neither = CustomWiring {
        sensory_edges: None,
        ..whole.clone()
    };
    assert!(message(&neither).contains("either `sensory_edges` or `sensory_adjacency`"));
    let beside = CustomWiring {
        file: Some("graph.json".into()),
        ..whole
    };
    assert!(message(&beside).contains("no other key beside it"));
    let no_inputs = r#"{"units": 1, "outputs": 1, "edges": [], "sensory_edges": [[0, 0, 1]]}"#;
    let error = Wiring::from_json(no_inputs).unwrap_err().to_string();
    assert!(error.contains("`inputs` is absent"), "{error}");
}

#[test]
fn a_wrong_line_of_an_edge_list_is_named_by_its_number() {
    let cases = [
        ("units 3\nunits 3", "line 2: `units` is given a second time"),
        ("units", "line 1: expected `units` and one number"),
        ("units three", "line 1: `three` is not a whole number"),
        ("\n# note\n0 1", "line 3: expected `source target polarity`"),
        ("0 1 1 1", "line 1: expected `source target polarity`"),
        ("0 1 strong", "line 1: polarity `strong` is not -1 or +1"),
        ("-1 0 1", "line 1: `-1` is not a whole number"),
        ("sx 0 1", "line 1: `x` is not a whole number"),
        ("layer 0 a", "line 1: `a` is not a whole number"),
        (
            "99999999999999999999999 0 1",
            "line 1: `99999999999999999999999` is not",
        ),
    ];
    for (text, expected) in cases {
        let found = CustomWiring::from_edge_list(text).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
    let long = CustomWiring::from_edge_list(&"x".repeat(100_000))
        .unwrap_err()
        .to_string();
    assert!(
        long.len() < 300,
        "a message must not repeat a whole foreign line"
    );
}

#[test]
fn files_of_every_format_are_read_and_can_be_inlined() {
    let folder = tempfile::tempdir().unwrap();
    let wiring = deep();
    let toml = toml::to_string(&CustomWiring::from(&wiring)).unwrap();
    for (name, text) in [
        ("g.json", wiring.to_json()),
        ("g.toml", toml),
        ("g.edges", DEEP.to_owned()),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let absolute = CustomWiring::from_file(&path);
        assert_eq!(absolute.build(2).unwrap(), wiring);
        assert_eq!(
            (absolute.units().unwrap(), absolute.outputs().unwrap()),
            (5, 1)
        );
        let relative = WiringConfig::from(CustomWiring::from_file(name));
        let inlined = relative.inlined(folder.path()).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(inlined.build(2).unwrap(), wiring);
        assert!(matches!(inlined, WiringConfig::Custom(config) if config.file.is_none()));
    }
}

#[test]
fn files_that_cannot_be_a_wiring_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        CustomWiring::from_file(path).build(2).unwrap_err()
    };
    let missing = CustomWiring::from_file(folder.path().join("none.json"))
        .build(2)
        .unwrap_err();
    assert!(matches!(&missing, Error::WiringRead { path, .. } if path.ends_with("none.json")));
    let directory = folder.path().join("folder.json");
    fs::create_dir(&directory).unwrap();
    let error = CustomWiring::from_file(directory).build(2).unwrap_err();
    assert!(matches!(error, Error::WiringRead { .. }), "{error}");
    assert!(
        read("g.graphml", b"")
            .to_string()
            .contains(".json, .toml, .edges or .txt")
    );
    assert!(matches!(
        read("g.json", b"\xff\xfe"),
        Error::WiringRead { .. }
    ));
    assert!(matches!(read("g.json", b""), Error::WiringParse { .. }));
    let unknown = read("g.toml", b"units = 2\nneurons = 3\n").to_string();
    assert!(
        unknown.contains("neurons") && unknown.contains("g.toml"),
        "{unknown}"
    );
    let chained = read("g.toml", b"file = 'g.toml'\n").to_string();
    assert!(chained.contains("another `file`"), "{chained}");
    let empty = read("g.txt", b"").to_string();
    assert!(empty.contains("`units` is absent"), "{empty}");
}

#[test]
fn hostile_files_cost_no_more_than_their_length() {
    let huge = "units 18446744073709551615\noutputs 1\ns0 0 1\n";
    assert!(message(&CustomWiring::from_edge_list(huge).unwrap()).contains("1 to 8192"));
    let wide = "units 8192\noutputs 8192\ninputs 2\ns0 9000 1\n";
    assert!(message(&CustomWiring::from_edge_list(wide).unwrap()).contains("below 8192"));
    let nested = "[".repeat(200_000);
    for text in [nested.clone(), format!("{{\"edges\": {nested}")] {
        assert!(matches!(
            CustomWiring::from_json(&text),
            Err(Error::WiringParse { .. })
        ));
    }
    let text = format!("edges = {nested}");
    assert!(matches!(
        CustomWiring::from_toml(&text),
        Err(Error::WiringParse { .. })
    ));
    let numbers = r#"{"units": 1e300, "outputs": 1}"#;
    assert!(matches!(
        CustomWiring::from_json(numbers),
        Err(Error::WiringParse { .. })
    ));
}

#[test]
fn a_file_over_the_limit_of_its_format_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.toml");
    // A sparse file: its length is not on the disk.
    fs::File::create(&path)
        .unwrap()
        .set_len((4 << 20) + 1)
        .unwrap();
    let error = CustomWiring::from_file(&path)
        .inlined(Path::new(""))
        .unwrap_err();
    let Error::WiringRead { source, .. } = error else {
        panic!("{error}")
    };
    assert!(
        source.to_string().contains("larger than 4194304 bytes"),
        "{source}"
    );
}
