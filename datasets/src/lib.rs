//! Time-series readers, windows, splits and batches, without MLX.
