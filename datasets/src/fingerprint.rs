//! What tells one data set from another: a number that follows from every value.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::window::{Source, WindowSet};

/// Pieces of a file that is not read whole.
const PIECES: u64 = 4096;
const PIECE: usize = 4096;

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
    /// same one on every machine; any other value, window or order gives another. Of data that stay in their files it knows
    /// the lengths and 4096 pieces, so that a large file is not read twice.
    ///
    /// # Errors
    /// [`Error::Read`] for such a file that cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let mut mixer = Mixer([1, 2]);
        let parts = [&self.train, &self.validation, &self.test];
        for part in parts {
            add(&mut mixer, part);
        }
        if parts.iter().any(|part| part.is_streamed()) {
            for path in &self.files {
                add_file(&mut mixer, path).map_err(|source| Error::read(path, source))?;
            }
        }
        // The last words have not yet reached all bits.
        (0..4).for_each(|_| mixer.add(0));
        let digits = mixer.0.iter().map(|sum| format!("{sum:016x}"));
        Ok(digits.collect())
    }
}

fn add(mixer: &mut Mixer, part: &WindowSet) {
    mixer.add(part.time() as u64);
    if let Source::Memory { series, .. } = part.source() {
        for series in series.iter() {
            mixer.add_values(&series.features);
            mixer.add_values(&series.targets);
            mixer.add_values(series.timespans.as_deref().unwrap_or_default());
        }
    }
    mixer.add(part.len() as u64);
    for window in part.windows() {
        for place in [window.series, window.start, window.steps] {
            mixer.add(place as u64);
        }
    }
}

/// Mixes in a file's length, pieces at even distances, and its end.
fn add_file(mixer: &mut Mixer, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    mixer.add(length);
    let last = length.saturating_sub(PIECE as u64);
    let mut piece = vec![0; PIECE];
    for index in 0..=PIECES {
        let at = u128::from(last) * u128::from(index) / u128::from(PIECES);
        file.seek(SeekFrom::Start(at as u64))?;
        let length = usize::try_from(length).unwrap_or(PIECE).min(PIECE);
        file.read_exact(&mut piece[..length])?;
        for bytes in piece[..length].chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            mixer.add(u64::from_le_bytes(word));
        }
    }
    Ok(())
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
        config.load(folder).unwrap().fingerprint().unwrap()
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

    #[test]
    fn pieces_of_a_file_reach_from_its_begin_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let seen = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let mut mixer = super::Mixer([1, 2]);
            super::add_file(&mut mixer, &path).unwrap();
            mixer.0
        };
        for length in [5, 4096, 100_000] {
            let bytes = vec![1; length];
            for at in [0, length / 2, length - 1] {
                let mut changed = bytes.clone();
                changed[at] = 2;
                assert_ne!(seen(&bytes), seen(&changed), "{length} {at}");
            }
        }
    }
}
