//! Integration tests live in `main.rs` of this folder.
