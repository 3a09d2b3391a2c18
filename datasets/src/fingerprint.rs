//! What tells one data set from another: a number that follows from every value.

use crate::dataset::Dataset;
use crate::window::WindowSet;

/// Two accumulators that see every word, so that 128 bits tell data sets apart. Damage and changes are found by it, not
/// forgery.
#[derive(Debug)]
struct Mixer([u64; 2]);

const FACTORS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];

impl Mixer {
    fn add(&mut self, word: u64) {
        for (sum, factor) in self.0.iter_mut().zip(FACTORS) {
            *sum = (*sum ^ word).wrapping_mul(factor).rotate_left(29);
        }
    }

    fn add_values(&mut self, values: &[f32]) {
        self.add(values.len() as u64);
        let pairs = values.chunks(2);
        for pair in pairs {
            let high = pair
                .get(1)
                .map_or(0, |value| u64::from(value.to_bits()) << 32);
            self.add(u64::from(pair[0].to_bits()) | high);
        }
    }
}

impl Dataset {
    /// A fingerprint of everything that training, validation and test see: 32 hexadecimal digits. The same data give the
    /// same one on every machine; any other value, window or order gives another.
    pub fn fingerprint(&self) -> String {
        let mut mixer = Mixer([1, 2]);
        for part in [&self.train, &self.validation, &self.test] {
            add(&mut mixer, part);
        }
        // The last words have not yet reached all bits.
        (0..4).for_each(|_| mixer.add(0));
        mixer.0.iter().map(|sum| format!("{sum:016x}")).collect()
    }
}

fn add(mixer: &mut Mixer, part: &WindowSet) {
    mixer.add(part.time() as u64);
    for series in part.series() {
        mixer.add_values(&series.features);
        mixer.add_values(&series.targets);
        mixer.add_values(series.timespans.as_deref().unwrap_or_default());
    }
    mixer.add(part.len() as u64);
    for window in part.windows() {
        for place in [window.series, window.start, window.steps] {
            mixer.add(place as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::DataConfig;

    fn fingerprint(folder: &Path, table: &str) -> String {
        fs::write(folder.join("x.csv"), table).unwrap();
        let text = "kind = \"csv\"\npath = \"x.csv\"\nwindow = 4\ntargets = [\"a\"]";
        let config: DataConfig = toml::from_str(text).unwrap();
        config.load(folder).unwrap().fingerprint()
    }

    #[test]
    fn any_changed_value_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<String> = (0..60)
            .map(|i| format!("{},{}", i * 7 % 11, i % 5))
            .collect();
        let table = |rows: &[String]| format!("a,b\n{}\n", rows.join("\n"));
        let usual = fingerprint(folder.path(), &table(&rows));
        assert_eq!(usual.len(), 32);
        assert_eq!(usual, fingerprint(folder.path(), &table(&rows)));
        for row in [0, 31, 59] {
            let mut changed = rows.clone();
            changed[row] = "3.5,1.5".to_owned();
            assert_ne!(usual, fingerprint(folder.path(), &table(&changed)), "{row}");
        }
        assert_ne!(usual, fingerprint(folder.path(), &table(&rows[1..])));
    }
}
