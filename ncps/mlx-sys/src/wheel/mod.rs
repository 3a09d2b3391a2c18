//! The published wheels that hold libmlx: which one fits, where it is kept, how it is fetched.
//!
//! The build script shares this module, so that an installed program and its build agree on every path.

mod cache;
mod pip;
mod python;

pub use cache::{cache_root, is_complete, unpacked_dir, version_of_prefix};
pub use pip::{ensure, pip_install};
pub use python::{Python, find_python};

use crate::error::{Error, Result};

/// Version of MLX that mlx-c 0.7.0 is written for.
pub const MLX_VERSION: &str = "0.32.2";

/// One published wheel, pinned by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// Name of the package in the index.
    pub package: &'static str,
    /// Short name of what it was built for; part of the cache folder's name.
    pub flavour: &'static str,
    /// pip's platform tag.
    pub platform: &'static str,
    /// File name in the index.
    pub file: &'static str,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: &'static str,
}

/// CPU library for Linux on x86-64.
pub const CPU_X86_64: Wheel = Wheel {
    package: "mlx-cpu",
    flavour: "cpu-x86_64",
    platform: "manylinux_2_35_x86_64",
    file: "mlx_cpu-0.32.2-py3-none-manylinux_2_35_x86_64.whl",
    sha256: "fc5d31b90fc4f457b2f9614ed45651a567d22a6a11a03d114a90a4e10bdd8878",
};

/// CPU library for Linux on 64-bit Arm.
pub const CPU_AARCH64: Wheel = Wheel {
    package: "mlx-cpu",
    flavour: "cpu-aarch64",
    platform: "manylinux_2_35_aarch64",
    file: "mlx_cpu-0.32.2-py3-none-manylinux_2_35_aarch64.whl",
    sha256: "d0f94625588b51a878786dd51cec5617894ce586cf3c94645ce1b64e24c27c0b",
};

/// CUDA 12 library for Linux on x86-64.
pub const CUDA_12: Wheel = Wheel {
    package: "mlx-cuda-12",
    flavour: "cuda-12",
    platform: "manylinux_2_35_x86_64",
    file: "mlx_cuda_12-0.32.2-py3-none-manylinux_2_35_x86_64.whl",
    sha256: "35445ead9724855826f310b9085d57137d0a2c5381cc293cb6d86b03bb4feadf",
};

/// CUDA 13 library for Linux on x86-64.
pub const CUDA_13: Wheel = Wheel {
    package: "mlx-cuda-13",
    flavour: "cuda-13",
    platform: "manylinux_2_35_x86_64",
    file: "mlx_cuda_13-0.32.2-py3-none-manylinux_2_35_x86_64.whl",
    sha256: "335094ccd1c0c6dc3e09c8caba207c8180602bacc0c38ba20c1d81e9456ab394",
};

/// Metal libraries with the first macOS version that each serves, newest first.
///
/// The one for macOS 26 adds the kernels for the M5's matrix units.
pub const METAL: [(u32, Wheel); 3] = [
    (
        26,
        Wheel {
            package: "mlx-metal",
            flavour: "metal-26",
            platform: "macosx_26_0_arm64",
            file: "mlx_metal-0.32.2-py3-none-macosx_26_0_arm64.whl",
            sha256: "e6abeac9ac5265830c9c1541b6f96e9be37a85c2446763a46ad466c63a3837ab",
        },
    ),
    (
        15,
        Wheel {
            package: "mlx-metal",
            flavour: "metal-15",
            platform: "macosx_15_0_arm64",
            file: "mlx_metal-0.32.2-py3-none-macosx_15_0_arm64.whl",
            sha256: "55a369250d220b2cf10213a87a2ac1b1a420608c5b35b1df4e7147ac8e32f121",
        },
    ),
    (
        14,
        Wheel {
            package: "mlx-metal",
            flavour: "metal-14",
            platform: "macosx_14_0_arm64",
            file: "mlx_metal-0.32.2-py3-none-macosx_14_0_arm64.whl",
            sha256: "3825fff379dbc107dd3413e564a06caeaa24819910ec49c0439e454c06a1b9b8",
        },
    ),
];

/// What a library is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Cargo's `CARGO_CFG_TARGET_OS`.
    pub os: &'a str,
    /// Cargo's `CARGO_CFG_TARGET_ARCH`.
    pub arch: &'a str,
    /// Cargo's `CARGO_CFG_TARGET_ENV`.
    pub env: &'a str,
    /// macOS version to run on (`14.2`), used on macOS alone.
    pub macos: &'a str,
}

/// Chooses the wheel that fits a target.
///
/// # Errors
/// `UnsupportedTarget` where none is published, `MacTooOld` for a macOS before 14.
pub fn for_target(target: Target<'_>) -> Result<&'static Wheel> {
    match (target.os, target.arch, target.env) {
        ("linux", "x86_64", "gnu") => Ok(&CPU_X86_64),
        ("linux", "aarch64", "gnu") => Ok(&CPU_AARCH64),
        ("macos", "aarch64", _) => for_macos(target.macos),
        (os, arch, env) => Err(Error::UnsupportedTarget {
            target: format!("{os} on {arch} {env}").trim_end().to_owned(),
            expected: MLX_VERSION,
        }),
    }
}

fn for_macos(version: &str) -> Result<&'static Wheel> {
    let major = version
        .split('.')
        .next()
        .and_then(|part| part.trim().parse::<u32>().ok());
    METAL
        .iter()
        .find(|(first, _)| major.is_some_and(|major| major >= *first))
        .map(|(_, wheel)| wheel)
        .ok_or_else(|| Error::MacTooOld {
            found: version.to_owned(),
        })
}

/// Oldest macOS that runs the wheel chosen for a macOS version: what C++ against its headers is compiled for.
pub fn oldest_macos(version: &str) -> &'static str {
    let wheel = for_macos(version).ok();
    match wheel.map(|wheel| wheel.flavour) {
        Some("metal-26") => "26.0",
        Some("metal-15") => "15.0",
        _ => "14.0",
    }
}

/// Name of the library's file on an operating system.
pub fn library_file(os: &str) -> &'static str {
    if os == "macos" {
        "libmlx.dylib"
    } else {
        "libmlx.so"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(os: &str, arch: &str, env: &str, macos: &str) -> Result<&'static str> {
        for_target(Target {
            os,
            arch,
            env,
            macos,
        })
        .map(|wheel| wheel.flavour)
    }

    #[test]
    fn each_target_has_its_wheel() {
        assert_eq!(pick("linux", "x86_64", "gnu", "").unwrap(), "cpu-x86_64");
        assert_eq!(pick("linux", "aarch64", "gnu", "").unwrap(), "cpu-aarch64");
        assert_eq!(pick("macos", "aarch64", "", "14.0").unwrap(), "metal-14");
        assert_eq!(pick("macos", "aarch64", "", "15.6.1").unwrap(), "metal-15");
        assert_eq!(pick("macos", "aarch64", "", "25").unwrap(), "metal-15");
        assert_eq!(pick("macos", "aarch64", "", "26.1").unwrap(), "metal-26");
    }

    #[test]
    fn code_is_compiled_for_the_system_of_its_wheel() {
        assert_eq!(
            ["14.5", "15.1", "26.2", ""].map(oldest_macos),
            ["14.0", "15.0", "26.0", "14.0"]
        );
    }

    #[test]
    fn targets_without_a_wheel_say_what_would_do() {
        let musl = pick("linux", "x86_64", "musl", "").unwrap_err().to_string();
        assert!(
            musl.contains("linux on x86_64 musl") && musl.contains("NCPS_MLX_PREFIX"),
            "{musl}"
        );
        assert!(matches!(
            pick("macos", "x86_64", "", "15"),
            Err(Error::UnsupportedTarget { .. })
        ));
        let old = pick("macos", "aarch64", "", "13.6")
            .unwrap_err()
            .to_string();
        assert!(old.contains("13.6") && old.contains("14.0"), "{old}");
        assert!(matches!(
            pick("macos", "aarch64", "", ""),
            Err(Error::MacTooOld { .. })
        ));
    }

    #[test]
    fn file_names_agree_with_the_pins() {
        let metal = METAL.iter().map(|(_, wheel)| wheel);
        for wheel in [&CPU_X86_64, &CPU_AARCH64, &CUDA_12, &CUDA_13]
            .into_iter()
            .chain(metal)
        {
            let package = wheel.package.replace('-', "_");
            assert_eq!(
                wheel.file,
                format!("{package}-{MLX_VERSION}-py3-none-{}.whl", wheel.platform)
            );
            assert_eq!(wheel.sha256.len(), 64);
        }
    }
}
