//! The one Mach function that mlx-rs calls, for systems that are not Mach.

use std::{sync::OnceLock, time::Instant};

/// Nanoseconds of a monotonic clock, offset by the wall clock so that two processes seed differently.
#[unsafe(no_mangle)]
extern "C" fn mach_approximate_time() -> u64 {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, offset) = START.get_or_init(|| {
        let wall = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        (Instant::now(), wall.as_nanos() as u64)
    });
    offset.wrapping_add(start.elapsed().as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_runs_forward() {
        let first = super::mach_approximate_time();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = super::mach_approximate_time();
        assert!(second >= first + 1_000_000, "{first} {second}");
    }
}
