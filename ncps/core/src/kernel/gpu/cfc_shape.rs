//! How the kernels of a CfC are launched: samples and threads of a group, shared memory, offsets.

use super::cfc_layout::{Network, Product};
use super::launch::Limits;
use super::source::Constants;
use super::{Geometry, Spans};
use crate::kernel::spec::SequenceSpec;

/// Most samples for each group of threads.
const MOST_SAMPLES: usize = 8;
/// Most samples of which a thread sums products.
const MOST_TILE: usize = 8;

/// Threads of a group whose SIMD groups multiply matrices: more leave each too few registers to read ahead.
const MATRIX_THREADS: usize = 768;

/// How one kernel is launched.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) groups: usize,
    pub(super) threads: usize,
    pub(super) shared: usize,
    pub(super) constants: Constants,
}

fn as_size(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn sizes(values: impl IntoIterator<Item = usize>) -> Vec<i32> {
    values.into_iter().map(as_size).collect()
}

fn starts(lengths: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut end = 0;
    lengths
        .into_iter()
        .map(|length| {
            end += length;
            end - length
        })
        .collect()
}

fn aligned(floats: usize) -> usize {
    floats.next_multiple_of(4)
}

/// The groups that work on the same samples, and how they share a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Team {
    /// Groups of it.
    cluster: usize,
    samples: usize,
    threads: usize,
    /// Whether SIMD groups multiply matrices.
    is_matrix: bool,
}

impl Team {
    /// Samples that a thread takes of a product.
    fn tile(self) -> usize {
        self.samples.min(MOST_TILE)
    }

    /// Floats between neighbouring rows of an operand: such that a SIMD group finds its values in different banks.
    fn stride(self) -> usize {
        match self.samples {
            8.. if self.is_matrix => self.samples + 8,
            8.. => self.samples + 4,
            few => few,
        }
    }

    /// Floats between the sums of neighbouring samples; `pitch_of` in the bodies.
    fn pitch(self, count: usize) -> usize {
        let even = count.next_multiple_of(8);
        match self.samples {
            ..4 => count,
            _ if even.is_multiple_of(16) => even + 8,
            _ => even,
        }
    }

    /// A group's share of columns; `own_of` in the bodies.
    fn own(self, width: usize) -> usize {
        width.div_ceil(self.cluster)
    }

    /// Groups of all teams.
    fn groups(self, batch: usize) -> usize {
        batch.div_ceil(self.samples) * self.cluster
    }
}

/// Teams by the samples that they take: first the fewest that fill the device, and what of it fits.
fn teams(
    batch: usize,
    cluster: usize,
    limits: Limits,
    tiles: &[Tile],
) -> impl Iterator<Item = Team> {
    let mut wanted = 1;
    while wanted < MOST_SAMPLES * cluster && batch.div_ceil(wanted) * cluster > limits.groups {
        wanted *= 2;
    }
    let all = std::iter::successors(Some(wanted), |s| (*s > 1).then_some(s / 2));
    all.map(move |samples| {
        let team = Team {
            cluster,
            samples,
            threads: limits.threads,
            is_matrix: limits.has_matrices
                && cluster > 1
                && samples.is_multiple_of(8)
                && tiles.iter().all(|tile| tile.suits_matrices(cluster)),
        };
        let useful = |tile: &Tile| {
            let across = team.own(tile.width) * (samples / team.tile());
            across * tile.rows.div_ceil(4)
        };
        let useful = tiles.iter().map(useful).max().unwrap_or(32).max(64);
        let most = match team.is_matrix {
            true => MATRIX_THREADS,
            false => useful.next_multiple_of(32),
        };
        Team {
            threads: most.min(limits.threads),
            ..team
        }
    })
}

/// One product as a kernel computes it: rows, columns of a thread, threads side by side.
#[derive(Clone, Copy, Debug)]
struct Tile {
    rows: usize,
    columns: usize,
    width: usize,
    /// Whether a thread's columns are neighbours.
    is_together: bool,
}

impl Tile {
    /// Parts that share an output; `parts_of` in the bodies.
    fn parts(self, team: Team) -> usize {
        if team.is_matrix {
            let blocks = team.own(self.width) * self.columns / 32;
            return (team.threads / 32 / blocks).clamp(1, self.rows / 8);
        }
        let across = team.own(self.width) * (team.samples / team.tile());
        (team.threads / across).clamp(1, self.rows.max(1))
    }

    /// Whether its rows and a group's columns come in whole blocks.
    fn suits_matrices(&self, cluster: usize) -> bool {
        self.rows.is_multiple_of(8)
            && self.width.is_multiple_of(cluster)
            && (self.width / cluster * if self.is_together { self.columns } else { 1 })
                .is_multiple_of(32)
    }

    /// Floats of all parts' sums.
    fn sums(self, team: Team) -> usize {
        let own = team.own(self.width);
        let row = match self.is_together {
            true => team.pitch(own * self.columns),
            false => self.columns * team.pitch(own),
        };
        self.parts(team) * row * team.samples
    }
}

/// Takes as many rows of each part's weights into shared memory as fit: their places, their numbers, and the end.
fn stage(
    tiles: &[Tile],
    team: Team,
    used: usize,
    limits: Limits,
) -> (Vec<usize>, Vec<usize>, usize) {
    let (mut at, mut kept, mut end) = (Vec::new(), Vec::new(), used);
    for tile in tiles {
        let parts = tile.parts(team);
        // Matrices take eight rows at a time, a little apart for the sake of the banks.
        let (gap, least) = if team.is_matrix { (8, 8) } else { (0, 1) };
        let row = parts * (tile.columns * team.own(tile.width) + gap);
        let room = limits.shared.saturating_sub(end) / row;
        let most = (tile.rows / least).div_ceil(parts) * least;
        let count = most.min(room / least * least);
        at.push(end);
        kept.push(count);
        end = aligned(end + count * row).min(limits.shared);
    }
    (at, kept, end)
}

/// Offsets of weights in the packed buffer.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) forward: Vec<usize>,
    pub(super) biases: Vec<usize>,
    pub(super) backward: Vec<usize>,
    pub(super) decay: usize,
    pub(super) len: usize,
}

impl Packed {
    pub(super) fn new(network: &Network) -> Self {
        let products = &network.products;
        let inside = network.is_x_inside;
        let mut lengths: Vec<usize> = products
            .iter()
            .map(|p| p.rows(inside) * p.outputs())
            .collect();
        lengths.extend(products.iter().map(Product::outputs));
        lengths.extend(products.iter().map(|p| p.back() * p.outputs()));
        let units: usize = network.layers.iter().sum();
        lengths.push(if network.decay.is_empty() {
            0
        } else {
            2 * units
        });
        // Several weights are read at once.
        let lengths: Vec<usize> = lengths.into_iter().map(aligned).collect();
        let at = starts(lengths.iter().copied());
        let count = products.len();
        Self {
            forward: at[..count].to_vec(),
            biases: at[count..2 * count].to_vec(),
            backward: at[2 * count..3 * count].to_vec(),
            decay: at[3 * count],
            // Metal keeps arrays of fewer than 8 values elsewhere.
            len: lengths.iter().sum::<usize>().max(8),
        }
    }
}

/// What both kernels need to know.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) spec: &'a SequenceSpec,
    pub(super) geometry: &'a Geometry,
    pub(super) network: &'a Network,
    pub(super) packed: &'a Packed,
    pub(super) limits: Limits,
}

impl Setting<'_> {
    fn rows(&self) -> Vec<usize> {
        let inside = self.network.is_x_inside;
        self.network
            .products
            .iter()
            .map(|p| p.rows(inside))
            .collect()
    }

    fn records(&self) -> usize {
        self.geometry.batch * self.geometry.time
    }

    fn first(&self) -> Vec<usize> {
        starts(self.network.layers.iter().copied())
    }

    fn gate_at(&self) -> Vec<usize> {
        let units: usize = self.network.layers.iter().sum();
        let memory = if self.network.has_memory {
            6 * units
        } else {
            0
        };
        let heads = self.network.heads;
        let lengths = self.network.layers.iter().map(|units| heads * units);
        starts(lengths).into_iter().map(|at| memory + at).collect()
    }

    fn argument_at(&self) -> usize {
        self.network.gates()
            - if self.network.keeps_arguments {
                self.network.depth * self.network.backbone
            } else {
                0
            }
    }

    fn output(&self) -> Vec<i32> {
        let mut output = vec![-1; self.spec.units];
        for (o, &place) in self.spec.output_places.iter().enumerate() {
            output[place] = as_size(o);
        }
        output
    }

    fn spans(&self) -> (i32, f32) {
        match self.geometry.spans {
            Spans::Constant(span) => (0, span),
            Spans::Shared => (1, 1.0),
            Spans::PerSample => (2, 1.0),
        }
    }

    pub(super) fn record_at(&self) -> Vec<usize> {
        let records = self.records();
        starts(self.rows().iter().map(|rows| (rows + 1) * records))
    }

    pub(super) fn delta_at(&self) -> Vec<usize> {
        let records = self.records();
        starts(self.network.products.iter().map(|p| p.outputs() * records))
    }

    /// Groups that share samples: several where one cannot keep the weights in its shared memory, which then come from
    /// further away at every step. That pays off where products by matrix units follow; measured on an H200.
    fn cluster(&self, tiles: &[Tile]) -> usize {
        let (network, limits) = (self.network, self.limits);
        let weights = |tile: &Tile| tile.rows * tile.columns * tile.width;
        let all: usize = tiles.iter().map(weights).sum();
        let is_simple = network.layers.len() == 1 && network.depth > 0 && !network.has_memory;
        let first = teams(self.geometry.batch, limits.cluster, limits, tiles).next();
        let is_fast = !limits.has_matrices || first.is_some_and(|team| team.is_matrix);
        match is_simple && all > limits.shared && is_fast {
            true => limits.cluster,
            false => 1,
        }
    }

    /// The forward kernel, or the shared memory that one sample would take.
    pub(super) fn forward(&self) -> Result<Shape, usize> {
        let (network, units) = (self.network, self.spec.units);
        let tiles: Vec<Tile> = network
            .products
            .iter()
            .map(|p| Tile {
                rows: p.rows(network.is_x_inside),
                columns: p.columns(),
                width: p.outputs() / p.columns(),
                is_together: p.is_backbone,
            })
            .collect();
        let (batch, mut needed) = (self.geometry.batch, 0);
        for team in teams(batch, self.cluster(&tiles), self.limits, &tiles) {
            // A memory without a cell has no product that its output is an operand of, only a place.
            let own_rows = if network.mode == 3 { units } else { 0 };
            let all_rows = network.operand_rows() + own_rows;
            let memory_at = aligned(all_rows * team.stride());
            let sums_at = memory_at
                + aligned(if network.has_memory {
                    units * team.stride()
                } else {
                    0
                });
            let sums = tiles.iter().map(|tile| tile.sums(team)).max();
            let used = sums_at + aligned(sums.unwrap_or(0));
            needed = used;
            if used > self.limits.shared {
                continue;
            }
            let (staged, kept, shared) = stage(&tiles, team, used, self.limits);
            return Ok(Shape {
                groups: team.groups(batch),
                threads: team.threads,
                shared,
                constants: self.forward_constants(
                    team,
                    [sums_at, memory_at],
                    &tiles,
                    (&staged, &kept),
                ),
            });
        }
        Err(needed)
    }

    fn forward_constants(
        &self,
        team: Team,
        [sums_at, memory_at]: [usize; 2],
        tiles: &[Tile],
        (staged, kept): (&[usize], &[usize]),
    ) -> Constants {
        let (network, geometry) = (self.network, self.geometry);
        let (mut rows, products) = (self.rows(), &network.products);
        let (units, first) = (self.spec.units, self.first());
        let mut operand_at = starts(rows.iter().copied());
        let mut widths: Vec<usize> = tiles.iter().map(|tile| tile.width).collect();
        let mut columns: Vec<usize> = tiles.iter().map(|tile| tile.columns).collect();
        if network.mode == 3 {
            operand_at.push(network.operand_rows());
            rows.push(1);
            widths.push(units);
            columns.push(0);
        }
        let mut outside_at = Vec::new();
        let mut outside = 0;
        for product in products {
            if product.takes_x && !network.is_x_inside {
                outside_at.push(as_size(outside));
                outside += product.outputs();
            } else {
                outside_at.push(-1);
            }
        }
        if network.mode == 3 {
            outside_at.push(-1);
        }
        let state_of = |p: usize| operand_at[p] + rows[p] - products[p].state;
        let memory = usize::from(network.has_memory);
        let (mut inner_row, mut state_row) = (Vec::new(), Vec::new());
        for (l, count) in network.layers.iter().enumerate() {
            let inner = match network.mode {
                3 => operand_at[memory],
                _ => state_of(memory + l * (network.depth + 1)),
            };
            let own = if network.has_memory {
                state_of(0) + first[l]
            } else {
                inner
            };
            inner_row.extend((0..*count).map(|k| as_size(inner + k)));
            state_row.extend((0..*count).map(|k| as_size(own + k)));
        }
        let (spans, span) = self.spans();
        Constants {
            sizes: vec![
                ("BATCH", as_size(geometry.batch)),
                ("TIME", as_size(geometry.time)),
                ("UNITS", as_size(units)),
                ("OUTPUTS", as_size(self.spec.outputs())),
                ("SAMPLES", as_size(team.samples)),
                ("STRIDE", as_size(team.stride())),
                ("TILE", as_size(team.tile())),
                ("CLUSTER", as_size(team.cluster)),
                ("IS_MATRIX", i32::from(team.is_matrix)),
                ("MODE", network.mode),
                ("ACTIVATION", network.activation),
                ("LAYERS", as_size(network.layers.len())),
                ("DEPTH", as_size(network.depth)),
                ("BACKBONE", as_size(network.backbone)),
                (
                    "INSIDE",
                    as_size(if network.is_x_inside {
                        self.spec.inputs
                    } else {
                        0
                    }),
                ),
                ("PROJECTED", as_size(network.projected())),
                ("HAS_MEMORY", i32::from(network.has_memory)),
                ("SPANS", spans),
                ("HAS_MASK", i32::from(geometry.has_mask)),
                ("IS_TRAINING", i32::from(geometry.is_training)),
                ("KEEPS_ARGUMENTS", i32::from(network.keeps_arguments)),
                ("IS_LAST_ONLY", i32::from(geometry.is_last_only)),
                ("GATES", as_size(network.gates())),
                ("SUMS_AT", as_size(sums_at)),
                ("MEMORY_AT", as_size(memory_at)),
                ("PRODUCTS", as_size(staged.len())),
                ("USES", uses(tiles)),
                ("PURE_AT", as_size(self.packed.decay)),
                ("ARGUMENT_AT", as_size(self.argument_at())),
            ],
            reals: vec![("SPAN", span)],
            tables: vec![
                ("ROWS", sizes(rows)),
                ("COLUMNS", sizes(columns)),
                ("WIDTHS", sizes(widths)),
                ("WEIGHT_AT", padded(&self.packed.forward)),
                ("BIAS_AT", padded(&self.packed.biases)),
                ("OUTSIDE_AT", outside_at),
                ("OPERAND_AT", padded(&operand_at)),
                ("RECORD_AT", padded(&self.record_at())),
                ("STAGED_AT", padded(staged)),
                ("KEPT", padded(kept)),
                ("FIRST", sizes(first)),
                ("GATE_AT", sizes(self.gate_at())),
                ("STATE_ROW", state_row),
                ("INNER_ROW", inner_row),
                ("OUTPUT", self.output()),
                ("DROPPED", dropped(network)),
            ],
        }
    }

    /// The backward kernel, or the shared memory that one sample would take.
    pub(super) fn backward(&self) -> Result<Shape, usize> {
        let network = self.network;
        let (products, units) = (&network.products, self.spec.units);
        let tiles: Vec<Tile> = products
            .iter()
            .map(|p| Tile {
                rows: p.outputs(),
                columns: p.back_columns(),
                width: p.back() / p.back_columns(),
                is_together: true,
            })
            .collect();
        let (batch, mut needed) = (self.geometry.batch, 0);
        for team in teams(batch, self.cluster(&tiles), self.limits, &tiles) {
            // In a cluster there is one layer; its units are divided as the columns of the last product are that leads to it.
            let first = tiles.first().filter(|_| team.cluster > 1);
            let own_units = first.map_or(units, |tile| tile.columns * team.own(tile.width));
            let state = aligned(own_units * team.stride());
            let total_at = state;
            let inner_at = total_at + state;
            let extra = if network.has_memory { state } else { 0 };
            let memory_at = inner_at + extra;
            let delta_at = memory_at + extra;
            let most = products.iter().map(Product::outputs).max().unwrap_or(0);
            // The second place is for the backbone's alone.
            let second = products.iter().filter(|p| p.is_backbone);
            let second = second.map(Product::outputs).max().unwrap_or(0);
            let (next_delta, both) = match team.cluster {
                1 => (0, most),
                _ => (most * team.stride(), most + second),
            };
            let sums_at = delta_at + aligned(both * team.stride());
            let sums = tiles.iter().map(|tile| tile.sums(team)).max();
            let used = sums_at + aligned(sums.unwrap_or(0));
            needed = used;
            if used > self.limits.shared {
                continue;
            }
            let (staged, kept, shared) = stage(&tiles, team, used, self.limits);
            let places = [
                sums_at, memory_at, total_at, inner_at, delta_at, own_units, next_delta,
            ];
            return Ok(Shape {
                groups: team.groups(batch),
                threads: team.threads,
                shared,
                constants: self.backward_constants(team, places, &tiles, (&staged, &kept)),
            });
        }
        Err(needed)
    }

    fn backward_constants(
        &self,
        team: Team,
        [
            sums_at,
            memory_at,
            total_at,
            inner_at,
            delta_at,
            own_units,
            next_delta,
        ]: [usize; 7],
        tiles: &[Tile],
        (staged, kept): (&[usize], &[usize]),
    ) -> Constants {
        let (network, geometry) = (self.network, self.geometry);
        let (spans, span) = self.spans();
        Constants {
            sizes: vec![
                ("BATCH", as_size(geometry.batch)),
                ("TIME", as_size(geometry.time)),
                ("UNITS", as_size(self.spec.units)),
                ("OUTPUTS", as_size(self.spec.outputs())),
                ("SAMPLES", as_size(team.samples)),
                ("STRIDE", as_size(team.stride())),
                ("TILE", as_size(team.tile())),
                ("CLUSTER", as_size(team.cluster)),
                ("IS_MATRIX", i32::from(team.is_matrix)),
                ("MODE", network.mode),
                ("ACTIVATION", network.activation),
                ("LAYERS", as_size(network.layers.len())),
                ("DEPTH", as_size(network.depth)),
                ("BACKBONE", as_size(network.backbone)),
                ("HAS_MEMORY", i32::from(network.has_memory)),
                ("HEADS", as_size(network.heads)),
                ("SPANS", spans),
                ("HAS_MASK", i32::from(geometry.has_mask)),
                ("KEEPS_ARGUMENTS", i32::from(network.keeps_arguments)),
                ("IS_LAST_ONLY", i32::from(geometry.is_last_only)),
                ("GATES", as_size(network.gates())),
                ("SUMS_AT", as_size(sums_at)),
                ("MEMORY_AT", as_size(memory_at)),
                ("TOTAL_AT", as_size(total_at)),
                ("INNER_AT", as_size(inner_at)),
                ("DELTA_AT", as_size(delta_at)),
                ("PRODUCTS", as_size(staged.len())),
                ("USES", uses(tiles)),
                ("PURE_AT", as_size(self.packed.decay)),
                ("ARGUMENT_AT", as_size(self.argument_at())),
                ("OWN_UNITS", as_size(own_units)),
                ("NEXT_DELTA", as_size(next_delta)),
            ],
            reals: vec![("SPAN", span)],
            tables: vec![
                ("OUTS", sizes(network.products.iter().map(Product::outputs))),
                ("BACK_COLUMNS", sizes(tiles.iter().map(|tile| tile.columns))),
                ("BACK_WIDTHS", sizes(tiles.iter().map(|tile| tile.width))),
                ("WEIGHT_AT", padded(&self.packed.backward)),
                ("DELTA_RECORD_AT", padded(&self.delta_at())),
                ("STAGED_AT", padded(staged)),
                ("KEPT", padded(kept)),
                ("RECORD_AT", padded(&self.record_at())),
                ("ROWS", sizes(self.rows())),
                ("FIRST", sizes(self.first())),
                ("LAYER_UNITS", sizes(network.layers.iter().copied())),
                ("GATE_AT", sizes(self.gate_at())),
                ("OUTPUT", self.output()),
                ("DROPPED", dropped(network)),
            ],
        }
    }
}

/// The numbers of columns that occur, a bit for each.
fn uses(tiles: &[Tile]) -> i32 {
    tiles.iter().fold(0, |bits, tile| bits | 1 << tile.columns)
}

/// A table that always has the entries that unused branches name.
fn padded(values: &[usize]) -> Vec<i32> {
    let mut table = sizes(values.iter().copied());
    table.extend([0, 0]);
    table
}

fn dropped(network: &Network) -> Vec<i32> {
    let mut dropped = network.dropped.clone();
    dropped.push(-1);
    dropped
}
