//! Writes `src/generated/bindings.rs`: `LIBCLANG_PATH=... cargo build -p mlx-sys --features generate`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::failure::{Outcome, io};

/// Gives both 16-bit float types a meaning on any machine: mlx-rs wants a one-field struct and a plain integer.
const HALF_TYPES: &str = "#pragma once\n#define MLX_HALF_H\n#define HAS_FLOAT16\n#define HAS_BFLOAT16\n\
                          typedef _Float16 float16_t;\ntypedef unsigned short bfloat16_t;\n";

/// Generates the bindings of every public header of mlx-c.
pub(crate) fn bindings(mlx_c: &Path, crate_dir: &Path) -> Outcome<()> {
    let half = PathBuf::from(std::env::var("OUT_DIR").unwrap_or_default()).join("half_types.h");
    fs::write(&half, HALF_TYPES).map_err(io("write", &half))?;
    let mut builder = bindgen::Builder::default()
        .clang_args([
            "-include",
            &half.to_string_lossy(),
            &format!("-I{}", mlx_c.display()),
        ])
        .allowlist_item("_?mlx_.*|MLX_.*|float16_t|bfloat16_t")
        // The C library's stream differs from system to system, and only pointers to it are used.
        .blocklist_type("FILE|_IO_FILE")
        .raw_line("pub type FILE = ::std::ffi::c_void;")
        .layout_tests(false)
        .generate_comments(false);
    for header in headers(mlx_c)? {
        builder = builder.header(header.to_string_lossy());
    }
    let path = crate_dir.join("src/generated/bindings.rs");
    let written = builder
        .generate()
        .map_err(std::io::Error::other)
        .and_then(|found| found.write_to_file(&path));
    written.map_err(io("generate", &path))
}

fn headers(mlx_c: &Path) -> Outcome<Vec<PathBuf>> {
    let dir = mlx_c.join("mlx/c");
    let entries = fs::read_dir(&dir).map_err(io("list", &dir))?;
    let mut headers: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "h"))
        .collect();
    headers.sort();
    Ok(headers)
}
