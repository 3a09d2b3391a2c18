//! A wiring as columns of neurons, from the sensory inputs to the motor outputs.

use super::routes::{Place, routes};
use super::scene::{Anchor, Color, Point, Scene, Stroke, TextStyle, fitted, text_width};
use super::{BLUE, Figure, INK, MUTED, RED};
use crate::{Error, Result};

const WIDTH: f64 = 960.0;
const HEADER: f64 = 104.0;
const FOOTER: f64 = 64.0;
const LABEL_SIZE: f64 = 14.0;
const LONGEST_LABEL: f64 = 150.0;
/// Above this many synapses their ends are left out: they would cover the neurons.
const MOST_MARKED: usize = 700;

/// Role of a neuron, which is its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// Input feature.
    Sensory,
    /// Inter neuron.
    Inter,
    /// Command neuron.
    Command,
    /// Output neuron.
    Motor,
}

/// One neuron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Number, or the name of a feature.
    pub label: String,
    /// Role.
    pub kind: NodeKind,
}

/// One synapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Position of the sending neuron in the list of nodes.
    pub source: usize,
    /// Position of the receiving neuron in the list of nodes.
    pub target: usize,
    /// Positive: excitatory; negative: inhibitory.
    pub polarity: i8,
}

/// A wiring to draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WiringGraph {
    /// Name of the wiring.
    pub title: String,
    /// Neurons, sensory ones included; drawn in this order from the top of their column.
    pub nodes: Vec<Node>,
    /// Synapses.
    pub edges: Vec<Edge>,
}

impl NodeKind {
    const ALL: [Self; 4] = [Self::Sensory, Self::Inter, Self::Command, Self::Motor];

    fn name(self) -> &'static str {
        match self {
            Self::Sensory => "Sensory",
            Self::Inter => "Inter",
            Self::Command => "Command",
            Self::Motor => "Motor",
        }
    }

    fn colors(self) -> (Color, Color) {
        match self {
            Self::Sensory => (Color(0xe3, 0xe7, 0xec), Color(0x6b, 0x77, 0x85)),
            Self::Inter => (Color(0xfb, 0xe3, 0xa4), Color(0xb4, 0x7d, 0x05)),
            Self::Command => (Color(0xd9, 0xd2, 0xef), Color(0x63, 0x4f, 0xa6)),
            Self::Motor => (Color(0xbf, 0xe3, 0xd3), Color(0x1b, 0x7f, 0x5c)),
        }
    }
}

/// Where each neuron stands, and the headings above.
struct Layout {
    place: Place,
    columns: Vec<Column>,
    height: f64,
}

struct Column {
    kind: NodeKind,
    members: Vec<usize>,
    x: f64,
}

impl WiringGraph {
    fn check(&self) -> Result<()> {
        if self.nodes.is_empty() {
            return Err(Error::NothingToDraw {
                figure: "wiring",
                missing: "there is no neuron",
            });
        }
        let neurons = self.nodes.len();
        match self
            .edges
            .iter()
            .position(|e| e.source.max(e.target) >= neurons)
        {
            Some(edge) => {
                let Edge {
                    source: from,
                    target: to,
                    ..
                } = self.edges[edge];
                Err(Error::EdgeOutOfRange {
                    edge,
                    from,
                    to,
                    neurons,
                })
            }
            None => Ok(()),
        }
    }

    fn layout(&self) -> Layout {
        let members = |kind| (0..self.nodes.len()).filter(move |&n| self.nodes[n].kind == kind);
        let mut columns: Vec<Column> = NodeKind::ALL
            .into_iter()
            .map(|kind| Column {
                kind,
                members: members(kind).collect(),
                x: 0.0,
            })
            .filter(|column| !column.members.is_empty())
            .collect();
        let tallest = columns.iter().map(|c| c.members.len()).max().unwrap_or(1);
        let spacing = (620.0 / tallest as f64).clamp(9.0, 58.0);
        let height = (spacing * tallest as f64).max(300.0);

        let (left, right) = (60.0 + self.outer_label(NodeKind::Sensory), WIDTH - 70.0);
        let right = right - self.outer_label(NodeKind::Motor);
        let gaps = columns.len().saturating_sub(1).max(1) as f64;
        let only = columns.len() == 1;
        let mut positions = vec![(0.0, 0.0); self.nodes.len()];
        for (n, column) in columns.iter_mut().enumerate() {
            let share = if only { 0.5 } else { n as f64 / gaps };
            column.x = left + (right - left) * share;
            // Short columns spread out, but not over the whole height.
            let count = column.members.len() as f64;
            let step = (height / count).min(spacing * 1.9);
            let top = HEADER + (height - step * (count - 1.0)) / 2.0;
            for (row, &node) in column.members.iter().enumerate() {
                positions[node] = (column.x, top + step * row as f64);
            }
        }
        let gap = if only {
            WIDTH / 2.0
        } else {
            (right - left) / gaps
        };
        let room = (gap * 0.7).min(220.0);
        let radius = (spacing * 0.38).clamp(3.0, 13.0);
        Layout {
            place: Place {
                positions,
                radius,
                room,
            },
            columns,
            height,
        }
    }

    /// Room for labels that stand beside the first or the last column.
    fn outer_label(&self, kind: NodeKind) -> f64 {
        let outer = self.nodes.iter().filter(|n| n.kind == kind);
        let width = |node: &Node| text_width(&node.label, LABEL_SIZE, false).min(LONGEST_LABEL);
        outer.map(width).fold(0.0, f64::max)
    }

    fn look(&self) -> (f64, f64) {
        // Dense wirings are drawn thin and faint, so that their structure still shows.
        let crowd = (140.0 / self.edges.len().max(1) as f64).sqrt();
        (
            (0.85 * crowd).clamp(0.06, 0.85),
            (1.5 * crowd).clamp(0.6, 1.5),
        )
    }

    fn draw_edges(&self, scene: &mut Scene, layout: &Layout) {
        let (alpha, width) = self.look();
        for (edge, path) in self.edges.iter().zip(routes(&self.edges, &layout.place)) {
            let color = polarity_color(edge.polarity);
            scene.polyline(path.clone(), Stroke::new(color, width).faded(alpha));
            if self.edges.len() <= MOST_MARKED {
                let size = (layout.place.radius * 0.5).clamp(2.5, 5.0);
                mark_end(scene, &path, edge.polarity, size, alpha.max(0.6));
            }
        }
    }

    fn draw_nodes(&self, scene: &mut Scene, layout: &Layout) {
        for (node, &at) in self.nodes.iter().zip(&layout.place.positions) {
            let (fill, rim) = node.kind.colors();
            scene.circle(at, layout.place.radius, fill, rim);
            let readable = layout.place.radius >= 6.5;
            let beside = TextStyle::new(LABEL_SIZE, INK);
            let gap = layout.place.radius + 6.0;
            let label = fitted(&node.label, LABEL_SIZE, LONGEST_LABEL);
            match node.kind {
                NodeKind::Sensory if readable => {
                    scene.text((at.0 - gap, at.1), &label, beside.anchored(Anchor::End));
                }
                NodeKind::Motor if readable => {
                    scene.text((at.0 + gap, at.1), &label, beside);
                }
                _ => inside(scene, at, &node.label, layout.place.radius),
            }
        }
    }

    fn draw_headings(&self, scene: &mut Scene, layout: &Layout) {
        for column in &layout.columns {
            let (_, rim) = column.kind.colors();
            let heading = TextStyle::new(16.0, rim).bold().anchored(Anchor::Middle);
            scene.text((column.x, 68.0), column.kind.name(), heading);
            let count = TextStyle::new(14.0, MUTED).anchored(Anchor::Middle);
            scene.text((column.x, 87.0), &column.members.len().to_string(), count);
        }
    }

    fn draw_legend(&self, scene: &mut Scene, y: f64) {
        let count =
            |wanted: fn(i8) -> bool| self.edges.iter().filter(|e| wanted(e.polarity)).count();
        let entries = [
            (
                1,
                format!("excitatory (+1): {} synapses", count(|p| p >= 0)),
            ),
            (
                -1,
                format!("inhibitory (−1): {} synapses", count(|p| p < 0)),
            ),
        ];
        let widths = entries
            .iter()
            .map(|(_, text)| text_width(text, 15.0, false) + 60.0);
        let mut x = (WIDTH - widths.sum::<f64>() - 24.0) / 2.0;
        for (polarity, text) in &entries {
            let path = [(x, y), (x + 20.0, y), (x + 40.0, y)];
            scene.line(
                path[0],
                path[2],
                Stroke::new(polarity_color(*polarity), 2.0),
            );
            mark_end(scene, &path, *polarity, 5.0, 1.0);
            scene.text((x + 50.0, y), text, TextStyle::new(15.0, INK));
            x += text_width(text, 15.0, false) + 84.0;
        }
    }
}

impl Figure for WiringGraph {
    fn scene(&self) -> Result<Scene> {
        self.check()?;
        let layout = self.layout();
        let height = HEADER + layout.height + FOOTER;
        let (nodes, edges) = (self.nodes.len(), self.edges.len());
        let description = format!("Wiring {}: {nodes} neurons, {edges} synapses", self.title);
        let mut scene = Scene::new(WIDTH as u32, height.ceil() as u32, &description);
        scene.text((24.0, 30.0), &self.title, TextStyle::new(20.0, INK).bold());
        self.draw_edges(&mut scene, &layout);
        self.draw_nodes(&mut scene, &layout);
        self.draw_headings(&mut scene, &layout);
        self.draw_legend(&mut scene, height - 30.0);
        Ok(scene)
    }
}

fn polarity_color(polarity: i8) -> Color {
    if polarity < 0 { RED } else { BLUE }
}

/// A number inside a neuron, if it is large enough to be read.
fn inside(scene: &mut Scene, at: Point, label: &str, radius: f64) {
    let size = radius * 1.15;
    if size >= 8.0 && text_width(label, size, false) <= radius * 1.8 {
        scene.text(
            at,
            label,
            TextStyle::new(size, INK).anchored(Anchor::Middle),
        );
    }
}

/// An arrowhead for excitation, a bar for inhibition, as biologists draw them.
fn mark_end(scene: &mut Scene, path: &[Point], polarity: i8, size: f64, alpha: f64) {
    let [.., before, end] = path else { return };
    let (dx, dy) = (end.0 - before.0, end.1 - before.1);
    let length = dx.hypot(dy);
    if length <= 0.0 {
        return;
    }
    let (ux, uy) = (dx / length, dy / length);
    let beside = |along: f64, across: f64| {
        (
            end.0 - ux * along - uy * across,
            end.1 - uy * along + ux * across,
        )
    };
    let color = polarity_color(polarity);
    if polarity < 0 {
        let stroke = Stroke::new(color, (size * 0.5).max(1.4)).faded(alpha);
        scene.line(beside(0.5, -size), beside(0.5, size), stroke);
    } else {
        let head = vec![
            *end,
            beside(size * 1.7, size * 0.8),
            beside(size * 1.7, -size * 0.8),
        ];
        scene.polygon(head, color, alpha);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::scene::Shape;

    fn graph(counts: [usize; 4]) -> WiringGraph {
        let mut nodes = Vec::new();
        for (kind, count) in NodeKind::ALL.into_iter().zip(counts) {
            nodes.extend((0..count).map(|n| Node {
                label: n.to_string(),
                kind,
            }));
        }
        WiringGraph {
            title: "test".into(),
            nodes,
            edges: vec![],
        }
    }

    fn circles(scene: &Scene) -> Vec<(Point, f64)> {
        let circle = |shape: &Shape| match shape {
            Shape::Circle { center, radius, .. } => Some((*center, *radius)),
            _ => None,
        };
        scene.shapes.iter().filter_map(circle).collect()
    }

    #[test]
    fn neurons_stand_apart_and_inside_the_figure() {
        for counts in [[8, 12, 12, 4], [1, 0, 0, 1], [0, 0, 0, 3], [64, 40, 20, 64]] {
            let scene = graph(counts).scene().unwrap();
            let drawn = circles(&scene);
            assert_eq!(drawn.len(), counts.iter().sum::<usize>());
            for (n, &(a, radius)) in drawn.iter().enumerate() {
                let (width, height) = (f64::from(scene.width), f64::from(scene.height));
                assert!(a.0 - radius > 0.0 && a.0 + radius < width, "{a:?}");
                assert!(
                    a.1 - radius > HEADER * 0.9 && a.1 + radius < height,
                    "{a:?}"
                );
                for &(b, _) in &drawn[n + 1..] {
                    assert!(
                        (a.0 - b.0).hypot(a.1 - b.1) > 2.0 * radius,
                        "{counts:?} {a:?} {b:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn polarity_decides_colour_and_end() {
        let mut wiring = graph([1, 0, 0, 1]);
        for (polarity, color) in [(1, BLUE), (-1, RED)] {
            wiring.edges = vec![Edge {
                source: 0,
                target: 1,
                polarity,
            }];
            let scene = wiring.scene().unwrap();
            let first =
                |s: &&Shape| matches!(s, Shape::Polyline { points, .. } if points.len() > 9);
            let Some(Shape::Polyline { points, stroke }) = scene.shapes.iter().find(first) else {
                panic!("the synapse is not drawn");
            };
            assert_eq!(stroke.color, color);
            assert!(
                points[0].0 < points[20].0,
                "it should run from left to right"
            );
            let text = wiring.svg().unwrap();
            let (plus, minus) = if polarity > 0 { (1, 0) } else { (0, 1) };
            assert!(text.contains(&format!("excitatory (+1): {plus} synapses")));
            assert!(text.contains(&format!("inhibitory (−1): {minus} synapses")));
        }
    }

    #[test]
    fn loops_and_synapses_within_a_column_can_be_drawn() {
        let mut wiring = graph([0, 0, 3, 0]);
        let edge = |source, target| Edge {
            source,
            target,
            polarity: 1,
        };
        wiring.edges = vec![edge(0, 0), edge(0, 2), edge(2, 0), edge(1, 0)];
        assert!(wiring.png().unwrap().len() > 1000);
    }

    #[test]
    fn a_wiring_that_is_not_one_is_refused() {
        let mut wiring = graph([1, 0, 0, 1]);
        wiring.edges = vec![Edge {
            source: 0,
            target: 2,
            polarity: 1,
        }];
        let message = wiring.scene().unwrap_err().to_string();
        assert!(
            message.contains("joins neurons 0 and 2, but there are only 2"),
            "{message}"
        );
        assert!(matches!(
            graph([0; 4]).scene(),
            Err(Error::NothingToDraw { .. })
        ));
    }
}
