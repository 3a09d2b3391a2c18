//! Where a rollback leads to: the start of an epoch, also for a run that is taken up again in the middle of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Model;
use super::carried::Carried;
use super::config::OnNonfinite;
use super::flat::host;
use super::progress::Place;
use super::trainer::{Arrays, Trainer, vector};
use crate::Result;
use crate::checkpoint::Tensor;

const PARAMETERS: &str = "anchor.parameters.";

/// A state that a rollback leads to; the arrays are shared, not copied.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) arrays: Arrays,
    pub(super) at: At,
}

/// The part of it that is no array.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct At {
    pub(super) place: Place,
    /// Loss times weight, and weight, of the epoch so far.
    pub(super) loss: f64,
    pub(super) weight: f64,
}

fn slot_prefix(name: &str) -> String {
    format!("anchor.{name}.")
}

impl<M: Model + 'static> Trainer<M> {
    /// Notes the state that a rollback of this epoch leads to, unless the epoch has one already.
    pub(super) fn drop_anchor(&mut self) {
        let progress = &self.progress;
        let is_known = |anchor: &Anchor| anchor.at.place.is_same_epoch(progress);
        if progress.step_in_epoch > 0 && self.anchor.as_ref().is_some_and(is_known) {
            return;
        }
        self.anchor = Some(Anchor {
            arrays: self.arrays.clone(),
            at: At {
                place: progress.place(),
                loss: progress.loss,
                weight: progress.weight,
            },
        });
    }

    /// What a checkpoint in the middle of an epoch keeps for a rollback: where to, and its arrays.
    pub(super) fn saved_anchor(&self) -> Result<Option<(At, Vec<Tensor>)>> {
        let is_wanted = self.shared.config.on_nonfinite == OnNonfinite::Rollback;
        let is_elsewhere = |anchor: &&Anchor| {
            anchor.at.place.is_same_epoch(&self.progress)
                && anchor.at.place.step != self.progress.step
                && anchor.arrays.waiting.is_none()
        };
        let Some(anchor) = self
            .anchor
            .as_ref()
            .filter(|_| is_wanted)
            .filter(is_elsewhere)
        else {
            return Ok(None);
        };
        let layout = &self.shared.layout;
        let mut tensors = layout.tensors(PARAMETERS, &host(&anchor.arrays.parameters)?);
        let names = self.shared.config.optimizer.slots();
        for (name, slot) in names.iter().zip(&anchor.arrays.slots) {
            tensors.extend(layout.tensors(&slot_prefix(name), &host(slot)?));
        }
        Ok(Some((anchor.at, tensors)))
    }

    /// Takes up an anchor again.
    pub(super) fn restored_anchor(
        &self,
        at: At,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<Anchor, String> {
        let find = |prefix: &str| {
            let flat = self.shared.layout.find_tensors(prefix, tensors);
            flat.map(|flat| vector(&flat))
        };
        let slots = self.shared.config.optimizer.slots();
        let slots: Result<Vec<_>, String> =
            slots.iter().map(|name| find(&slot_prefix(name))).collect();
        Ok(Anchor {
            arrays: Arrays {
                parameters: find(PARAMETERS)?,
                slots: slots?,
                waiting: None,
                // An epoch's first batch begins at rest.
                carried: Carried::default(),
            },
            at,
        })
    }
}
