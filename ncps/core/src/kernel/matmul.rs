//! Products of weights with blocks of samples, and of gradients with activations.
//!
//! A block is stored `[rows, lanes]`: one row per neuron or feature, one lane per sample. A product then multiplies one
//! scalar weight with a vector of samples, so no shape of the weights wastes lanes.

use super::simd::{Kernel, Simd};

/// A weight matrix cut into panels of rows, each stored depth by depth, as the register tile reads it.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    rows: usize,
    depth: usize,
    tile: usize,
    data: Vec<f32>,
}

impl Panels {
    /// Packs the matrix whose element (row, k) is `weights[row * row_stride + k * depth_stride]`.
    pub(crate) fn pack(
        weights: &[f32],
        (rows, depth): (usize, usize),
        (row_stride, depth_stride): (usize, usize),
        tile: usize,
    ) -> Self {
        let mut data = Vec::with_capacity(rows * depth);
        let mut first = 0;
        while first < rows {
            let height = height(tile, rows - first);
            for k in 0..depth {
                let start = first * row_stride + k * depth_stride;
                data.extend((0..height).map(|row| weights[start + row * row_stride]));
            }
            first += height;
        }
        Self {
            rows,
            depth,
            tile,
            data,
        }
    }
}

/// The height of the next tile when `rows` are left: few sizes, since each is compiled for each instruction set.
fn height(tile: usize, rows: usize) -> usize {
    let sizes: &[usize] = match tile {
        12 => &[12, 8, 6, 4, 3, 2],
        6 => &[6, 4, 3, 2],
        _ => &[4, 2],
    };
    sizes
        .iter()
        .copied()
        .find(|&size| size <= rows)
        .unwrap_or(1)
}

/// What a product adds to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    Zero,
    /// One value per row.
    Bias(&'a [f32]),
}

/// `out[rows, lanes] = start + weights[rows, depth] x input[depth, lanes]`.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    pub(crate) weights: &'a Panels,
    pub(crate) input: &'a [f32],
    pub(crate) start: Start<'a>,
    pub(crate) out: &'a mut [f32],
    pub(crate) lanes: usize,
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Panels {
            rows, depth, tile, ..
        } = *self.weights;
        assert_eq!(self.lanes % S::LANES, 0);
        assert!(self.input.len() >= depth * self.lanes && self.out.len() >= rows * self.lanes);
        if let Start::Bias(bias) = self.start {
            assert!(bias.len() >= rows);
        }
        assert_eq!(tile, S::TILE_ROWS);
        match S::TILE_ROWS {
            12 => product::<S, 12>(s, self),
            6 => product::<S, 6>(s, self),
            _ => product::<S, 4>(s, self),
        }
    }
}

/// Pointers of one tile: checked by `Product::run`, advanced by `product`.
#[derive(Clone, Copy)]
struct Tile<'a> {
    weights: *const f32,
    input: *const f32,
    out: *mut f32,
    start: Start<'a>,
    row: usize,
    depth: usize,
    lanes: usize,
}

#[inline(always)]
fn product<S: Simd, const ROWS: usize>(s: S, p: Product<'_>) {
    let mut lane = 0;
    while lane < p.lanes {
        let is_pair = lane + 2 * S::LANES <= p.lanes;
        let mut row = 0;
        while row < p.weights.rows {
            let height = height(ROWS, p.weights.rows - row);
            // SAFETY: `run` checked that `depth` rows of input, `rows` rows of output and the bias exist; the packed data
            // holds `rows * depth` values; `lane` plus one or two vectors stays within a row.
            unsafe {
                let tile = Tile {
                    weights: p.weights.data.as_ptr().add(row * p.weights.depth),
                    input: p.input.as_ptr().add(lane),
                    out: p.out.as_mut_ptr().add(row * p.lanes + lane),
                    start: p.start,
                    row,
                    depth: p.weights.depth,
                    lanes: p.lanes,
                };
                match is_pair {
                    true => s.dispatch(AnyHeight::<ROWS, 2> { tile, height }),
                    false => s.dispatch(AnyHeight::<ROWS, 1> { tile, height }),
                }
            }
            row += height;
        }
        lane += if is_pair { 2 * S::LANES } else { S::LANES };
    }
}

/// A tile whose height is known at run time. Making one is a promise that the pointers are as [`tile`] asks.
struct AnyHeight<'a, const ROWS: usize, const W: usize> {
    tile: Tile<'a>,
    height: usize,
}

impl<const ROWS: usize, const W: usize> Kernel for AnyHeight<'_, ROWS, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tile: t, height } = self;
        // Heights that a tile size never uses are not even compiled: the conditions are constant.
        if ROWS >= 8 && height == 12 {
            s.dispatch(Fixed::<12, W>(t));
        } else if ROWS >= 8 && height == 8 {
            s.dispatch(Fixed::<8, W>(t));
        } else if ROWS >= 6 && height == 6 {
            s.dispatch(Fixed::<6, W>(t));
        } else if ROWS >= 6 && height == 3 {
            s.dispatch(Fixed::<3, W>(t));
        } else if height == 4 {
            s.dispatch(Fixed::<4, W>(t));
        } else if height == 2 {
            s.dispatch(Fixed::<2, W>(t));
        } else {
            s.dispatch(Fixed::<1, W>(t));
        }
    }
}

/// A tile of `ROWS` rows, a function of its own.
struct Fixed<'a, const ROWS: usize, const W: usize>(Tile<'a>);

impl<const ROWS: usize, const W: usize> Kernel for Fixed<'_, ROWS, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: whoever made the tile promised what `tile` asks.
        unsafe { tile::<S, ROWS, W>(s, self.0) };
    }
}

/// # Safety
/// `t.weights` holds `ROWS * depth` values, `t.input` has `depth` rows and `t.out` `ROWS` rows of stride `lanes` with `W`
/// vectors in each, and a bias reaches `t.row + ROWS`.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const W: usize>(s: S, t: Tile<'_>) {
    // SAFETY: every offset below stays within what the caller promises.
    unsafe {
        let mut sums = [[s.splat(0.0); W]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            if let Start::Bias(bias) = t.start {
                *sums = [s.splat(*bias.get_unchecked(t.row + row)); W];
            }
        }
        let (mut weights, mut input) = (t.weights, t.input);
        for _ in 0..t.depth {
            let mut x = [s.splat(0.0); W];
            for (w, x) in x.iter_mut().enumerate() {
                *x = s.load_ptr(input.add(w * S::LANES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let weight = s.splat(*weights.add(row));
                for w in 0..W {
                    sums[w] = s.mul_add(weight, x[w], sums[w]);
                }
            }
            weights = weights.add(ROWS);
            input = input.add(t.lanes);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (w, sum) in sums.iter().enumerate() {
                s.store_ptr(t.out.add(row * t.lanes + w * S::LANES), *sum);
            }
        }
    }
}

/// Rows of a record that repeats every `stride` values, once for each time step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series<'a> {
    /// Starts at the first row of the first step.
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
}

impl Series<'_> {
    fn holds(&self, steps: usize, lanes: usize) -> bool {
        steps == 0 || self.data.len() >= (steps - 1) * self.stride + self.rows * lanes
    }
}

/// `weights[r, c] += sum over steps and lanes of gradient[r] * input[c]`, and `bias[r] += sum of gradient[r]`.
///
/// Each element sums one vector of lanes over all steps, and the lanes once at the end.
#[derive(Debug)]
pub(crate) struct GradientProduct<'a> {
    pub(crate) gradient: Series<'a>,
    pub(crate) input: Series<'a>,
    pub(crate) steps: usize,
    pub(crate) lanes: usize,
    pub(crate) weights: &'a mut [f32],
    pub(crate) bias: &'a mut [f32],
}

impl Kernel for GradientProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.lanes % S::LANES, 0);
        assert!(self.gradient.holds(self.steps, self.lanes));
        assert!(self.input.holds(self.steps, self.lanes));
        assert_eq!(self.weights.len(), self.gradient.rows * self.input.rows);
        match S::GRAD_TILE {
            (6, 4) => gradient_product::<S, 6, 4>(s, self),
            (4, 3) => gradient_product::<S, 4, 3>(s, self),
            _ => gradient_product::<S, 2, 2>(s, self),
        }
    }
}

#[inline(always)]
fn gradient_product<S: Simd, const R: usize, const C: usize>(s: S, p: GradientProduct<'_>) {
    let (rows, columns) = (p.gradient.rows, p.input.rows);
    if rows == 0 || columns == 0 {
        return;
    }
    let mut row = 0;
    while row < rows {
        // A tile that reaches over the edge reads its last row again and drops the result.
        let g: [*const f32; R] =
            std::array::from_fn(|i| p.gradient.data[(row + i).min(rows - 1) * p.lanes..].as_ptr());
        let mut column = 0;
        while column < columns {
            let z: [*const f32; C] = std::array::from_fn(|i| {
                p.input.data[(column + i).min(columns - 1) * p.lanes..].as_ptr()
            });
            // SAFETY: `run` checked that each row of both series has `lanes` values in each of `steps` steps.
            let sums = unsafe {
                gradient_tile::<S, R, C>(
                    s,
                    g,
                    z,
                    (p.steps, p.lanes),
                    (p.gradient.stride, p.input.stride),
                )
            };
            for (r, sums) in sums.iter().enumerate().take(rows - row) {
                let out = &mut p.weights[(row + r) * columns + column..];
                for (c, sum) in sums.iter().enumerate().take(columns - column) {
                    out[c] += sum;
                }
            }
            column += C;
        }
        row += R;
    }
    row_sums(s, p.gradient, (p.steps, p.lanes), p.bias);
}

/// # Safety
/// Each pointer has `lanes` readable values in each of `steps` steps, a stride apart; `lanes` is a multiple of `LANES`.
#[inline(always)]
unsafe fn gradient_tile<S: Simd, const R: usize, const C: usize>(
    s: S,
    g: [*const f32; R],
    z: [*const f32; C],
    (steps, lanes): (usize, usize),
    (g_stride, z_stride): (usize, usize),
) -> [[f32; C]; R] {
    let mut sums = [[s.splat(0.0); C]; R];
    for step in 0..steps {
        let mut lane = 0;
        while lane < lanes {
            // SAFETY: the caller's promise.
            unsafe {
                let mut x = [s.splat(0.0); C];
                for c in 0..C {
                    x[c] = s.load_ptr(z[c].add(step * z_stride + lane));
                }
                for r in 0..R {
                    let y = s.load_ptr(g[r].add(step * g_stride + lane));
                    for c in 0..C {
                        sums[r][c] = s.mul_add(y, x[c], sums[r][c]);
                    }
                }
            }
            lane += S::LANES;
        }
    }
    let mut out = [[0.0; C]; R];
    for r in 0..R {
        let padded: [S::V; 4] = std::array::from_fn(|c| sums[r][c.min(C - 1)]);
        out[r].copy_from_slice(&s.sum4(padded)[..C]);
    }
    out
}

/// `out[r] += sum over steps and lanes of row r`; does nothing if `out` is empty.
#[inline(always)]
pub(crate) fn row_sums<S: Simd>(
    s: S,
    series: Series<'_>,
    (steps, lanes): (usize, usize),
    out: &mut [f32],
) {
    for (row, out) in out.iter_mut().enumerate() {
        let mut sum = s.splat(0.0);
        for step in 0..steps {
            let start = step * series.stride + row * lanes;
            for values in series.data[start..start + lanes].chunks_exact(S::LANES) {
                sum = s.add(sum, s.load(values));
            }
        }
        *out += s.sum(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Level;
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect()
    }

    fn levels() -> Vec<Level> {
        [Level::Portable, Level::Avx2, Level::Avx512, Level::Neon]
            .into_iter()
            .filter(|level| level.is_available())
            .collect()
    }

    #[test]
    fn products_of_all_tile_heights_match_the_naive_sum() {
        let lanes = 48;
        for level in levels() {
            for (rows, depth) in [(1, 1), (5, 3), (12, 7), (23, 4), (25, 9)] {
                let (a, b) = (numbers(rows * depth, 1), numbers(depth * lanes, 2));
                let bias = numbers(rows, 3);
                {
                    let weights = Panels::pack(&a, (rows, depth), (depth, 1), level.tile_rows());
                    let mut out = vec![0.0; rows * lanes];
                    let start = Start::Bias(&bias);
                    level.run(Product {
                        weights: &weights,
                        input: &b,
                        start,
                        out: &mut out,
                        lanes,
                    });
                    for r in 0..rows {
                        for l in 0..lanes {
                            let sum: f32 = (0..depth)
                                .map(|k| a[r * depth + k] * b[k * lanes + l])
                                .sum();
                            assert!((out[r * lanes + l] - bias[r] - sum).abs() < 1e-5);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn gradient_products_match_the_naive_sum() {
        let (steps, lanes) = (3, 16);
        for level in levels() {
            for (rows, columns) in [(1, 1), (6, 4), (7, 5), (13, 11)] {
                let (g_stride, z_stride) = ((rows + 2) * lanes, (columns + 1) * lanes);
                let (g, z) = (numbers(steps * g_stride, 4), numbers(steps * z_stride, 5));
                let mut weights = vec![1.0; rows * columns];
                let mut bias = vec![0.0; rows];
                level.run(GradientProduct {
                    gradient: Series {
                        data: &g,
                        stride: g_stride,
                        rows,
                    },
                    input: Series {
                        data: &z,
                        stride: z_stride,
                        rows: columns,
                    },
                    steps,
                    lanes,
                    weights: &mut weights,
                    bias: &mut bias,
                });
                for r in 0..rows {
                    let g_at = |t: usize, l: usize| g[t * g_stride + r * lanes + l];
                    let all = || (0..steps).flat_map(|t| (0..lanes).map(move |l| (t, l)));
                    let sum: f32 = all().map(|(t, l)| g_at(t, l)).sum();
                    assert!((bias[r] - sum).abs() < 1e-5);
                    for c in 0..columns {
                        let sum: f32 = all()
                            .map(|(t, l)| g_at(t, l) * z[t * z_stride + c * lanes + l])
                            .sum();
                        assert!((weights[r * columns + c] - 1.0 - sum).abs() < 1e-5);
                    }
                }
            }
        }
    }
}
