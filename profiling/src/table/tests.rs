//! The committed table against the rule, reading and matching.

use super::*;
use crate::device::{Gpu, Host, System, detect_on};
use crate::runner::RecordedRunner;

fn path() -> &'static Path {
    Path::new("devices.toml")
}

fn mac(brand: &str, levels: [u32; 2], gpu_cores: u32, memory_gb: u64) -> Machine {
    let sysctl = format!(
        "machdep.cpu.brand_string: {brand}\nhw.memsize: {}\nhw.nperflevels: 2\n\
         hw.perflevel0.physicalcpu: {}\nhw.perflevel1.physicalcpu: {}\n",
        memory_gb << 30,
        levels[0],
        levels[1]
    );
    let gpu = format!("\"model\" = \"{brand}\"\n\"gpu-core-count\" = {gpu_cores}\n");
    let runner = RecordedRunner::new()
        .with(
            "/usr/sbin/sysctl hw machdep.cpu kern.osproductversion kern.osversion",
            &sysctl,
        )
        .with("/usr/sbin/ioreg -r -d 1 -w 0 -c IOAccelerator", &gpu);
    detect_on(&Host {
        system: System::Macos,
        root: "/".into(),
        runner,
    })
}

fn nvidia(name: &str) -> Machine {
    let mut machine = mac("none", [1, 1], 0, 8);
    machine.gpus = vec![Gpu {
        name: name.to_owned(),
        vendor: GpuVendor::Nvidia,
        cores: None,
        memory_bytes: None,
        driver: None,
        compute_capability: None,
    }];
    machine
}

#[test]
fn the_committed_file_is_what_the_rule_gives() {
    let (committed, rule) = (DeviceTable::embedded(), rule::table());
    for row in rule.rows() {
        let found = committed
            .by_id(&row.id)
            .unwrap_or_else(|| panic!("no row `{}`", row.id));
        if found.source != RowSource::Measured {
            assert_eq!(found, row);
        }
    }
    let unexplained =
        |r: &&DeviceRow| r.source != RowSource::Measured && rule.by_id(&r.id).is_none();
    assert_eq!(committed.rows().iter().find(unexplained), None);
    let text = include_str!("../../../configs/devices.toml");
    assert_eq!(
        committed.to_toml(),
        text,
        "the file's layout is not the generator's"
    );
}

#[test]
fn the_given_rows_are_the_ones_that_were_given() {
    let table = DeviceTable::embedded();
    for (id, batch, range, units, memory) in [
        ("m1-8g", 32, (32, 64), 32, 8),
        ("m1-pro-10c-16g", 64, (64, 128), 64, 16),
        ("m1-max-32g", 128, (64, 128), 64, 32),
        ("m1-ultra-64g", 256, (128, 256), 128, 64),
    ] {
        let row = table.by_id(id).unwrap();
        assert_eq!(row.source, RowSource::Given);
        assert_eq!(
            (row.batch, row.batch_min, row.batch_max),
            (batch, range.0, range.1),
            "{id}"
        );
        assert_eq!(
            (row.backbone_units, row.backbone_layers),
            (units, 2),
            "{id}"
        );
        assert_eq!(row.memory_gb, memory, "{id}");
    }
}

#[test]
fn machines_get_their_row_or_the_nearest_thing() {
    let table = DeviceTable::embedded();
    let exact = table.for_machine(&mac("Apple M3 Max", [12, 4], 40, 64));
    assert!(exact.exact && exact.row.id == "m3-max-16c-40g");
    let other_bin = table.for_machine(&mac("Apple M3 Max", [12, 4], 38, 64));
    assert!(
        !other_bin.exact && other_bin.row.id == "m3-max-16c-40g",
        "{other_bin:?}"
    );
    let newer = table.for_machine(&mac("Apple M9 Max", [12, 4], 40, 64));
    assert_eq!((newer.row.batch, newer.exact), (128, false));
    assert!(newer.why.contains("Apple M9 Max"));
    assert_eq!(
        table.for_machine(&nvidia("NVIDIA H200")).row.id,
        "nvidia-h200"
    );
    assert_eq!(table.for_machine(&nvidia("NVIDIA Z1")).row.id, "cuda");
    let mut bare = nvidia("none");
    bare.gpus.clear();
    assert_eq!(table.for_machine(&bare).row.id, "cpu");
}

#[test]
fn configs_name_devices_by_their_chip() {
    let table = DeviceTable::embedded();
    assert_eq!(table.by_device("m3").unwrap().id, "m3-8g");
    assert_eq!(table.by_device("m1-ultra").unwrap().name, "Apple M1 Ultra");
    assert_eq!(
        table.by_device("m3-max-16c-40g").unwrap().gpu_cores,
        Some(40)
    );
    assert_eq!(table.by_device("nvidia-h200").unwrap().batch, 512);
    assert_eq!(table.by_device("cpu").unwrap().id, "cpu");
    assert_eq!(table.by_device("m4-ultra"), None);
    let devices = table.devices();
    assert!(devices.contains(&"m6".to_owned()) && devices.contains(&"cuda".to_owned()));
    let mut unique = devices.clone();
    unique.dedup();
    assert_eq!(devices, unique);
}

#[test]
fn a_table_without_generic_rows_still_answers() {
    let table = DeviceTable::parse("device = []", path()).unwrap();
    assert_eq!(table.for_cpu("some processor").row.id, "cpu");
    assert_eq!(table.for_machine(&nvidia("NVIDIA Z1")).row.id, "cuda");
}

#[test]
fn a_measured_row_replaces_the_rule_and_survives_the_file() {
    let mut table = DeviceTable::embedded().clone();
    let mut row = table.by_id("cpu").unwrap().clone();
    (row.batch, row.batch_max, row.source) = (96, 128, RowSource::Measured);
    table.put(row.clone()).unwrap();
    let again = DeviceTable::parse(&table.to_toml(), path()).unwrap();
    assert_eq!(again.by_id("cpu"), Some(&row));
    row.batch = 0;
    assert!(table.put(row).is_err());
}

#[test]
fn bad_tables_are_refused_with_the_row_named() {
    let good = DeviceTable::embedded().to_toml();
    let refused = |text: &str| DeviceTable::parse(text, path()).unwrap_err().to_string();
    assert!(refused("device = 3").starts_with("devices.toml: "));
    assert!(refused(&good.replacen("8, batch = ", "8, bach = ", 1)).contains("bach"));
    let out_of_range = refused(&good.replacen("8, batch = 32", "8, batch = 99", 1));
    assert!(
        out_of_range.contains("m1-7g") && out_of_range.contains("32 to 64"),
        "{out_of_range}"
    );
    let twice = good.replacen("\"m1-8g\"", "\"m1-7g\"", 1);
    assert!(refused(&twice).contains("`m1-7g` is there twice"));
}

/// Configs named after a device carry the batch and the width of its row.
#[test]
fn device_configs_agree_with_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut checked = 0;
    for row in DeviceTable::embedded().rows() {
        let path = folder.join(row.device()).with_extension("toml");
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        if DeviceTable::embedded().by_device(&row.device()) != Some(row) {
            continue;
        }
        let config: toml::Table = text.parse().unwrap();
        let name = path.display();
        assert_eq!(
            config["device"].as_str(),
            Some(row.device().as_str()),
            "{name}"
        );
        let batch = config["train"]["batch_size"].as_integer();
        assert_eq!(batch, Some(i64::from(row.batch)), "{name}");
        let units = config["model"]["units"]["units"].as_integer();
        assert_eq!(units, Some(i64::from(row.backbone_units)), "{name}");
        checked += 1;
    }
    let families = [
        "m1", "m1-pro", "m1-max", "m1-ultra", "m2", "m3", "m4", "m5", "m6", "cpu", "cuda",
    ];
    for device in families {
        assert!(
            folder.join(device).with_extension("toml").is_file(),
            "{device}"
        );
    }
    assert!(checked >= 20, "only {checked} configs were checked");
}
