//! The area under the receiver operating characteristic.

/// Scores of one class against the rest; keeps them all, since the area is a matter of order.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranking {
    rows: Vec<(f64, bool, f64)>,
}

impl Ranking {
    pub(super) fn add(&mut self, score: f64, is_positive: bool, weight: f64) {
        // Adding 0 turns -0 into 0, so that equal scores are equal in the total order too.
        self.rows.push((score + 0.0, is_positive, weight));
    }

    /// Gives the weighted share of pairs (positive, negative) that are in order; ties count half.
    ///
    /// `None` where one of the two does not occur.
    pub(super) fn auroc(&mut self) -> Option<f64> {
        self.rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut below, mut ordered, mut positives) = (0.0, 0.0, 0.0);
        for tie in self.rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
            let weigh = |wanted: bool| -> f64 {
                let rows = tie.iter().filter(|row| row.1 == wanted);
                rows.map(|row| row.2).sum()
            };
            let (positive, negative) = (weigh(true), weigh(false));
            ordered += positive * (below + negative / 2.0);
            below += negative;
            positives += positive;
        }
        let pairs = positives * below;
        (pairs > 0.0).then(|| ordered / pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(rows: &[(f64, bool, f64)]) -> Option<f64> {
        let mut ranking = Ranking::default();
        for &(score, is_positive, weight) in rows {
            ranking.add(score, is_positive, weight);
        }
        ranking.auroc()
    }

    #[test]
    fn pairs_in_order_are_counted() {
        // Positives 0.8 and 0.4 against negatives 0.5 and 0.1: three of four pairs.
        let rows = [
            (0.8, true, 1.0),
            (0.5, false, 1.0),
            (0.4, true, 1.0),
            (0.1, false, 1.0),
        ];
        assert_eq!(area(&rows), Some(0.75));
    }

    #[test]
    fn ties_count_half() {
        assert_eq!(area(&[(0.3, true, 1.0), (0.3, false, 1.0)]), Some(0.5));
        // 0.3 ties with one of two negatives and beats the other.
        let rows = [(0.3, true, 1.0), (0.3, false, 1.0), (-1.0, false, 1.0)];
        assert_eq!(area(&rows), Some(0.75));
    }

    #[test]
    fn both_zeros_tie() {
        assert_eq!(area(&[(-0.0, true, 1.0), (0.0, false, 1.0)]), Some(0.5));
    }

    #[test]
    fn weights_count_pairs() {
        // Pairs: 2 * 3 in order, 2 * 1 not.
        let rows = [(0.5, true, 2.0), (0.2, false, 3.0), (0.9, false, 1.0)];
        assert_eq!(area(&rows), Some(0.75));
    }

    #[test]
    fn one_class_alone_has_no_area() {
        assert_eq!(area(&[(0.5, true, 1.0), (0.2, true, 1.0)]), None);
        assert_eq!(area(&[]), None);
    }
}
