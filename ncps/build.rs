//! Tells the `ncps` program where libmlx lies, so that it is found after `cargo install` and `cargo clean`.

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_MLX_LIB_DIR");
    if let Ok(folder) = std::env::var("DEP_MLX_LIB_DIR") {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{folder}");
    }
}
