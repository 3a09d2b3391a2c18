//! Properties that every wiring has.

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{AutoNcp, CustomWiring, FullyConnected, Ncp, NeuronKind, Random};
use super::{Synapse, Wiring, WiringConfig};
use crate::Error;

fn ncp() -> impl Strategy<Value = Ncp> {
    let sizes = (1..14usize, 1..10usize, 1..6usize);
    let shares = (0.0..1.0f64, 0.0..1.0f64, 0.0..1.0f64);
    (sizes, shares, 0..20usize, any::<u32>()).prop_map(|(sizes, shares, recurrent, seed)| {
        let part = |whole: usize, share: f64| 1 + (share * whole as f64) as usize;
        let (inter_neurons, command_neurons, motor_neurons) = sizes;
        Ncp {
            inter_neurons,
            command_neurons,
            motor_neurons,
            sensory_fanout: part(inter_neurons, shares.0),
            inter_fanout: part(command_neurons, shares.1),
            recurrent_command_synapses: recurrent,
            motor_fanin: part(command_neurons, shares.2),
            seed: seed.into(),
        }
    })
}

fn auto_ncp() -> impl Strategy<Value = AutoNcp> {
    (1..6usize, 3..40usize, 0.1..=1.0f64, any::<u32>()).prop_map(
        |(outputs, rest, sparsity, seed)| AutoNcp {
            units: outputs + rest,
            outputs,
            sparsity,
            seed: seed.into(),
        },
    )
}

/// Motor neurons that a walk from the sensory neurons meets, found another way than at build.
fn reachable_motors(wiring: &Wiring) -> usize {
    let mut reached: Vec<bool> = vec![false; wiring.units()];
    wiring
        .sensory_synapses()
        .for_each(|synapse| reached[synapse.target] = true);
    for _ in 0..wiring.units() {
        for synapse in wiring.synapses() {
            reached[synapse.target] |= reached[synapse.source];
        }
    }
    reached[..wiring.outputs()]
        .iter()
        .filter(|reached| **reached)
        .count()
}

fn assert_sound(wiring: &Wiring, inputs: usize) {
    assert_eq!(wiring.adjacency().len(), wiring.units() * wiring.units());
    assert_eq!(wiring.sensory_adjacency().len(), inputs * wiring.units());
    assert!(
        wiring
            .adjacency()
            .iter()
            .all(|polarity| polarity.abs() <= 1)
    );
    assert!(
        wiring
            .sensory_adjacency()
            .iter()
            .all(|polarity| polarity.abs() <= 1)
    );
    assert_eq!(wiring.synapses().count(), wiring.synapse_count());
    assert_eq!(
        wiring.sensory_synapses().count(),
        wiring.sensory_synapse_count()
    );
    let motors = wiring
        .kinds()
        .iter()
        .filter(|kind| **kind == NeuronKind::Motor)
        .count();
    assert_eq!(motors, wiring.outputs());
    assert_eq!(reachable_motors(wiring), wiring.outputs());
    let mut order = wiring.layer_order();
    order.sort_unstable();
    assert!(order.into_iter().eq(0..wiring.units()));
    let incoming: usize = wiring.in_degrees().iter().sum();
    assert_eq!(
        incoming,
        wiring.synapse_count() + wiring.sensory_synapse_count()
    );
    assert_eq!(
        wiring.out_degrees().iter().sum::<usize>(),
        wiring.synapse_count()
    );
}

fn assert_round_trips(wiring: &Wiring) {
    assert_eq!(&Wiring::from_json(&wiring.to_json()).unwrap(), wiring);
    let edges = CustomWiring::from_edge_list(&wiring.to_edge_list()).unwrap();
    assert_eq!(&edges.build(wiring.inputs()).unwrap(), wiring);
    let text = toml::to_string(&CustomWiring::from(wiring)).unwrap();
    let copy = CustomWiring::from_toml(&text).unwrap();
    assert_eq!(&copy.build(wiring.inputs()).unwrap(), wiring);
}

/// The number of synapses that start at each of `sources` and end in `targets`.
fn fan_outs(wiring: &Wiring, sources: &[usize], targets: &[usize]) -> Vec<usize> {
    let count = |source: &usize| {
        let to = |synapse: &Synapse| synapse.source == *source && targets.contains(&synapse.target);
        wiring.synapses().filter(to).count()
    };
    sources.iter().map(count).collect()
}

proptest! {
    #![proptest_config(crate::property::cases(48))]

    #[test]
    fn a_policy_is_sound_and_keeps_its_fan_outs(config in ncp(), inputs in 1..8usize) {
        let wiring = config.build(inputs).unwrap();
        assert_sound(&wiring, inputs);
        let [inter, command, motor] = wiring.layers() else { panic!("three layers") };
        // Neurons that were left out get extra synapses, so the fan-outs are lower limits.
        let inter_fan_outs = fan_outs(&wiring, inter, command);
        prop_assert!(inter_fan_outs.iter().all(|&fan_out| fan_out >= config.inter_fanout));
        let sensory = wiring.sensory_adjacency().chunks(wiring.units());
        for row in sensory {
            let fan_out = row.iter().filter(|&&polarity| polarity != 0).count();
            prop_assert!(fan_out >= config.sensory_fanout);
        }
        for motor_neuron in motor {
            let fan_in = fan_outs(&wiring, command, &[*motor_neuron]).iter().sum::<usize>();
            prop_assert!(fan_in >= config.motor_fanin);
        }
        prop_assert!(fan_outs(&wiring, command, motor).iter().all(|&fan_out| fan_out >= 1));
        let recurrent: usize = fan_outs(&wiring, command, command).iter().sum();
        prop_assert!(recurrent <= config.recurrent_command_synapses);
        let between = inter_fan_outs.iter().sum::<usize>() + recurrent
            + fan_outs(&wiring, command, motor).iter().sum::<usize>();
        prop_assert_eq!(wiring.synapse_count(), between);
    }

    #[test]
    fn every_policy_of_the_automatic_sizes_builds(config in auto_ncp(), inputs in 1..12usize) {
        let wiring = config.build(inputs).unwrap();
        assert_sound(&wiring, inputs);
        prop_assert_eq!(wiring.units(), config.units);
        prop_assert_eq!(wiring.outputs(), config.outputs);
    }

    #[test]
    fn building_is_a_pure_function(config in auto_ncp(), inputs in 1..6usize) {
        let first = config.build(inputs).unwrap();
        config.build(inputs + 1).unwrap();
        prop_assert_eq!(first, config.build(inputs).unwrap());
    }

    #[test]
    fn written_wirings_read_back_the_same(config in ncp(), inputs in 1..6usize) {
        assert_round_trips(&config.build(inputs).unwrap());
    }

    #[test]
    fn a_random_wiring_has_the_announced_counts(
        units in 1..20usize, inputs in 1..8usize, sparsity in 0.0..0.9f64, seed in any::<u64>(),
    ) {
        let config = Random { units, outputs: Some(1), sparsity, seed };
        match config.build(inputs) {
            Ok(wiring) => {
                assert_sound(&wiring, inputs);
                assert_round_trips(&wiring);
                let density = 1.0 - sparsity;
                let expected = |pairs: usize| (pairs as f64 * density).round_ties_even() as usize;
                prop_assert_eq!(wiring.synapse_count(), expected(units * units));
                prop_assert_eq!(wiring.sensory_synapse_count(), expected(inputs * units));
            }
            Err(error) => {
                let is_unreachable = matches!(error, Error::WiringUnreachable { .. });
                prop_assert!(is_unreachable, "{}", error);
            }
        }
    }

    #[test]
    fn a_full_wiring_has_all_synapses(
        units in 1..16usize, inputs in 1..6usize, seed in any::<u64>(), is_looped in any::<bool>(),
    ) {
        let config = FullyConnected { units, outputs: None, seed, self_connections: is_looped };
        let wiring = config.build(inputs).unwrap();
        assert_sound(&wiring, inputs);
        let loops = if is_looped { 0 } else { units };
        prop_assert_eq!(wiring.synapse_count(), units * units - loops);
        prop_assert_eq!(wiring.sensory_synapse_count(), inputs * units);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,80}", edges in "[s0-9 +a-z\\n-]{0,80}") {
        let _ = CustomWiring::from_json(&text);
        let _ = CustomWiring::from_toml(&text);
        let _ = CustomWiring::from_edge_list(&text);
        if let Ok(config) = CustomWiring::from_edge_list(&edges) {
            let _ = config.build(3);
        }
    }
}

#[test]
fn every_configuration_survives_being_written() {
    let policy = AutoNcp::new(12, 2);
    let configs: [WiringConfig; 5] = [
        FullyConnected::new(4, 2).into(),
        Random::new(9, 2, 0.25).into(),
        policy.to_ncp().unwrap().into(),
        policy.into(),
        CustomWiring::from_edges(2, 1, [(1, 0, 1)], [(0, 1, -1)]).into(),
    ];
    for config in configs {
        let text = toml::to_string(&config).unwrap();
        let copy: WiringConfig = toml::from_str(&text).unwrap();
        assert_eq!(copy, config);
        assert_eq!(copy.build(1).unwrap(), config.build(1).unwrap());
        assert_eq!(config.units().unwrap(), config.build(1).unwrap().units());
        assert_eq!(
            config.outputs().unwrap(),
            config.build(1).unwrap().outputs()
        );
    }
}

#[test]
fn unknown_keys_and_kinds_are_refused() {
    for text in [
        "kind = 'auto_ncp'\nunits = 16\noutputs = 1\nsparsity_level = 0.5",
        "kind = 'autoncp'\nunits = 16\noutputs = 1",
        "kind = 'fully_connected'\nunits = -3",
        "units = 16\noutputs = 1",
    ] {
        assert!(toml::from_str::<WiringConfig>(text).is_err(), "{text}");
    }
}
