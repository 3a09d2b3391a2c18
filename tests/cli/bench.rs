//! `ncps bench`, on its smallest case for a fraction of a second.

use serde_json::Value;

use crate::support::Workplace;

/// The keys that other programs may rely on.
const KEYS: [&str; 11] = [
    "case",
    "train_s_median",
    "train_s_min",
    "infer_ms_median",
    "infer_ms_min",
    "first_step_s",
    "peak_rss_mb",
    "threads",
    "device",
    "params",
    "flops",
];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "bench",
        "--case",
        "cfc-ncp-32",
        "--device",
        "cpu",
        "--seconds",
        "0.2",
    ];
    [&usual, more].concat()
}

#[test]
fn a_case_is_one_line_of_json_with_every_key() {
    let here = Workplace::new();
    let ended = here.ok(&small(&["--threads", "1", "--json"]));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 1, "{}", ended.stdout);
    let record: Value = serde_json::from_str(lines[0]).unwrap();
    for key in KEYS {
        assert!(!record[key].is_null(), "no {key} in {record}");
    }
    assert_eq!(record["case"], "cfc-ncp-32");
    assert_eq!(
        (&record["threads"], &record["device"]),
        (&1.into(), &"cpu".into())
    );
    for key in ["train_s_min", "infer_ms_min", "first_step_s"] {
        assert!(record[key].as_f64().unwrap() > 0.0, "{key} of {record}");
    }
    // The bound can be traced to the rates that it was made from.
    let bound = record["bound"]["train_s"].as_f64().unwrap();
    let measured = record["train_s_median"].as_f64().unwrap();
    let percent = record["percent_of_bound"].as_f64().unwrap();
    assert!((percent - 100.0 * bound / measured).abs() < 1e-6 * percent);
    assert!(record["roofs"]["sigmoid_gps"].as_f64().unwrap() > 0.0);
}

#[test]
fn people_get_a_table_and_the_rates_behind_it() {
    let here = Workplace::new();
    let text = here
        .ok(&small(&["--plain", "--threads", "1", "--quiet"]))
        .stdout;
    assert!(text.starts_with("case "), "{text}");
    for words in ["cfc-ncp-32", "% of bound", "sigmoid", "1 thread,"] {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
}

#[test]
fn the_list_has_every_case_and_what_is_wrong_is_named() {
    let here = Workplace::new();
    let list = here.ok(&["bench", "--list"]).stdout;
    assert_eq!(list.lines().count(), 14, "{list}");
    assert!(list.contains("ltc-ncp-64-xl") && list.contains("only when named"));
    let lines = here.ok(&["bench", "--list", "--json"]).stdout;
    assert_eq!(lines.lines().count(), 13);
    here.fails(&["bench", "--case", "cfc-ncp-23"], 2, &["cfc-ncp-23"]);
    here.fails(&["bench", "--seconds", "-1"], 2, &["seconds"]);
    here.fails(
        &["bench", "--vectors", "mmx"],
        2,
        &["portable, avx2, avx512 or neon"],
    );
}

#[test]
fn what_is_beside_the_steps_is_measured_on_the_cpu_as_it_is_trained() {
    let here = Workplace::new();
    here.fails(
        &["bench", "--overheads", "--device", "gpu"],
        2,
        &["leave out --device gpu"],
    );
    here.fails(&["bench", "--overheads", "--plain"], 2, &["--plain"]);
}
