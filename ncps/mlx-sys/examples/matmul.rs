//! Speed of MLX's own 512 x 512 product on the CPU.
//!
//! Before and after: `NCPS_BLAS=reference cargo run --release -p mlx-sys --example matmul`, then without the variable.
//! `NCPS_BLAS_THREADS=1` limits it to one thread.

#![allow(unsafe_code, reason = "calls mlx-c")]
#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::time::Instant;

use mlx_sys::{
    mlx_array, mlx_array_eval, mlx_array_free, mlx_array_new, mlx_array_new_data,
    mlx_default_cpu_stream_new, mlx_dtype__MLX_FLOAT32, mlx_matmul, mlx_stream, mlx_stream_free,
};

const SIZE: usize = 512;
const REPEATS: usize = 60;

/// Seconds that one evaluated product takes.
fn time_product(a: mlx_array, stream: mlx_stream) -> f64 {
    let start = Instant::now();
    // SAFETY: both handles are live, and the result is freed after its evaluation.
    unsafe {
        let mut result = mlx_array_new();
        assert_eq!(
            mlx_matmul(&mut result, a, a, stream),
            0,
            "mlx_matmul failed"
        );
        assert_eq!(mlx_array_eval(result), 0, "mlx_array_eval failed");
        let seconds = start.elapsed().as_secs_f64();
        mlx_array_free(result);
        seconds
    }
}

fn main() {
    let values: Vec<f32> = (0..SIZE * SIZE).map(|i| (i % 97) as f32 / 97.0).collect();
    let shape = [SIZE as i32; 2];
    // SAFETY: the data has the stated shape and type, and MLX copies it.
    let (a, stream) = unsafe {
        let a = mlx_array_new_data(
            values.as_ptr().cast(),
            shape.as_ptr(),
            2,
            mlx_dtype__MLX_FLOAT32,
        );
        (a, mlx_default_cpu_stream_new())
    };
    time_product(a, stream);
    let mut seconds: Vec<f64> = (0..REPEATS).map(|_| time_product(a, stream)).collect();
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| 2.0 * (SIZE as f64).powi(3) / seconds / 1e9;
    println!(
        "{SIZE} x {SIZE} float32: best {:.1} GFLOP/s, median {:.1} GFLOP/s over {REPEATS} products",
        rate(seconds[0]),
        rate(seconds[REPEATS / 2]),
    );
    #[cfg(not(target_vendor = "apple"))]
    println!("{:?}", mlx_sys::blas::settings());
    // SAFETY: both handles came from MLX and are not used again.
    unsafe {
        mlx_array_free(a);
        mlx_stream_free(stream);
    }
}
