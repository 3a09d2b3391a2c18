//! Scores that follow from the confusion matrix.

/// Summed weights by true class (row) and chosen class (column).
#[derive(Debug, Clone)]
pub(super) struct Confusion {
    classes: usize,
    cells: Vec<f64>,
}

impl Confusion {
    pub(super) fn new(classes: usize) -> Self {
        Self {
            classes,
            cells: vec![0.0; classes * classes],
        }
    }

    pub(super) fn add(&mut self, class: usize, chosen: usize, weight: f64) {
        self.cells[class * self.classes + chosen] += weight;
    }

    fn hits(&self, class: usize) -> f64 {
        self.cells[class * self.classes + class]
    }

    fn occurs(&self, class: usize) -> f64 {
        self.cells[class * self.classes..][..self.classes]
            .iter()
            .sum()
    }

    fn chosen(&self, class: usize) -> f64 {
        self.cells.iter().skip(class).step_by(self.classes).sum()
    }

    pub(super) fn accuracy(&self) -> Option<f64> {
        let total: f64 = self.cells.iter().sum();
        let hits: f64 = (0..self.classes).map(|class| self.hits(class)).sum();
        (total > 0.0).then(|| hits / total)
    }

    pub(super) fn balanced_accuracy(&self) -> Option<f64> {
        super::average((0..self.classes).map(|class| {
            let occurs = self.occurs(class);
            (occurs > 0.0).then(|| self.hits(class) / occurs)
        }))
    }

    /// Of class 1 where there are two, else the mean over the classes that occur or are chosen.
    pub(super) fn f1(&self) -> Option<f64> {
        let first = usize::from(self.classes == 2);
        super::average((first..self.classes).map(|class| {
            let below = self.occurs(class) + self.chosen(class);
            (below > 0.0).then(|| 2.0 * self.hits(class) / below)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_a_matrix_on_paper() {
        // True 0: 50 right, 10 taken for 1. True 1: 5 taken for 0, 35 right.
        let mut matrix = Confusion::new(2);
        for (class, chosen, weight) in [(0, 0, 50.0), (0, 1, 10.0), (1, 0, 5.0), (1, 1, 35.0)] {
            matrix.add(class, chosen, weight);
        }
        assert_eq!(matrix.accuracy(), Some(0.85));
        assert_eq!(
            matrix.balanced_accuracy(),
            Some((50.0 / 60.0 + 35.0 / 40.0) / 2.0)
        );
        assert_eq!(matrix.f1(), Some(70.0 / 85.0));
    }

    #[test]
    fn classes_that_never_occur_do_not_lower_the_balance() {
        let mut matrix = Confusion::new(4);
        matrix.add(0, 0, 1.0);
        matrix.add(2, 1, 1.0);
        assert_eq!(matrix.balanced_accuracy(), Some(0.5));
        // Classes 0 (1), 1 (0, chosen once) and 2 (0) count, class 3 does not.
        assert_eq!(matrix.f1(), Some(1.0 / 3.0));
    }
}
