//! One recorded series, before and after it is made ready for batches.

/// A series as it was read: values in the data's own units, targets on their own rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawSeries {
    /// What errors and predictions call it: the group's value, or the file's name.
    pub(crate) name: String,
    /// Index of its file among the files in use.
    pub(crate) file: usize,
    /// Value of the column that tells the parts apart, where a split by column is asked for.
    pub(crate) part: Option<String>,
    pub(crate) rows: usize,
    /// Where its rows begin in a store; 0 for a series in memory.
    pub(crate) first: u64,
    /// `[rows]` in the time unit.
    pub(crate) times: Option<Vec<f64>>,
    /// `[rows, features]`.
    pub(crate) features: Vec<f32>,
    /// `[rows, targets]`.
    pub(crate) targets: Vec<f32>,
}

impl RawSeries {
    /// Keeps the first rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if rows >= self.rows {
            return;
        }
        for values in [&mut self.features, &mut self.targets] {
            let width = values.len() / self.rows;
            values.truncate(rows * width);
        }
        if let Some(times) = &mut self.times {
            times.truncate(rows);
        }
        self.rows = rows;
    }

    /// The rows `from..to` as a series of their own.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        let wide = |values: &[f32]| {
            let width = values.len() / self.rows.max(1);
            values[from * width..to * width].to_vec()
        };
        Self {
            name: self.name.clone(),
            file: self.file,
            part: self.part.clone(),
            rows: to - from,
            first: self.first + from as u64,
            times: self.times.as_ref().map(|times| times[from..to].to_vec()),
            features: wide(&self.features),
            targets: wide(&self.targets),
        }
    }
}

/// A series ready for batches: scaled values, each step with its target.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// `[steps, features]`.
    pub(crate) features: Vec<f32>,
    /// `[steps, targets]`.
    pub(crate) targets: Vec<f32>,
    /// `[steps]`.
    pub(crate) timespans: Option<Vec<f32>>,
}
