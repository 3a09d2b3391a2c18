//! Arrays joined to one vector by one kernel, where MLX would copy them one by one.

use mlx_rs::error::Exception;
use mlx_rs::{Array, Stream};

use super::launch::{Backend, Launch};
use super::source::{Body, Constants};
use crate::array::{Mlx, dim};

static JOIN: Body = Body::new(include_str!("bodies/join.inc"));

/// Arrays that one launch takes.
const MOST: usize = 24;
const THREADS: usize = 256;
/// Elements that a thread copies before another group is worth its launch.
const EACH: usize = 4;
const MOST_GROUPS: usize = 256;

/// All elements of f32 arrays, row by row, one array behind the other.
pub(crate) fn join(arrays: &[Array], backend: Backend) -> Mlx {
    let flat: Vec<Array> = arrays
        .iter()
        .map(|a| a.reshape(&[-1]))
        .collect::<Mlx<_>>()?;
    if flat.len() <= MOST {
        return launch(&flat, backend);
    }
    let parts: Vec<Array> = flat
        .chunks(MOST)
        .map(|chunk| launch(chunk, backend))
        .collect::<Mlx<_>>()?;
    join(&parts, backend)
}

fn launch(arrays: &[Array], backend: Backend) -> Mlx {
    let Some(first) = arrays.first() else {
        return Err(Exception::custom("there is nothing to join"));
    };
    let mut starts = vec![0];
    let mut total = 0;
    for array in arrays {
        total += array.size();
        starts.push(dim(total));
    }
    starts.resize(MOST + 1, dim(total));
    let groups = total.div_ceil(THREADS * EACH).clamp(1, MOST_GROUPS);
    let threads = THREADS.min(backend.limits().threads);
    let mut inputs: Vec<&Array> = arrays.iter().collect();
    inputs.resize(MOST, first);
    let launch = Launch {
        body: &JOIN,
        constants: Constants {
            sizes: vec![
                ("STRIDE", dim(groups * threads)),
                ("COUNT", dim(arrays.len())),
            ],
            reals: Vec::new(),
            tables: vec![("STARTS", starts)],
        },
        inputs,
        outputs: vec![vec![dim(total)]],
        groups,
        threads,
        shared: 0,
    };
    let joined = launch.run(backend, &Stream::thread_local_or_default())?;
    let joined = joined.into_iter().next();
    joined.ok_or_else(|| Exception::custom("a kernel gave no array"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::Order;
    use super::*;

    #[test]
    fn any_number_of_arrays_of_any_size_is_joined() {
        for count in [1, 2, 23, 24, 25, 60] {
            let mut expected: Vec<f32> = Vec::new();
            let arrays: Vec<Array> = (0..count)
                .map(|i| {
                    let size = [1, 3, 40, 1300][i % 4];
                    let values: Vec<f32> = (0..size).map(|k| (i * 10_000 + k) as f32).collect();
                    expected.extend(&values);
                    Array::from_slice(&values, &[1, size as i32])
                })
                .collect();
            let joined = join(&arrays, Backend::Emulator(Order::Ascending)).unwrap();
            joined.eval().unwrap();
            assert_eq!(joined.as_slice::<f32>(), expected);
        }
    }
}
