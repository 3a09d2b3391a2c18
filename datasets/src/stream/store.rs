//! Rows of tables unpacked into flat files, of which any stretch is one read.
//!
//! A folder holds `rows.f32` (row-major, little-endian), `times.f64` where there are times, and `index.json`, which says what they are,
//! how long they must be and their CRC-32. It is made beside its place and renamed, so it is there whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::leftover;
use crate::error::{Error, Result};

const ROWS: &str = "rows.f32";
const TIMES: &str = "times.f64";
const INDEX: &str = "index.json";
/// Raised when the files' layout or the meaning of their values changes.
const VERSION: u32 = 1;

/// A series and where its rows begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredSeries {
    pub(crate) name: String,
    /// Index of its file among the files in use.
    pub(crate) file: usize,
    pub(crate) part: Option<String>,
    pub(crate) first: u64,
    pub(crate) rows: u64,
}

/// What the rows are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    version: u32,
    /// What the rows were made of: see [`super::key`].
    pub(crate) key: String,
    /// Values of a row.
    pub(crate) width: usize,
    pub(crate) has_times: bool,
    pub(crate) series: Vec<StoredSeries>,
    /// Class labels in the order of their numbers in the rows.
    pub(crate) labels: Vec<String>,
    /// Input columns, as the first file settled them.
    pub(crate) columns: Vec<String>,
    pub(crate) targets: Vec<String>,
    rows: u64,
    checksums: [u32; 2],
}

/// Writes a store.
#[derive(Debug)]
pub(crate) struct StoreWriter {
    folder: PathBuf,
    /// Locked as long as the store is written: see [`super::leftover`].
    lock: File,
    /// Where it goes when it is whole.
    place: PathBuf,
    rows: Checked,
    times: Option<Checked>,
    index: Index,
}

/// A file and the checksum of what was written to it.
struct Checked {
    out: BufWriter<File>,
    crc: flate2::Crc,
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").finish_non_exhaustive()
    }
}

impl Checked {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|source| write_error(path, source))?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, file),
            crc: flate2::Crc::new(),
        })
    }

    fn add(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.crc.update(bytes);
        self.out.write_all(bytes)
    }

    fn finish(self) -> std::io::Result<u32> {
        let sum = self.crc.sum();
        self.out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?
            .sync_all()?;
        Ok(sum)
    }
}

impl StoreWriter {
    /// Begins a store that will be at `place`.
    pub(crate) fn create(place: &Path, key: &str, width: usize, has_times: bool) -> Result<Self> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let folder = leftover::unfinished(place, &name);
        std::fs::create_dir_all(&folder).map_err(|source| write_error(&folder, source))?;
        let lock = leftover::lock(&folder).map_err(|source| write_error(&folder, source))?;
        let rows = Checked::create(&folder.join(ROWS))?;
        let times = has_times.then(|| Checked::create(&folder.join(TIMES)));
        Ok(Self {
            rows,
            times: times.transpose()?,
            place: place.to_path_buf(),
            lock,
            folder,
            index: Index {
                version: VERSION,
                key: key.to_owned(),
                width,
                has_times,
                series: Vec::new(),
                labels: Vec::new(),
                columns: Vec::new(),
                targets: Vec::new(),
                rows: 0,
                checksums: [0; 2],
            },
        })
    }

    /// The series that rows were added to last.
    pub(crate) fn last(&self) -> Option<&StoredSeries> {
        self.index.series.last()
    }

    /// Begins a series; rows that are added now are its.
    pub(crate) fn begin(&mut self, name: String, file: usize, part: Option<String>) {
        self.index.series.push(StoredSeries {
            name,
            file,
            part,
            first: self.index.rows,
            rows: 0,
        });
    }

    /// Adds rows `[n, width]` and their times to the last series.
    pub(crate) fn add(&mut self, rows: &[f32], times: Option<&[f64]>) -> Result<()> {
        let count = (rows.len() / self.index.width.max(1)) as u64;
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut written = self.rows.add(&bytes);
        if let (Some(out), Some(times)) = (&mut self.times, times) {
            let bytes: Vec<u8> = times.iter().flat_map(|value| value.to_le_bytes()).collect();
            written = written.and_then(|()| out.add(&bytes));
        }
        written.map_err(|source| write_error(&self.folder, source))?;
        self.index.rows += count;
        if let Some(last) = self.index.series.last_mut() {
            last.rows += count;
        }
        Ok(())
    }

    /// Writes the index and puts the store in its place; one that is there already is replaced.
    pub(crate) fn finish(
        mut self,
        columns: Vec<String>,
        targets: Vec<String>,
        labels: Vec<String>,
    ) -> Result<()> {
        let failed = |source| write_error(&self.place, source);
        let rows = self.rows.finish().map_err(failed)?;
        let times = self
            .times
            .map(Checked::finish)
            .transpose()
            .map_err(failed)?;
        self.index.checksums = [rows, times.unwrap_or(0)];
        (self.index.columns, self.index.targets) = (columns, targets);
        self.index.labels = labels;
        let text = serde_json::to_vec(&self.index).map_err(|error| failed(error.into()))?;
        std::fs::write(self.folder.join(INDEX), text).map_err(failed)?;
        if self.place.exists() {
            std::fs::remove_dir_all(&self.place).map_err(failed)?;
        }
        std::fs::rename(&self.folder, &self.place).map_err(failed)?;
        leftover::unlock(self.lock, &self.place);
        Ok(())
    }

    /// Removes what was written.
    pub(crate) fn abandon(self) {
        // What cannot be removed is a leftover in the cache folder, with a name that says so.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A store that was found whole.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    pub(crate) index: Index,
    /// One reader at a time: a read moves the file's place.
    rows: Mutex<File>,
    times: Option<Mutex<File>>,
    /// Whether the folder goes when the store is no longer used.
    is_temporary: bool,
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.is_temporary {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Store {
    /// Opens a store and checks its sizes and checksums; `Err` says what is wrong with it.
    pub(crate) fn open(
        folder: &Path,
        key: &str,
        is_temporary: bool,
    ) -> std::result::Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let text = std::fs::read(folder.join(INDEX)).map_err(said)?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if index.version != VERSION || index.key != key {
            return Err("it is of other data or of another version".to_owned());
        }
        let mut end = 0;
        for one in &index.series {
            if one.first != end || one.rows > index.rows {
                return Err("its index contradicts itself".to_owned());
            }
            end += one.rows;
        }
        if end != index.rows || index.width == 0 {
            return Err("its index contradicts itself".to_owned());
        }
        let check = |name: &str, bytes: u64, sum: u32| {
            let mut file = File::open(folder.join(name)).map_err(said)?;
            let length = file.metadata().map_err(said)?.len();
            if length != bytes {
                return Err(format!("`{name}` has {length} bytes, expected {bytes}"));
            }
            match checksum(&mut file).map_err(said)? {
                found if found == sum => Ok(Mutex::new(file)),
                _ => Err(format!("`{name}` does not have its checksum")),
            }
        };
        let rows = check(
            ROWS,
            index.rows * index.width as u64 * 4,
            index.checksums[0],
        )?;
        let times = index
            .has_times
            .then(|| check(TIMES, index.rows * 8, index.checksums[1]))
            .transpose()?;
        Ok(Self {
            folder: folder.to_path_buf(),
            index,
            rows,
            times,
            is_temporary,
        })
    }

    /// What a folder's index says, unchecked; `None` for a folder without one.
    pub(crate) fn index_of(folder: &Path) -> Option<Index> {
        let text = std::fs::read(folder.join(INDEX)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The rows `from..to`, row-major.
    pub(crate) fn rows(&self, from: u64, to: u64) -> Result<Vec<f32>> {
        let width = self.index.width as u64 * 4;
        let bytes = self.bytes(&self.rows, ROWS, from * width, to * width)?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect())
    }

    /// The times of the rows `from..to`; `None` where there are none.
    pub(crate) fn times(&self, from: u64, to: u64) -> Result<Option<Vec<f64>>> {
        let Some(file) = &self.times else {
            return Ok(None);
        };
        let bytes = self.bytes(file, TIMES, from * 8, to * 8)?;
        let (values, _) = bytes.as_chunks::<8>();
        Ok(Some(
            values
                .iter()
                .map(|value| f64::from_le_bytes(*value))
                .collect(),
        ))
    }

    fn bytes(&self, file: &Mutex<File>, name: &str, from: u64, to: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (to - from) as usize];
        // A reader that panicked left no half-done state: every read begins with a seek.
        let mut file = file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(from))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| Error::read(&self.folder.join(name), source))?;
        Ok(bytes)
    }
}

fn checksum(file: &mut File) -> std::io::Result<u32> {
    let mut crc = flate2::Crc::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(crc.sum()),
            count => crc.update(&buffer[..count]),
        }
    }
}

pub(crate) fn write_error(path: &Path, source: std::io::Error) -> Error {
    Error::Write {
        path: path.to_path_buf(),
        source,
    }
}
