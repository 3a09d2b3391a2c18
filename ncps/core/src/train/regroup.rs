//! A run that goes on in smaller batches, of which more make an update: the same samples in each update, in the same order.

use super::config::{TrainConfig, setting};
use super::progress::{Place, Progress};
use crate::Result;

/// What a run was before its batches became smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Regrouped {
    /// Batches that take the place of one.
    pub(super) factor: usize,
    /// Batches that an epoch had.
    pub(super) steps_per_epoch: usize,
}

/// How many batches take the place of one, where each update is of as many samples as before. A state that is carried makes the
/// batch part of what is computed: each of its places is a series.
pub(super) fn factor(saved: &TrainConfig, given: &TrainConfig) -> Option<usize> {
    let factor = saved.batch_size.checked_div(given.batch_size)?;
    let is_whole = given.batch_size.checked_mul(factor) == Some(saved.batch_size);
    let is_same = saved.accumulate.checked_mul(factor) == Some(given.accumulate);
    (factor > 1 && is_whole && is_same && !given.stateful).then_some(factor)
}

impl Progress {
    /// Counts the epoch under way in batches of which `factor` take the place of one. Batches seen since the run began stay as they
    /// are: they name checkpoints and rows.
    pub(super) fn regroup(&mut self, factor: usize) -> Regrouped {
        let before = Regrouped {
            factor,
            steps_per_epoch: self.steps_per_epoch,
        };
        self.step_in_epoch *= factor;
        self.waiting *= factor;
        self.steps_per_epoch = 0;
        before
    }
}

impl Place {
    /// As [`Progress::regroup`].
    pub(super) fn regroup(&mut self, factor: usize) {
        self.step_in_epoch *= factor;
        self.waiting *= factor;
    }
}

impl Regrouped {
    /// Whether epochs of `steps` batches can have the updates that they had: not where each length has batches of its own.
    pub(super) fn check(self, steps: usize) -> Result<()> {
        if steps.div_ceil(self.factor) == self.steps_per_epoch {
            return Ok(());
        }
        Err(setting(
            "batch_size",
            format!("{} times smaller than when the run began", self.factor),
            format!(
                "data whose {} batches an epoch become up to {}, and they become {steps}: the run goes on with the old size only",
                self.steps_per_epoch,
                self.steps_per_epoch * self.factor
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::testing::{Tiny, Waves};
    use crate::train::{Observer, Outcome, StepReport, Trainer};
    use crate::{Error, checkpoint};

    /// Stops after some batches.
    struct Stop(Option<usize>, usize);

    impl Observer for Stop {
        fn on_step(&mut self, _: &StepReport) {
            self.1 += 1;
        }
        fn should_stop(&mut self) -> bool {
            self.0.is_some_and(|after| self.1 >= after)
        }
    }

    fn trainer(batch: usize, accumulate: usize) -> Trainer<Tiny> {
        let mut config = config(batch, accumulate);
        (config.epochs, config.learning_rate) = (3, 0.02);
        config.on_nonfinite = crate::train::OnNonfinite::Rollback;
        Trainer::new(Tiny::new(1), config, 3).unwrap()
    }

    #[test]
    fn a_run_that_goes_on_in_smaller_batches_ends_at_the_same_weights() {
        // 18 samples: 3 batches of 8 an epoch, in pairs and one alone, stopped at each of their places.
        for (stop, samples) in [1, 2, 3, 4]
            .map(|stop| (stop, 18))
            .into_iter()
            .chain([(2, 24)])
        {
            let folder = tempfile::tempdir().unwrap();
            let mut whole = trainer(8, 2);
            whole
                .fit(&mut Waves::new(8, samples), None, &mut ())
                .unwrap();
            let mut begun = trainer(8, 2);
            begun.checkpoint_to(folder.path());
            let ended = begun.fit(&mut Waves::new(8, samples), None, &mut Stop(Some(stop), 0));
            assert_eq!(ended.unwrap().outcome, Outcome::Interrupted);
            let mut small = trainer(2, 8);
            small.checkpoint_to(folder.path());
            let resumed = small.resume().unwrap().unwrap();
            assert_eq!((resumed.regrouped, resumed.exact), (4, false));
            let ended = small
                .fit(&mut Waves::new(2, samples), None, &mut ())
                .unwrap();
            assert_eq!(ended.updates, 6);
            let values = [small.model().values(), whole.model().values()];
            let pairs = values[0].iter().zip(&values[1]);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "stopped after {stop}: {worst}");
            // And from there on exactly: nothing is regrouped twice.
            let mut again = trainer(2, 8);
            again.checkpoint_to(folder.path());
            assert_eq!(again.resume().unwrap().unwrap().regrouped, 1);
        }
    }

    #[test]
    fn other_batches_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut begun = trainer(8, 1);
        begun.checkpoint_to(folder.path());
        begun
            .fit(&mut Waves::new(8, 18), None, &mut Stop(Some(1), 0))
            .unwrap();
        assert_eq!(checkpoint::list(folder.path()).unwrap().len(), 1);
        for (batch, accumulate) in [(4, 1), (16, 1), (2, 3)] {
            let mut other = trainer(batch, accumulate);
            other.checkpoint_to(folder.path());
            let refused = other.resume();
            assert!(
                matches!(refused, Err(Error::ResumeMismatch { .. })),
                "{batch}"
            );
        }
        // Thirteen batches of 2 cannot come from three of 8.
        let mut other = trainer(2, 4);
        other.checkpoint_to(folder.path());
        other.resume().unwrap();
        let refused = other.fit(&mut Waves::new(2, 26), None, &mut ());
        assert!(matches!(refused, Err(Error::Setting { .. })));
    }

    fn config(batch_size: usize, accumulate: usize) -> TrainConfig {
        TrainConfig {
            batch_size,
            accumulate,
            ..TrainConfig::default()
        }
    }

    #[test]
    fn only_smaller_batches_with_as_many_samples_an_update_count() {
        let of = |saved: (usize, usize), given: (usize, usize)| {
            factor(&config(saved.0, saved.1), &config(given.0, given.1))
        };
        assert_eq!(of((64, 1), (32, 2)), Some(2));
        assert_eq!(of((64, 3), (16, 12)), Some(4));
        for (saved, given) in [
            ((64, 1), (64, 1)),
            ((64, 1), (32, 1)),
            ((32, 2), (64, 1)),
            ((63, 1), (32, 2)),
            ((64, 1), (0, 2)),
        ] {
            assert_eq!(of(saved, given), None, "{saved:?} {given:?}");
        }
        let mut carried = config(32, 2);
        carried.stateful = true;
        assert_eq!(factor(&config(64, 1), &carried), None);
    }

    #[test]
    fn an_epoch_keeps_its_updates() {
        // 18 samples in batches of 4 are 5, in batches of 2 they are 9; 17 are 5 and 9 too, 16 are 4 and 8.
        let before = Regrouped {
            factor: 2,
            steps_per_epoch: 5,
        };
        assert!(before.check(9).is_ok() && before.check(10).is_ok());
        assert!(before.check(8).is_err() && before.check(11).is_err());
    }
}
