//! Prints the device table as the rule gives it, for `configs/devices.toml`.

#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

fn main() {
    print!("{}", ncps_profiling::table::rule::table().to_toml());
}
