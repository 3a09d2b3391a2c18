//! What several tests need.

use std::path::{Path, PathBuf};

use ncps_datasets::{DataConfig, Dataset, Error, HostBatch, WindowSet};
use tempfile::TempDir;

/// A folder of files that a test writes, and loads of configs below it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    pub(crate) fn load(&self, config: &str) -> Result<Dataset, Error> {
        load(config, self.path())
    }
}

pub(crate) fn load(config: &str, base_dir: &Path) -> Result<Dataset, Error> {
    let config: DataConfig = toml::from_str(config).unwrap();
    config.load(base_dir)
}

/// The folder of real data: `NCPS_DATA_DIR`, or `../shared/data` beside the checkout; says so when there is none.
pub(crate) fn real_data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("NCPS_DATA_DIR")
        .map_or_else(beside, PathBuf::from)
        .join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "skipped: no real data at {} (set NCPS_DATA_DIR)",
        folder.display()
    );
    None
}

/// The first batch, in the data's order.
pub(crate) fn first_batch(set: &WindowSet, size: usize) -> HostBatch {
    let mut batches = set.batches(size, None).unwrap();
    let mut batch = batches.host_batch();
    batches.fill(0, 0, &mut batch).unwrap();
    batch
}

/// A version 1 npy file of little-endian doubles, as NumPy writes it.
pub(crate) fn npy(shape: &[usize], values: &[f64]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size},")).collect();
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({sizes}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// A zip archive of stored members, which is what `numpy.savez` writes.
pub(crate) fn zip(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut all, mut list) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let size = (content.len() as u32).to_le_bytes();
        let name_length = (name.len() as u16).to_le_bytes();
        let fields = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &crc.sum().to_le_bytes(),
            &size,
            &size,
            &name_length,
            &[0, 0],
        ]
        .concat();
        let offset = (all.len() as u32).to_le_bytes();
        all.extend([b"PK\x03\x04", &fields[..], name.as_bytes(), content].concat());
        list.extend(
            [
                b"PK\x01\x02\x14\x00",
                &fields[..],
                &[0; 10],
                &offset,
                name.as_bytes(),
            ]
            .concat(),
        );
    }
    let (at, size) = (
        (all.len() as u32).to_le_bytes(),
        (list.len() as u32).to_le_bytes(),
    );
    let count = (members.len() as u16).to_le_bytes();
    [
        &all[..],
        &list,
        b"PK\x05\x06\x00\x00\x00\x00",
        &count,
        &count,
        &size,
        &at,
        &[0, 0],
    ]
    .concat()
}
