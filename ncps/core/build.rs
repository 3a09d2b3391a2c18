//! Compiles the C++ half of the fused ops against the headers of the libmlx that the program links, and, for the tests, the
//! GPU kernels for an emulator.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/kernel/gpu/declaration.rs"]
#[allow(dead_code, reason = "the library reads more of a declaration")]
mod declaration;

use declaration::{Declaration, Element};

const SOURCES: [&str; 4] = [
    "src/kernel/primitive.cpp",
    "src/kernel/graph.cpp",
    "src/kernel/gpu/border.cpp",
    "src/kernel/gpu/nvrtc.cpp",
];
const BODIES: &str = "src/kernel/gpu/bodies";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/kernel/gpu");
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
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        build.file(source);
    }
    report(build.try_compile("ncps_kernel").map_err(|e| e.to_string()));
    // Fibers as the emulator makes them are Linux's.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        report(emulator());
    }
}

fn report(result: Result<(), String>) {
    if let Err(error) = result {
        println!("cargo::error=the fused ops' C++ files could not be compiled: {error}");
        println!(
            "cargo::error=a C++20 compiler is needed (g++ 11, clang 14 or newer); name it in the variable CXX"
        );
    }
}

/// Compiles all bodies into one library, that only tests link.
fn emulator() -> Result<(), String> {
    let folder = env::current_dir().map_err(|e| e.to_string())?.join(BODIES);
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut text = String::from(
        "#include \"src/kernel/gpu/emulator/threads.hpp\"\nnamespace {\nusing emulator::Arguments;\n",
    );
    let mut names = Vec::new();
    for file in files {
        let body = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        if !body.starts_with("// kernel ") {
            continue;
        }
        let declaration =
            Declaration::parse(&body).map_err(|e| format!("{}: {e}", file.display()))?;
        adapt(&mut text, &declaration, &folder, &file);
        names.push(declaration.name);
    }
    text += "}\nnamespace emulator {\nextern const Kernel KERNELS[];\nextern const size_t COUNT;\nconst Kernel KERNELS[] = {\n";
    for name in &names {
        let _ = writeln!(text, "  {{\"{name}\", kernel_{name}::run}},");
    }
    let _ = writeln!(text, "}};\nconst size_t COUNT = {};\n}}", names.len());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("emulated.cpp");
    fs::write(&out, text).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").warnings(false).opt_level(1);
    build.include(env::current_dir().map_err(|e| e.to_string())?);
    // As on a GPU, products and sums need not be rounded separately.
    build.flag_if_supported("-ffp-contract=fast");
    build.file(out).file("src/kernel/gpu/emulator/run.cpp");
    build
        .try_compile("ncps_emulator")
        .map_err(|e| e.to_string())
}

/// A struct whose members are what MLX's generated signature and our constants are on a GPU.
fn adapt(text: &mut String, declaration: &Declaration, folder: &Path, file: &Path) {
    let name = &declaration.name;
    let _ = writeln!(text, "struct kernel_{name} {{");
    let _ = writeln!(text, "  int THREAD, GROUP, THREADS; float* shared_memory;");
    let mut bind = String::new();
    let element = |element: Element| match element {
        Element::Float => "float",
        Element::Int => "int32_t",
    };
    for (i, (kind, array)) in declaration.inputs.iter().enumerate() {
        let kind = element(*kind);
        let _ = writeln!(text, "  const {kind}* {array};");
        let _ = writeln!(
            bind,
            "    self.{array} = static_cast<const {kind}*>(arguments.inputs[{i}]);"
        );
    }
    for (i, (kind, array)) in declaration.outputs.iter().enumerate() {
        let kind = element(*kind);
        let _ = writeln!(text, "  {kind}* {array};");
        let _ = writeln!(
            bind,
            "    self.{array} = static_cast<{kind}*>(arguments.outputs[{i}]);"
        );
    }
    let _ = writeln!(bind, "    self.THREADS = arguments.sizes[0];");
    for (i, size) in declaration.sizes.iter().enumerate() {
        let _ = writeln!(text, "  int {size};");
        let _ = writeln!(bind, "    self.{size} = arguments.sizes[{}];", i + 1);
    }
    for (i, real) in declaration.reals.iter().enumerate() {
        let _ = writeln!(text, "  float {real};");
        let _ = writeln!(bind, "    self.{real} = arguments.reals[{i}];");
    }
    for (i, table) in declaration.tables.iter().enumerate() {
        let _ = writeln!(text, "  const int32_t* {table};");
        let _ = writeln!(bind, "    self.{table} = arguments.tables[{i}];");
    }
    for helper in &declaration.uses {
        let path = folder.join(format!("{helper}.inc"));
        let _ = writeln!(text, "#include \"{}\"", path.display());
    }
    let _ = writeln!(text, "  void body() {{\n#include \"{}\"", file.display());
    let _ = writeln!(text, "  }}");
    let _ = writeln!(
        text,
        "  static void run(const Arguments& arguments, const emulator::Place& place) {{"
    );
    let _ = writeln!(text, "    kernel_{name} self;");
    let _ = write!(text, "{bind}");
    let _ = writeln!(
        text,
        "    self.THREAD = place.THREAD; self.GROUP = place.GROUP; self.shared_memory = place.shared_memory;"
    );
    let _ = writeln!(text, "    self.body();\n  }}\n}};");
}
