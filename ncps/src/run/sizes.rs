//! The sizes that a network's description names, looked at before a network of these sizes is built.

use serde_json::Value;

/// Matrices of a wiring have a row and a column for each neuron, of which layers keep a sixteenth at least as weights.
const KEPT_OF_SQUARE: u64 = 16;

/// Keys whose numbers are not sizes of anything that is kept.
const NO_SIZES: [&str; 3] = ["seed", "unfolds", "adjacency"];

/// The first size of a network's description that `values` weights cannot have: a number above them, or a wiring of so
/// many neurons that its square is far above.
pub(crate) fn first_above(model: &Value, values: u64) -> Option<(String, u64)> {
    let mut found = None;
    walk(model, "model", &mut |key, number, is_wiring| {
        let least = match is_wiring {
            true => number.saturating_mul(number) / KEPT_OF_SQUARE,
            false => number,
        };
        if least > values && found.is_none() {
            found = Some((key.to_owned(), number));
        }
    });
    found
}

fn walk(value: &Value, path: &str, see: &mut dyn FnMut(&str, u64, bool)) {
    match value {
        Value::Object(entries) => {
            // A table with a `kind` of its own below `units` is a wiring; custom ones list their neurons in the file.
            let is_wiring = path.ends_with(".units") && entries["kind"] != "custom";
            for (key, value) in entries {
                if NO_SIZES.iter().any(|name| key.contains(name)) {
                    continue;
                }
                let path = format!("{path}.{key}");
                match value.as_u64() {
                    Some(number) => see(&path, number, is_wiring),
                    None => walk(value, &path, see),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{path}[{index}]"), see);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_beyond_the_weights_are_found() {
        let plain = json!({"kind": "cfc", "units": 100, "seed": 1_u64 << 40});
        assert_eq!(first_above(&plain, 100), None);
        assert_eq!(first_above(&plain, 99), Some(("model.units".into(), 100)));
        let wired = json!({"kind": "stacked", "layers": [
            {"kind": "ltc", "unfolds": 6, "units": {"kind": "auto_ncp", "units": 64, "wiring_seed": 1_u64 << 40}}
        ]});
        assert_eq!(first_above(&wired, 256), None);
        let (key, number) = first_above(&wired, 255).unwrap();
        assert_eq!((key.as_str(), number), ("model.layers[0].units.units", 64));
    }

    #[test]
    fn a_description_of_a_real_network_passes() {
        for text in [
            r#"{"kind": "ltc", "units": {"kind": "auto_ncp", "units": 16, "outputs": 1}}"#,
            r#"{"kind": "cfc", "units": {"kind": "auto_ncp", "units": 96, "outputs": 4}}"#,
            r#"{"kind": "cfc", "units": {"kind": "fully_connected", "units": 32}}"#,
            r#"{"kind": "cfc", "units": 8, "backbone_units": 128}"#,
        ] {
            let config: ncps_models::ModelConfig = serde_json::from_str(text).unwrap();
            let parameters = config.build(1, 1, 0).unwrap().summary().parameters as u64;
            let value = serde_json::to_value(&config).unwrap();
            assert_eq!(first_above(&value, parameters), None, "{text}");
        }
    }
}
