//! Compiles the C++ half of the fused ops against the headers of the libmlx that the program links.

use std::env;

const SOURCES: [&str; 2] = ["src/kernel/primitive.cpp", "src/kernel/graph.cpp"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rerun-if-env-changed=DEP_MLX_INCLUDE");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").warnings(true);
    let include = env::var_os("DEP_MLX_INCLUDE").unwrap_or_default();
    for folder in env::split_paths(&include) {
        // As system headers: their warnings are not ours.
        build.flag("-isystem").flag(folder);
    }
    if let Ok(version) = env::var("DEP_MLX_MACOS_DEPLOYMENT_TARGET") {
        build.env("MACOSX_DEPLOYMENT_TARGET", version);
    }
    build.files(SOURCES);
    if let Err(error) = build.try_compile("ncps_kernel") {
        println!("cargo::error=the fused ops' C++ files could not be compiled: {error}");
        println!(
            "cargo::error=a C++20 compiler is needed (g++ 11, clang 14 or newer); name it in the variable CXX"
        );
    }
}
