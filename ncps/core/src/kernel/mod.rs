//! Fused sequence kernels.
