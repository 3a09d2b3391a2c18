//! Files that somebody has changed, by chance or on purpose: each reader says no, none panics.
//!
//! The inputs are mutations of the corpora in `fuzz/corpus`. `NCPS_FUZZ_SECONDS=600` gives each reader ten minutes.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use ncps_tests::hostile::Target;

use super::{Numbers, times};

/// Pieces that parsers stumble over.
const PIECES: [&[u8]; 20] = [
    b"-1",
    b"0",
    b"1e400",
    b"nan",
    b"inf",
    b"18446744073709551616",
    b"4294967295",
    b"2147483648",
    b"\"",
    b"[",
    b"{",
    b"}",
    b"]",
    b"\0",
    b"\xff\xfe",
    b"\n",
    b",",
    b"../../x",
    b"\xf0\x9f\x92\xa5",
    b"null",
];

fn corpus(target: Target) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = root.join("fuzz/corpus").join(target.name());
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes bytes in a few places.
fn mutate(seeds: &[Vec<u8>], random: &mut Numbers) -> Vec<u8> {
    let pick = |random: &mut Numbers| seeds[random.below(seeds.len() as u64) as usize].clone();
    let mut bytes = pick(random);
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let end = (at + random.below(16) as usize).min(bytes.len());
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                let part = part.repeat(1 + random.below(4) as usize);
                bytes.splice(at..at, part);
            }
            4 => {
                let piece = PIECES[random.below(PIECES.len() as u64) as usize];
                bytes.splice(at..end, piece.iter().copied());
            }
            5 => bytes.truncate(at),
            6 => {
                let other = pick(random);
                let from = random.below(other.len() as u64 + 1) as usize;
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            // A number of its own, in place of the digits here.
            _ => {
                let digits = |byte: &u8| byte.is_ascii_digit();
                if let Some(start) = bytes[at..].iter().position(digits) {
                    let start = at + start;
                    let length = bytes[start..]
                        .iter()
                        .take_while(|byte| digits(byte))
                        .count();
                    let number = (random.below(1 << 31) << random.below(33)).to_string();
                    bytes.splice(start..start + length, number.into_bytes());
                }
            }
        }
    }
    bytes
}

fn attack(target: Target) {
    let seeds = corpus(target);
    let folder = tempfile::tempdir().unwrap();
    for seed in &seeds {
        target.feed(seed, folder.path()).unwrap();
    }
    let seconds = std::env::var("NCPS_FUZZ_SECONDS").ok();
    let limit = seconds.map(|text| Duration::from_secs(text.parse().unwrap()));
    let rounds = times(150, 3_000);
    let mut random = Numbers(41);
    let started = Instant::now();
    let mut fed = 0;
    while limit.map_or(fed < rounds, |limit| started.elapsed() < limit) {
        let bytes = mutate(&seeds, &mut random);
        // What does not end in a panic but in an abort leaves its input here.
        let saved = std::env::temp_dir().join(format!("ncps-hostile-{}", target.name()));
        fs::write(&saved, &bytes).unwrap();
        let ended = catch_unwind(AssertUnwindSafe(|| target.feed(&bytes, folder.path())));
        assert!(
            ended.is_ok(),
            "{} panicked on `{}`",
            target.name(),
            saved.display()
        );
        ended.unwrap().unwrap();
        fed += 1;
    }
    println!(
        "{}: {fed} inputs in {:.0?}, no panic",
        target.name(),
        started.elapsed()
    );
}

#[test]
fn configurations() {
    attack(Target::Config);
}

#[test]
fn tensor_files() {
    attack(Target::Tensors);
}

#[test]
fn models() {
    attack(Target::Model);
}

#[test]
fn wirings() {
    attack(Target::Wiring);
}

#[test]
fn data_files() {
    attack(Target::Data);
}

#[test]
fn parquet_files() {
    attack(Target::Parquet);
}

#[test]
fn arrow_files() {
    attack(Target::Arrow);
}

#[test]
fn npz_archives() {
    attack(Target::Npz);
}

#[test]
fn idx_files() {
    attack(Target::Idx);
}

#[test]
fn archives() {
    attack(Target::Archive);
}

#[test]
fn manifests() {
    attack(Target::Manifest);
}

#[test]
fn what_a_system_says() {
    attack(Target::Profiler);
}
