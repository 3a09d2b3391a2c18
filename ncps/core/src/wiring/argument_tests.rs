//! Every argument out of its limits is refused by its name, with the limits.

use super::{AutoNcp, FullyConnected, MAX_UNITS, Ncp, Random, WiringConfig};
use crate::Error;

fn refused(config: impl Into<WiringConfig>, inputs: usize) -> (&'static str, String) {
    match config.into().build(inputs).unwrap_err() {
        error @ Error::WiringArgument { argument, .. } => (argument, error.to_string()),
        other => panic!("expected a refused argument, found: {other}"),
    }
}

#[test]
fn every_argument_out_of_limits_is_named_with_its_limits() {
    let full = FullyConnected::new(8, 2);
    let random = Random::new(8, 2, 0.5);
    let auto = AutoNcp::new(16, 2);
    let ncp = auto.to_ncp().unwrap();
    let too_many = MAX_UNITS + 1;
    let cases: Vec<(WiringConfig, usize, &str, &str)> = vec![
        (FullyConnected::new(0, 1).into(), 3, "units", "1 to 8192"),
        (
            FullyConnected::new(too_many, 1).into(),
            3,
            "units",
            "1 to 8192",
        ),
        (
            FullyConnected::new(usize::MAX, 1).into(),
            3,
            "units",
            "1 to 8192",
        ),
        (FullyConnected::new(8, 0).into(), 3, "outputs", "1 to 8"),
        (FullyConnected::new(8, 9).into(), 3, "outputs", "1 to 8"),
        (full.clone().into(), 0, "inputs", "1 to 65536"),
        (full.into(), 65_537, "inputs", "1 to 65536"),
        (
            FullyConnected::new(8192, 9).into(),
            8193,
            "inputs",
            "1 to 8192",
        ),
        (
            Random {
                sparsity: 1.0,
                ..random.clone()
            }
            .into(),
            3,
            "sparsity",
            "less than 1",
        ),
        (
            Random {
                sparsity: -0.1,
                ..random.clone()
            }
            .into(),
            3,
            "sparsity",
            "at least 0",
        ),
        (
            Random {
                sparsity: f64::NAN,
                ..random.clone()
            }
            .into(),
            3,
            "sparsity",
            "at least 0",
        ),
        (
            Random {
                units: 0,
                ..random.clone()
            }
            .into(),
            3,
            "units",
            "1 to 8192",
        ),
        (
            Random {
                outputs: Some(0),
                ..random
            }
            .into(),
            3,
            "outputs",
            "1 to 8",
        ),
        (AutoNcp::new(3, 1).into(), 3, "units", "4 to 8192"),
        (AutoNcp::new(too_many, 1).into(), 3, "units", "4 to 8192"),
        (AutoNcp::new(16, 0).into(), 3, "outputs", "1 to 13"),
        (AutoNcp::new(16, 14).into(), 3, "outputs", "1 to 13"),
        (
            AutoNcp {
                sparsity: 0.09,
                ..auto.clone()
            }
            .into(),
            3,
            "sparsity",
            "0.1 to 1.0",
        ),
        (
            AutoNcp {
                sparsity: 1.01,
                ..auto.clone()
            }
            .into(),
            3,
            "sparsity",
            "0.1 to 1.0",
        ),
        (
            AutoNcp {
                sparsity: f64::NAN,
                ..auto.clone()
            }
            .into(),
            3,
            "sparsity",
            "0.1 to 1.0",
        ),
        (
            AutoNcp {
                seed: 1 << 32,
                ..auto.clone()
            }
            .into(),
            3,
            "seed",
            "0 to 4294967295",
        ),
        (auto.into(), 0, "inputs", "1 to 65536"),
        (
            Ncp {
                inter_neurons: 0,
                ..ncp.clone()
            }
            .into(),
            3,
            "inter_neurons",
            "1 to 8192",
        ),
        (
            Ncp {
                inter_neurons: usize::MAX,
                ..ncp.clone()
            }
            .into(),
            3,
            "inter_neurons",
            "1 to",
        ),
        (
            Ncp {
                command_neurons: 0,
                ..ncp.clone()
            }
            .into(),
            3,
            "command_neurons",
            "1 to 8192",
        ),
        (
            Ncp {
                motor_neurons: 0,
                ..ncp.clone()
            }
            .into(),
            3,
            "motor_neurons",
            "1 to 8192",
        ),
        (
            Ncp {
                motor_neurons: MAX_UNITS,
                ..ncp.clone()
            }
            .into(),
            3,
            "units",
            "1 to 8192",
        ),
        (
            Ncp {
                sensory_fanout: 0,
                ..ncp.clone()
            }
            .into(),
            3,
            "sensory_fanout",
            "1 to 9",
        ),
        (
            Ncp {
                sensory_fanout: 10,
                ..ncp.clone()
            }
            .into(),
            3,
            "sensory_fanout",
            "1 to 9",
        ),
        (
            Ncp {
                inter_fanout: 0,
                ..ncp.clone()
            }
            .into(),
            3,
            "inter_fanout",
            "1 to 5",
        ),
        (
            Ncp {
                inter_fanout: 6,
                ..ncp.clone()
            }
            .into(),
            3,
            "inter_fanout",
            "1 to 5",
        ),
        (
            Ncp {
                motor_fanin: 0,
                ..ncp.clone()
            }
            .into(),
            3,
            "motor_fanin",
            "1 to 5",
        ),
        (
            Ncp {
                motor_fanin: 6,
                ..ncp.clone()
            }
            .into(),
            3,
            "motor_fanin",
            "1 to 5",
        ),
        (
            Ncp {
                recurrent_command_synapses: usize::MAX,
                ..ncp.clone()
            }
            .into(),
            3,
            "recurrent_command_synapses",
            "0 to",
        ),
        (
            Ncp {
                seed: u64::MAX,
                ..ncp
            }
            .into(),
            3,
            "seed",
            "0 to 4294967295",
        ),
    ];
    for (config, inputs, argument, limits) in cases {
        let (found, message) = refused(config, inputs);
        assert_eq!(found, argument, "{message}");
        assert!(
            message.contains(limits) && message.contains(argument),
            "{message}"
        );
    }
}
