//! The `ncps` program.

fn main() {}
