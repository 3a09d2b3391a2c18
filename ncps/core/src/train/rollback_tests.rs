//! Rollbacks of runs that were stopped since the state that they go back to.

use super::*;
use crate::train::{Batch, BatchSource};

/// Sequences one of whose targets is not a number when it is first looked at.
struct Poisoned {
    waves: Waves,
    looks: usize,
    at: (u64, usize),
}

impl BatchSource for Poisoned {
    fn steps(&self) -> usize {
        self.waves.steps()
    }

    fn batch(&mut self, epoch: u64, step: usize) -> Result<Batch> {
        let mut batch = self.waves.batch(epoch, step)?;
        if (epoch, step) == self.at {
            self.looks += 1;
            // The step, then the search for where it began.
            if self.looks <= 2 {
                batch.targets = Array::from_slice(&[f32::NAN; 12], &[4, 3]);
            }
        }
        Ok(batch)
    }
}

#[test]
fn a_rollback_after_a_stop_in_its_epoch_changes_nothing() {
    let text = format!("{SETTINGS}\non_nonfinite = \"rollback\"");
    let source = || Poisoned {
        waves: Waves::new(4, 18),
        looks: 0,
        at: (2, 4),
    };
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let mut validation = Waves::new(4, 6);
    let mut straight = trainer(&text, &whole);
    straight
        .fit(&mut source(), Some(&mut validation), &mut ())
        .unwrap();
    // Two stops within an epoch that began after the tenth batch.
    for (after, step) in [(11, 12), (1, 14)] {
        let mut part = trainer(&text, &parts);
        part.resume().unwrap();
        let mut stop = Stop {
            after: Some(after),
            ..Stop::default()
        };
        part.fit(&mut source(), Some(&mut validation), &mut stop)
            .unwrap();
        assert_eq!(part.step(), step);
    }
    let mut last = trainer(&text, &parts);
    last.resume().unwrap().unwrap();
    last.fit(&mut source(), Some(&mut validation), &mut ())
        .unwrap();
    assert_eq!(
        (last.progress.rollbacks, straight.progress.rollbacks),
        (1, 1)
    );
    assert_eq!(bits(&last), bits(&straight));
    assert_eq!(last.history(), straight.history());
    same_files(&newest(&parts), &newest(&whole));
}
