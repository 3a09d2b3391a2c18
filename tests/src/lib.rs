//! Integration tests live in `main.rs` of this folder; here is what they share with the fuzz targets in `fuzz`.

pub mod hostile;
