//! Recorded and hand-written machines, and what must come out for each.

use super::*;
use crate::chips::{self, BinDoubt};
use crate::runner::RecordedRunner;
use proptest::prelude::*;
use std::path::Path;

fn fixture(name: &str) -> Machine {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    let system = if name.starts_with("linux") {
        System::Linux
    } else {
        System::Macos
    };
    let runner = RecordedRunner::from_dir(&dir).unwrap();
    detect_on(&Host {
        system,
        root: dir.join("root"),
        runner,
    })
}

fn chip_id(machine: &Machine) -> &str {
    match &machine.chip {
        ChipMatch::Exact { chip } => &chip.id,
        other => panic!("not exact: {other:?}"),
    }
}

#[test]
fn macs_are_matched_to_their_record() {
    for (name, id) in [
        ("m1-macos13", "m1-8g"),
        ("m1-pro-macos12", "m1-pro-8c-14g"),
        ("m2-ultra-macos14", "m2-ultra-76g"),
        ("m3-max-macos15", "m3-max-16c-40g"),
        ("m4-max-macos15", "m4-max-16c-40g"),
        ("a18-pro-macos26", "a18-pro-macbook-neo"),
        ("m5-max-macos26", "m5-max-18c-40g"),
        ("m6-macos27", "m6-12c-12g-24gb"),
    ] {
        let machine = fixture(name);
        assert_eq!(chip_id(&machine), id);
        assert!(machine.missing.is_empty(), "{:?}", machine.missing);
    }
}

#[test]
fn a_mac_is_described_in_one_line() {
    let machine = fixture("m3-max-macos15");
    assert_eq!(
        machine.summary(),
        "Apple M3 Max, 12+4 CPU cores, 64 GB memory, 40 GPU cores"
    );
    assert_eq!(machine.system_version.as_deref(), Some("macOS 15.5"));
    assert_eq!(machine.model.as_deref(), Some("Mac15,9"));
    assert_eq!(machine.cpu.levels[0].l2_bytes, Some(16 << 20));
}

#[test]
fn a_feature_key_with_value_0_is_not_a_feature() {
    assert_eq!(fixture("m1-macos13").cpu.features, ["FEAT_DotProd"]);
    assert!(
        fixture("m6-macos27")
            .cpu
            .features
            .contains(&"FEAT_SME2".to_owned())
    );
}

#[test]
fn three_levels_are_kept_with_their_names() {
    let names: Vec<_> = fixture("m6-macos27")
        .cpu
        .levels
        .into_iter()
        .map(|l| (l.name.unwrap(), l.cores))
        .collect();
    let expected = [("Super", 2), ("Performance", 4), ("Efficiency", 6)];
    assert_eq!(names, expected.map(|(n, c)| (n.to_owned(), c)));
}

#[test]
fn a_guest_and_an_intel_mac_have_no_chip_and_no_gpu() {
    for name in ["vm-macos15", "intel-macos15"] {
        let machine = fixture(name);
        assert!(matches!(machine.chip, ChipMatch::Unknown { .. }), "{name}");
        assert!(!machine.has_gpu(), "{name}");
        assert_eq!(machine.missing[0].what, "GPU", "{name}");
        assert_eq!(machine.chip.bandwidth().value(), None);
    }
}

#[test]
fn nvidia_gpus_are_listed_with_memory_and_capability() {
    let machine = fixture("linux-h200");
    let gpu = &machine.gpus[0];
    assert_eq!(
        (gpu.name.as_str(), gpu.memory_bytes),
        ("NVIDIA H200", Some(143_771 << 20))
    );
    assert_eq!(gpu.compute_capability.as_deref(), Some("9.0"));
    assert_eq!(
        (machine.cpu.physical_cores, machine.cpu.logical_cores),
        (Some(16), Some(16))
    );
    assert_eq!(
        machine.summary(),
        "Intel(R) Xeon(R) Processor, 16 CPU cores, 126 GB memory, NVIDIA H200 (141 GB)"
    );
}

#[test]
fn caches_of_all_cores_are_added_up() {
    let bytes = |name| fixture(name).cpu.last_level_bytes;
    assert_eq!(bytes("m3-max-macos15"), Some(20 << 20));
    assert_eq!(bytes("nothing"), None);
    let clusters = "hw.nperflevels: 1\nhw.perflevel0.physicalcpu: 12\nhw.perflevel0.cpusperl2: 4\n\
                    hw.perflevel0.l2cachesize: 16777216\n";
    let mac = |text: &str| macos::last_level_of(&macos::parse_sysctl(text));
    assert_eq!(mac(clusters), Some(3 * (16 << 20)));
    assert_eq!(
        mac(&format!("{clusters}hw.l3cachesize: 12582912\n")),
        Some(12 << 20)
    );
    assert_eq!(mac("hw.l3cachesize: 0\nhw.l2cachesize: -1\n"), None);
    // Two sockets of eight processors, each with a third level of its own, and a second level that two threads share.
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let processors: String = (0..16).map(|n| format!("processor\t: {n}\n\n")).collect();
    put("proc/cpuinfo", &processors);
    let caches = "sys/devices/system/cpu/cpu0/cache";
    put(&format!("{caches}/index0/size"), "2048K\n");
    put(&format!("{caches}/index0/shared_cpu_list"), "0,8\n");
    put(&format!("{caches}/index1/size"), "32768K\n");
    put(&format!("{caches}/index1/shared_cpu_list"), "0-3,8-11\n");
    let of = |system| {
        let (root, runner) = (root.path().to_owned(), RecordedRunner::new());
        let host = Host {
            system,
            root,
            runner,
        };
        detect_on(&host).cpu.last_level_bytes
    };
    assert_eq!(of(System::Linux), Some(2 * (32 << 20)));
    assert_eq!(of(System::Other), None);
    for garbage in ["", "K", "-1K", "9999999999999999999999K", "64", "1.5M"] {
        assert_eq!(linux::parse_size(garbage), None, "{garbage}");
    }
    for garbage in ["", "x", "3-1", "0-18446744073709551615,1", "1,,2"] {
        assert_eq!(linux::count_in_list(garbage), None, "{garbage}");
    }
}

#[test]
fn an_arm_server_in_a_container_has_the_limit_of_the_container() {
    let machine = fixture("linux-arm");
    assert_eq!(machine.name(), "Neoverse-N1");
    assert_eq!(machine.memory.value(), Some(4_294_967_296.0));
    assert_eq!(
        (machine.cpu.logical_cores, machine.cpu.physical_cores),
        (Some(4), None)
    );
    assert_eq!(machine.missing[0].reason, Reason::ToolMissing);
}

#[test]
fn a_machine_that_says_nothing_is_still_a_machine() {
    for system in [System::Macos, System::Linux, System::Other] {
        let host = Host {
            system,
            root: "/nonexistent".into(),
            runner: RecordedRunner::new(),
        };
        let machine = detect_on(&host);
        assert_eq!(machine.memory.value(), None);
        assert_eq!(machine.summary(), "unknown processor");
        assert!(!machine.missing.is_empty());
    }
}

#[test]
fn every_chip_of_the_table_is_recognised_from_what_a_mac_would_print() {
    for chip in chips::all() {
        let mut text = format!("machdep.cpu.brand_string: {}\n", chip.brand_string);
        text += &format!(
            "hw.memsize: {}\n",
            u64::from(chip.memory.options_gb[0]) << 30
        );
        text += &format!("hw.nperflevels: {}\n", chip.cpu.perf_levels.len());
        for (n, level) in chip.cpu.perf_levels.iter().enumerate() {
            text += &format!("hw.perflevel{n}.physicalcpu: {}\n", level.count);
        }
        let gpu = format!(
            "    \"gpu-core-count\" = {}\n    \"model\" = \"{}\"\n",
            chip.gpu.cores, chip.brand_string
        );
        let runner = RecordedRunner::new()
            .with(
                "/usr/sbin/sysctl hw machdep.cpu kern.osproductversion kern.osversion",
                &text,
            )
            .with("/usr/sbin/ioreg -r -d 1 -w 0 -c IOAccelerator", &gpu);
        let machine = detect_on(&Host {
            system: System::Macos,
            root: "/".into(),
            runner,
        });
        assert_eq!(chip_id(&machine), chip.id);
    }
}

#[test]
fn a_level_that_is_announced_and_not_described_is_not_made_up() {
    let text = "machdep.cpu.brand_string: Apple M4 Max\nhw.nperflevels: 2\n\
                hw.perflevel0.physicalcpu: 12\n";
    let runner = RecordedRunner::new().with(
        "/usr/sbin/sysctl hw machdep.cpu kern.osproductversion kern.osversion",
        text,
    );
    let machine = detect_on(&Host {
        system: System::Macos,
        root: "/".into(),
        runner,
    });
    assert!(machine.cpu.levels.is_empty());
    assert!(matches!(
        machine.chip,
        ChipMatch::OtherBin {
            doubt: BinDoubt::Undetermined,
            ..
        }
    ));
}

#[test]
fn nvidia_smi_errors_on_exit_code_0_are_not_gpus() {
    for text in [
        "Failed to initialize NVML: Driver/library version mismatch\n",
        "a, b\n",
    ] {
        assert!(nvidia::parse(text).is_err(), "{text}");
    }
    assert_eq!(nvidia::parse("").unwrap(), []);
    let partly = nvidia::parse("Tesla T4, [N/A], 550.1, [Not Supported]\n").unwrap();
    assert_eq!(
        (
            partly[0].memory_bytes,
            partly[0].compute_capability.as_ref()
        ),
        (None, None)
    );
}

#[test]
fn displays_that_are_not_apple_gpus_are_refused() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"SPDisplaysDataType":[{"sppci_model":"Apple M1"}]}"#,
    ] {
        assert!(macos::parse_displays(text).is_err(), "{text}");
    }
    let absurd = r#"{"SPDisplaysDataType":[{"sppci_model":"Apple M1","sppci_cores":"9999999"}]}"#;
    assert!(macos::parse_displays(absurd).is_err());
}

proptest! {
    #![proptest_config(crate::property::cases(256))]

    #[test]
    fn parsers_survive_any_text(text in "\\PC*(\n\\PC*){0,5}") {
        let _ = macos::parse_sysctl(&text);
        let _ = macos::parse_ioreg(&text);
        let _ = macos::parse_displays(&text);
        let _ = linux::parse_cpuinfo(&text);
        let _ = linux::parse_meminfo(&text);
        let _ = nvidia::parse(&text);
    }

    #[test]
    fn a_cut_answer_never_gives_another_number_of_cores(cut in 0usize..600) {
        let full = include_str!("../../fixtures/m3-max-macos15/ioreg/stdout");
        let part: String = full.chars().take(cut).collect();
        if let Some(gpu) = macos::parse_ioreg(&part) {
            prop_assert_eq!(gpu.cores, Some(40));
        }
    }
}
