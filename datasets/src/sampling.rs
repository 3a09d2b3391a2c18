//! Which windows an epoch draws: each once, or classes alike.

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::window::WindowSet;

/// How an epoch draws its training windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each window once.
    #[default]
    Uniform,
    /// As many windows as there are, each class equally often: a window counts for the class of its last step, rare ones come again.
    Balanced,
}

/// The windows of each class that has some.
#[derive(Debug, Clone)]
pub(crate) struct Classes(Vec<Vec<u32>>);

impl Classes {
    /// `None` for a regression, or where there is one class only.
    pub(crate) fn of(set: &WindowSet) -> Option<Self> {
        let mut classes = vec![Vec::new(); set.layout().classes?];
        let mut index = 0u32;
        let visited = set.each(|placed| {
            let label = placed.target_rows().last().map(|target| target[0]);
            if let Some(label) = label.filter(|label| !label.is_nan())
                && let Some(class) = classes.get_mut(label as usize)
            {
                class.push(index);
            }
            index += 1;
        });
        visited.ok()?;
        classes.retain(|class| !class.is_empty());
        (classes.len() > 1).then_some(Self(classes))
    }

    /// Fills an epoch's order: classes in turn, each class's windows in a random order over and over, then all shuffled.
    pub(crate) fn arrange(&self, order: &mut [u32], seed: u64, epoch: u64) {
        let mut random = Random::new(seed, epoch);
        let mut classes = self.0.clone();
        classes.iter_mut().for_each(|class| random.shuffle(class));
        for (place, slot) in order.iter_mut().enumerate() {
            let class = &classes[place % classes.len()];
            *slot = class[place / classes.len() % class.len()];
        }
        random.shuffle(order);
    }
}
