//! The products that make the gradients of a chain's weights: one kernel for all of them, or MLX's products where they are large.

use super::cfc::CfcPlan;
use super::cfc_places::gradient_places;
use super::cfc_shape::Shape;
use super::chain::Head;
use super::source::{Body, Constants};
use crate::array::dim;

static PRODUCTS: Body = Body::new(include_str!("bodies/products.inc"));

/// Multiplications and additions of all products beyond which MLX's are faster, whatever their number of launches.
pub(super) const MOST_WORK: usize = 1_500_000_000;
/// Groups of threads that fill a GPU a few times over.
const WANTED_GROUPS: usize = 512;
/// Fewest records that are worth a group.
const LEAST_RECORDS: usize = 32;
/// Records that a group reads at a time, and values of a thread in each direction; as in the body.
const DEPTH: usize = 16;
const EACH: usize = 4;

/// A product over all records.
#[derive(Clone, Copy, Debug)]
struct Product {
    kind: i32,
    outs: usize,
    rows: usize,
    records: usize,
    delta_at: usize,
    operand_at: usize,
    /// Where its results begin.
    place: usize,
}

/// All products of a chain.
#[derive(Clone, Debug)]
pub(super) struct Products {
    all: Vec<Product>,
    total: usize,
    /// Threads of a group in each direction; none where MLX multiplies.
    side: Option<usize>,
    tiles: usize,
    chunks: usize,
}

impl Products {
    pub(super) fn new(layer: &CfcPlan, head: Option<&Head>, most_work: usize) -> Self {
        let geometry = &layer.geometry;
        let records = geometry.batch * geometry.time;
        let network = &layer.network;
        let mut total = 0;
        let mut all: Vec<Product> = Vec::new();
        let mut push = |mut product: Product| {
            product.place = total;
            total += product.outs * product.rows;
            all.push(product);
        };
        for (p, product) in network.products.iter().enumerate() {
            push(Product {
                kind: 0,
                outs: product.outputs(),
                rows: product.rows(true) + 1,
                records,
                delta_at: layer.delta_at[p],
                operand_at: layer.record_at[p],
                place: 0,
            });
        }
        let sums = Product {
            kind: 1,
            outs: 2 * layer.spec.units,
            rows: 1,
            records,
            delta_at: 0,
            operand_at: 0,
            place: 0,
        };
        if !network.decay.is_empty() {
            push(sums);
        }
        if let Some(head) = head {
            push(Product {
                kind: 2,
                outs: head.outputs,
                rows: layer.spec.outputs() + 1,
                records: if geometry.is_last_only {
                    geometry.batch
                } else {
                    records
                },
                ..sums
            });
        }
        let work: usize = all.iter().map(|p| 2 * p.outs * p.rows * p.records).sum();
        let threads = layer.backend.limits().threads;
        // Whole SIMD groups without threads that have nothing to do.
        let is_fitting = |side: &usize| side * side <= threads && (side * side).is_multiple_of(32);
        let side = (1..=16).rev().find(is_fitting);
        let mut found = Self {
            all,
            total,
            side: side.filter(|_| work <= most_work),
            tiles: 0,
            chunks: 1,
        };
        if let Some(side) = found.side {
            found.tiles = found.tiles(side).len();
            let most = records.div_ceil(LEAST_RECORDS);
            found.chunks = WANTED_GROUPS.div_ceil(found.tiles).clamp(1, most);
        }
        found
    }

    /// Product, first output and first row of each tile.
    fn tiles(&self, side: usize) -> Vec<[usize; 3]> {
        let width = EACH * side;
        let mut tiles = Vec::new();
        for (p, product) in self.all.iter().enumerate() {
            for out in (0..product.outs).step_by(width) {
                tiles.extend((0..product.rows).step_by(width).map(|row| [p, out, row]));
            }
        }
        tiles
    }

    /// Parts of the sums.
    pub(super) fn chunks(&self) -> usize {
        self.chunks
    }

    /// Values of a part.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn partial_len(&self) -> usize {
        self.chunks * self.total
    }

    /// The kernel; none where MLX multiplies.
    pub(super) fn shape(&self) -> Option<(&'static Body, Shape)> {
        let side = self.side?;
        let tiles = self.tiles(side);
        let of_tile = |which: usize| tiles.iter().map(|tile| dim(tile[which])).collect();
        let table = |of: fn(&Product) -> usize| self.all.iter().map(|p| dim(of(p))).collect();
        let threads = side * side;
        Some((
            &PRODUCTS,
            Shape {
                groups: self.tiles * self.chunks,
                threads,
                shared: 2 * DEPTH * EACH * side,
                constants: Constants {
                    sizes: vec![
                        ("SIDE", dim(side)),
                        ("TILES", dim(self.tiles)),
                        ("CHUNKS", dim(self.chunks)),
                        ("TOTAL", dim(self.total)),
                    ],
                    reals: Vec::new(),
                    tables: vec![
                        ("TILE_PRODUCT", of_tile(0)),
                        ("TILE_OUT", of_tile(1)),
                        ("TILE_ROW", of_tile(2)),
                        ("KIND", self.all.iter().map(|p| p.kind).collect()),
                        ("OUTS", table(|p| p.outs)),
                        ("ROWS", table(|p| p.rows)),
                        ("RECORDS", table(|p| p.records)),
                        ("DELTA_AT", table(|p| p.delta_at)),
                        ("OPERAND_AT", table(|p| p.operand_at)),
                        ("PLACE", table(|p| p.place)),
                    ],
                },
            },
        ))
    }

    /// For each element of the vector of all parameters where its gradient lies in a part; -1 for none.
    pub(super) fn places(
        &self,
        layer: &CfcPlan,
        head: Option<&Head>,
        starts: &[usize],
        parameters: usize,
    ) -> Result<Vec<i32>, String> {
        let own = gradient_places(&layer.spec, &layer.network);
        let specs = layer.spec.parameters();
        let mut places = vec![-1; parameters];
        let mut end = self.total;
        if let Some(head) = head {
            let width = layer.spec.outputs();
            end = self.total - head.outputs * (width + 1);
            // The kernel's product has the bias as its last row; from MLX the sums come after the product.
            let row = if self.side.is_some() {
                width + 1
            } else {
                width
            };
            let bias = |o: usize| match self.side {
                Some(_) => o * row + width,
                None => head.outputs * width + o,
            };
            for o in 0..head.outputs {
                for r in 0..width {
                    places[head.weight + o * width + r] = dim(end + o * row + r);
                }
                if let Some(start) = head.bias {
                    places[start + o] = dim(end + bias(o));
                }
            }
        }
        let mut from = own.into_iter();
        for (spec, start) in specs.iter().zip(starts) {
            for place in &mut places[*start..start + spec.len()] {
                let found = from.next().ok_or("a parameter has no place")?;
                // One behind the last is the place of what does not exist.
                *place = if found == dim(end) { -1 } else { found };
            }
        }
        Ok(places)
    }
}
