//! The ways that synapses take between neurons: curves that start and end on the rims.

use super::Edge;
use super::scene::Point;
use std::collections::BTreeMap;

/// Where the neurons stand.
pub(super) struct Place {
    /// Centre of each neuron.
    pub(super) positions: Vec<Point>,
    /// Radius of all neurons.
    pub(super) radius: f64,
    /// How far arcs may reach into the space to the right of their column.
    pub(super) room: f64,
}

/// The curve of each synapse, in the order of the edges.
pub(super) fn routes(edges: &[Edge], place: &Place) -> Vec<Vec<Point>> {
    let ports = ports(edges, place);
    edges
        .iter()
        .zip(ports)
        .map(|(edge, ports)| path(edge, ports, place))
        .collect()
}

/// Places on the rims of the neurons where a synapse leaves and arrives.
#[derive(Clone, Copy, Default)]
struct Ports {
    start: f64,
    end: f64,
}

/// One end of a synapse at the rim of a neuron.
struct Port {
    order: f64,
    edge: usize,
    is_end: bool,
}

/// Spreads the synapses of each neuron over its rim, so that their ends do not cover each other and
/// neighbours go to neighbours. Angles are from the horizontal, downwards.
fn ports(edges: &[Edge], place: &Place) -> Vec<Ports> {
    const WIDEST: f64 = 55.0;
    const STEP: f64 = 22.0;
    // Keys are a neuron and whether it is its right side.
    let mut sides: BTreeMap<(usize, bool), Vec<Port>> = BTreeMap::new();
    for (n, edge) in edges
        .iter()
        .enumerate()
        .filter(|(_, e)| e.source != e.target)
    {
        let at = |node: usize| place.positions[node];
        for (node, other, is_end) in [
            (edge.source, edge.target, false),
            (edge.target, edge.source, true),
        ] {
            let (dx, dy) = (at(other).0 - at(node).0, at(other).1 - at(node).1);
            let is_right = dx > -1.0;
            let port = Port {
                order: order(dx, dy),
                edge: n,
                is_end,
            };
            sides.entry((node, is_right)).or_default().push(port);
        }
    }
    let mut ports = vec![Ports::default(); edges.len()];
    for list in sides.values_mut() {
        list.sort_by(|a, b| a.order.total_cmp(&b.order));
        let gaps = list.len().saturating_sub(1) as f64;
        let step = if gaps > 0.0 {
            STEP.min(2.0 * WIDEST / gaps)
        } else {
            0.0
        };
        for (n, &Port { edge, is_end, .. }) in list.iter().enumerate() {
            let angle = (n as f64 - gaps / 2.0) * step;
            let port = &mut ports[edge];
            *(if is_end {
                &mut port.end
            } else {
                &mut port.start
            }) = angle.to_radians();
        }
    }
    ports
}

/// Order of synapses around one side of a neuron, from the top. Those within the column stay
/// outermost, the short ones first, so that arcs nest instead of crossing.
fn order(dx: f64, dy: f64) -> f64 {
    const BEYOND: f64 = 1e4;
    if dx.abs() >= 1.0 {
        dy.atan2(dx.abs()).to_degrees()
    } else if dy < 0.0 {
        -BEYOND - dy
    } else {
        BEYOND - dy
    }
}

/// The way of a synapse, from rim to rim.
fn path(edge: &Edge, ports: Ports, place: &Place) -> Vec<Point> {
    let (from, to) = (place.positions[edge.source], place.positions[edge.target]);
    let radius = place.radius;
    if edge.source == edge.target {
        return own_loop(from, radius);
    }
    let dx = to.0 - from.0;
    let rim = |(x, y): Point, side: f64, angle: f64, distance: f64| {
        (
            x + side * distance * angle.cos(),
            y + distance * angle.sin(),
        )
    };
    if dx.abs() < 1.0 {
        // Within a column: leave and arrive on the right, and bulge with the length.
        let start = rim(from, 1.0, ports.start, radius);
        let end = rim(to, 1.0, ports.end, radius + 2.0);
        let bulge = bulge((end.1 - start.1).abs(), place.room);
        return cubic([
            start,
            (start.0 + bulge, start.1),
            (end.0 + bulge, end.1),
            end,
        ]);
    }
    let side = dx.signum();
    let start = rim(from, side, ports.start, radius);
    let end = rim(to, -side, ports.end, radius + 2.0);
    let reach = (dx.abs() * 0.38).min(160.0);
    let lean = |angle: f64| reach * 0.35 * angle.sin();
    let bend = (start.0 + side * reach, start.1 + lean(ports.start));
    let arrive = (end.0 - side * reach, end.1 + lean(ports.end));
    cubic([start, bend, arrive, end])
}

/// Grows with the length of an arc and levels off before the next column.
fn bulge(length: f64, room: f64) -> f64 {
    14.0 + room * (1.0 - (-0.45 * length / room).exp())
}

/// A loop above the neuron, arriving from above.
fn own_loop((x, y): Point, radius: f64) -> Vec<Point> {
    let start = (x - radius * 0.75, y - radius * 0.7);
    let end = (x + radius * 0.75, y - radius * 0.75);
    let height = radius * 2.1;
    cubic([
        start,
        (x - radius * 1.5, y - height),
        (x + radius * 1.5, y - height),
        end,
    ])
}

/// Points of a cubic Bezier curve.
fn cubic([a, b, c, d]: [Point; 4]) -> Vec<Point> {
    let span = |p: Point, q: Point| (q.0 - p.0).hypot(q.1 - p.1);
    let steps = ((span(a, b) + span(b, c) + span(c, d)) / 16.0)
        .clamp(10.0, 40.0)
        .round();
    let at = |n: usize| {
        let t = n as f64 / steps;
        let s = 1.0 - t;
        let weights = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
        let mix = |p: [f64; 4]| weights.iter().zip(p).map(|(w, v)| w * v).sum::<f64>();
        (mix([a.0, b.0, c.0, d.0]), mix([a.1, b.1, c.1, d.1]))
    };
    (0..=steps as usize).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let positions = vec![(0.0, 0.0), (0.0, 100.0), (200.0, 0.0), (200.0, 100.0)];
        Place {
            positions,
            radius: 10.0,
            room: 100.0,
        }
    }

    fn edge(source: usize, target: usize) -> Edge {
        Edge {
            source,
            target,
            polarity: 1,
        }
    }

    fn distance(a: Point, b: Point) -> f64 {
        (a.0 - b.0).hypot(a.1 - b.1)
    }

    #[test]
    fn every_way_starts_and_ends_at_its_neurons() {
        let place = place();
        let all: Vec<Edge> = (0..16).map(|n| edge(n / 4, n % 4)).collect();
        for (edge, way) in all.iter().zip(routes(&all, &place)) {
            let start = distance(way[0], place.positions[edge.source]);
            let end = distance(way[way.len() - 1], place.positions[edge.target]);
            assert!(
                (9.0..12.5).contains(&start) && (9.0..12.5).contains(&end),
                "{edge:?}"
            );
        }
    }

    #[test]
    fn synapses_of_one_neuron_do_not_share_a_place_and_do_not_cross_at_once() {
        let edges = [edge(0, 3), edge(0, 2), edge(0, 1)];
        let ways = routes(&edges, &place());
        let starts: Vec<f64> = ways.iter().map(|way| way[0].1).collect();
        // From the top: straight across, down across, down within the column.
        assert!(starts[1] < starts[0] && starts[0] < starts[2], "{starts:?}");
    }

    #[test]
    fn longer_arcs_reach_farther_but_stay_in_their_room() {
        assert!(bulge(50.0, 100.0) < bulge(300.0, 100.0));
        assert!(bulge(1e6, 100.0) <= 114.0);
    }
}
