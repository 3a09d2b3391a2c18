//! What a shared library needs, read from its ELF file: enough to name a missing part before the loader gives up.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// The entries of a dynamic section that concern loading.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Dynamic {
    /// Names of the libraries that it needs.
    pub(crate) needed: Vec<String>,
    /// Folders in which they are looked for first, `$ORIGIN` not yet replaced.
    pub(crate) run_paths: Vec<String>,
}

const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const NEEDED: u64 = 1;
const STRING_TABLE: u64 = 5;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;

/// Reads the dynamic section of a 64-bit little-endian ELF file; `None` if it is no such file.
pub(crate) fn read(path: &Path) -> Option<Dynamic> {
    let file = File::open(path).ok()?;
    parse(&|offset, length| {
        let length = length.min(1 << 20);
        let mut bytes = Vec::new();
        let mut rest = &file;
        rest.seek(SeekFrom::Start(offset)).ok()?;
        rest.take(length).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    })
}

/// Reads from an offset; gives fewer bytes than asked for at the end of the file.
type Read<'a> = &'a dyn Fn(u64, u64) -> Option<Vec<u8>>;

#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    length: u64,
}

fn parse(read: Read<'_>) -> Option<Dynamic> {
    let header = read(0, 64)?;
    if header.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let segments = segments(read, &header)?;
    let dynamic = segments.iter().find(|segment| segment.kind == DYNAMIC)?;
    let entries: Vec<(u64, u64)> = read(dynamic.offset, dynamic.length)?
        .chunks_exact(16)
        .map_while(|entry| Some((number(entry, 0, 8)?, number(entry, 8, 8)?)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let table = entries.iter().find(|(tag, _)| *tag == STRING_TABLE)?.1;
    let table = file_offset(&segments, table)?;
    let texts = |wanted: u64| {
        let chosen = entries.iter().filter(move |(tag, _)| *tag == wanted);
        chosen.filter_map(|(_, at)| text(read, table.checked_add(*at)?))
    };
    let run_paths = texts(RPATH).chain(texts(RUNPATH));
    Some(Dynamic {
        needed: texts(NEEDED).collect(),
        run_paths: run_paths
            .flat_map(|list| list.split(':').map(str::to_owned).collect::<Vec<_>>())
            .collect(),
    })
}

fn segments(read: Read<'_>, header: &[u8]) -> Option<Vec<Segment>> {
    let (start, size, count) = (
        number(header, 32, 8)?,
        number(header, 54, 2)?,
        number(header, 56, 2)?,
    );
    let table = read(start, size.checked_mul(count)?)?;
    let entries = table.chunks_exact(usize::try_from(size).ok().filter(|size| *size >= 56)?);
    entries
        .map(|entry| {
            Some(Segment {
                kind: number(entry, 0, 4)?,
                offset: number(entry, 8, 8)?,
                address: number(entry, 16, 8)?,
                length: number(entry, 32, 8)?,
            })
        })
        .collect()
}

fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.kind == LOAD)
        .find_map(|segment| {
            let within = address
                .checked_sub(segment.address)
                .filter(|within| *within < segment.length)?;
            segment.offset.checked_add(within)
        })
}

/// The zero-terminated text at an offset.
fn text(read: Read<'_>, offset: u64) -> Option<String> {
    let block = read(offset, 4096)?;
    let end = block.iter().position(|byte| *byte == 0)?;
    String::from_utf8(block[..end].to_vec()).ok()
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let part = bytes.get(at..at + length)?;
    Some(
        part.iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(file: &mut [u8], at: usize, value: u64, length: usize) {
        file[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
    }

    /// A file with one loaded segment at address 0x1000, a dynamic section, and a string table.
    fn sample() -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for (at, value, length) in [(32, 64, 8), (54, 56, 2), (56, 2, 2)] {
            put(&mut file, at, value, length);
        }
        for (at, value) in [(64, LOAD), (64 + 16, 0x1000), (64 + 32, 1024)] {
            put(&mut file, at, value, 8);
        }
        for (at, value) in [(120, DYNAMIC), (120 + 8, 256), (120 + 32, 80)] {
            put(&mut file, at, value, 8);
        }
        let entries = [
            (NEEDED, 1),
            (NEEDED, 9),
            (STRING_TABLE, 0x1000 + 512),
            (RPATH, 17),
            (0, 0),
        ];
        for (index, (tag, value)) in entries.into_iter().enumerate() {
            put(&mut file, 256 + 16 * index, tag, 8);
            put(&mut file, 264 + 16 * index, value, 8);
        }
        file[512..548].copy_from_slice(b"\0libx.so\0liby.so\0$ORIGIN/a:/b\0.....\0");
        file
    }

    fn parse_bytes(file: &[u8]) -> Option<Dynamic> {
        parse(&|offset, length| {
            let (start, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
            let end = start.saturating_add(length).min(file.len());
            Some(file.get(start..end)?.to_vec())
        })
    }

    #[test]
    fn needs_and_run_paths_are_read() {
        let found = parse_bytes(&sample()).unwrap();
        assert_eq!(found.needed, ["libx.so", "liby.so"]);
        assert_eq!(found.run_paths, ["$ORIGIN/a", "/b"]);
    }

    #[test]
    fn a_string_table_may_end_the_file() {
        let whole = sample();
        assert_eq!(parse_bytes(&whole[..548]), parse_bytes(&whole));
    }

    #[test]
    fn damaged_files_are_refused_without_panic() {
        let whole = sample();
        assert_eq!(parse_bytes(b"#!/bin/sh"), None);
        for length in 0..whole.len() {
            let _ = parse_bytes(&whole[..length]);
        }
        for at in 0..320 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = parse_bytes(&damaged);
        }
    }
}
