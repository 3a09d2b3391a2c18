//! Chip table, device detection, measurements and plots.
