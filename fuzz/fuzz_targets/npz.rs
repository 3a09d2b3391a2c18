//! See `ncps_tests::hostile`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ncps_tests::hostile::Target;
use tempfile::TempDir;

static FOLDER: LazyLock<Option<TempDir>> = LazyLock::new(|| tempfile::tempdir().ok());

fuzz_target!(|bytes: &[u8]| {
    if let Some(folder) = &*FOLDER {
        let _ = Target::Npz.feed(bytes, folder.path());
    }
});
