//! Which weight lies where: among the parameters, in the kernels' order, and in the products that make gradients.

use super::cfc_layout::{Network, Product, Source};
use super::cfc_shape::Packed;
use crate::array::dim;
use crate::kernel::spec::{CellSpec, SequenceSpec};

/// Where arrays of these sizes begin that lie one behind the other, and the end.
fn starts(lengths: impl IntoIterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut end = 0;
    let starts = lengths
        .into_iter()
        .map(|length| {
            end += length;
            end - length
        })
        .collect();
    (starts, end)
}

/// Weights by block, output and input, for one network.
struct Weights<'a> {
    spec: &'a SequenceSpec,
    network: &'a Network,
}

impl Weights<'_> {
    /// Source, row and column of a weight; none where the wiring has no synapse. Column 0 is the first of x or of the layer
    /// before.
    fn place(
        &self,
        product: &Product,
        block: usize,
        n: usize,
        r: usize,
    ) -> Option<(usize, usize, usize)> {
        let own = &product.blocks[block];
        if let (CellSpec::Cfc(cfc), Some(layer)) = (&self.spec.cell, own.mask) {
            let mask = cfc.layers[layer].mask.as_ref();
            let at = n * (product.input + product.state) + r;
            if mask.is_some_and(|mask| mask[at] == 0.0) {
                return None;
            }
        }
        Some(match own.of_input {
            Some((source, row, column)) if r < product.input => (source, row + n, column + r),
            _ => {
                let (source, row, column) = own.of_state;
                (source, row + n, column + r - product.input)
            }
        })
    }

    fn columns(&self, source: usize) -> usize {
        self.network.shapes[source].get(1).copied().unwrap_or(1)
    }
}

/// For each packed weight its place among the sources, one behind the other, followed by a zero.
pub(super) fn packed_places(spec: &SequenceSpec, network: &Network, packed: &Packed) -> Vec<i32> {
    let weights = Weights { spec, network };
    let lengths: Vec<usize> = network.shapes.iter().map(|s| s.iter().product()).collect();
    let (start, nothing) = starts(lengths.iter().copied());
    let weight = |product: &Product, block: usize, n: usize, r: usize| {
        let place = weights.place(product, block, n, r);
        place.map_or(nothing, |(source, row, column)| {
            start[source] + row * weights.columns(source) + column
        })
    };
    let mut places = Vec::with_capacity(packed.len);
    for (product, begin) in network.products.iter().zip(&packed.forward) {
        places.resize(*begin, nothing);
        let all = product.input + product.state;
        for r in all - product.rows(network.is_x_inside)..all {
            for block in 0..product.blocks.len() {
                places.extend((0..product.width).map(|n| weight(product, block, n, r)));
            }
        }
    }
    for (product, begin) in network.products.iter().zip(&packed.biases) {
        places.resize(*begin, nothing);
        for block in &product.blocks {
            let (source, first) = block.bias;
            places.extend((0..product.width).map(|n| start[source] + first + n));
        }
    }
    for (product, begin) in network.products.iter().zip(&packed.backward) {
        places.resize(*begin, nothing);
        let all = product.input + product.state;
        for block in 0..product.blocks.len() {
            for n in 0..product.width {
                places.extend((all - product.back()..all).map(|r| weight(product, block, n, r)));
            }
        }
    }
    places.resize(packed.decay, nothing);
    for pick in [
        |pair: &(usize, usize)| pair.0,
        |pair: &(usize, usize)| pair.1,
    ] {
        for pair in &network.decay {
            let source = pick(pair);
            places.extend(start[source]..start[source] + lengths[source]);
        }
    }
    places.resize(packed.len, nothing);
    places.into_iter().map(dim).collect()
}

/// For each element of the parameters, one behind the other, where its gradient lies in what [`super::cfc_gradients`] joins:
/// for each product `[outputs, rows + 1]`, then `[outputs, F]` for those by an x outside the kernel, then the decay of mode
/// `pure`, then a zero.
pub(super) fn gradient_places(spec: &SequenceSpec, network: &Network) -> Vec<i32> {
    let weights = Weights { spec, network };
    let inside = network.is_x_inside;
    let sizes = spec.parameters();
    let (parameter_start, parameters) =
        starts(sizes.iter().map(super::super::spec::ParameterSpec::len));
    let products = &network.products;
    let is_outside = |product: &Product| product.takes_x && !inside;
    let mut lengths: Vec<usize> = products
        .iter()
        .map(|p| p.outputs() * (p.rows(inside) + 1))
        .collect();
    lengths.extend(products.iter().map(|p| {
        if is_outside(p) {
            p.outputs() * p.input
        } else {
            0
        }
    }));
    let units: usize = network.layers.iter().sum();
    lengths.push(if network.decay.is_empty() {
        0
    } else {
        2 * units
    });
    let (start, nothing) = starts(lengths);
    let mut places = vec![nothing; parameters];
    let mut set = |source: usize, element: usize, place: usize| match network.sources[source] {
        Source::Parameter(index) => places[parameter_start[index] + element] = place,
        Source::Gate { slope, offset } => {
            places[parameter_start[slope] + element] = place;
            places[parameter_start[offset] + element] = place;
        }
    };
    for (p, product) in products.iter().enumerate() {
        let all = product.input + product.state;
        let rows = product.rows(inside);
        for (block, own) in product.blocks.iter().enumerate() {
            for n in 0..product.width {
                let o = block * product.width + n;
                for r in 0..all {
                    let Some((source, row, column)) = weights.place(product, block, n, r) else {
                        continue;
                    };
                    let place = match r.checked_sub(all - rows) {
                        Some(r) => start[p] + o * (rows + 1) + r,
                        None => start[products.len() + p] + o * product.input + r,
                    };
                    set(source, row * weights.columns(source) + column, place);
                }
                let (source, first) = own.bias;
                set(source, first + n, start[p] + o * (rows + 1) + rows);
            }
        }
    }
    let mut first = start[2 * products.len()];
    for (pair, count) in network.decay.iter().zip(&network.layers) {
        for k in 0..*count {
            set(pair.0, k, first + k);
            set(pair.1, k, first + units + k);
        }
        first += count;
    }
    places.into_iter().map(dim).collect()
}

/// The same as [`packed_places`] in the vector of all parameters, where parameter `i` begins at `parameters[i]`: places of
/// weights, and of what is added to them; -1 stands for none.
pub(super) fn flat_places(
    spec: &SequenceSpec,
    network: &Network,
    packed: &Packed,
    parameters: &[usize],
) -> [Vec<i32>; 2] {
    let mut pairs: Vec<[i32; 2]> = Vec::new();
    for (source, shape) in network.sources.iter().zip(&network.shapes) {
        pairs.extend((0..shape.iter().product()).map(|at| match *source {
            Source::Parameter(index) => [dim(parameters[index] + at), -1],
            Source::Gate { slope, offset } => {
                [dim(parameters[offset] + at), dim(parameters[slope] + at)]
            }
        }));
    }
    pairs.push([-1; 2]);
    let places = packed_places(spec, network, packed);
    [0, 1].map(|which| {
        let of = |place: &i32| pairs[*place as usize][which];
        places.iter().map(of).collect()
    })
}
