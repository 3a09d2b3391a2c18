//! A walk over the pages of a Parquet file before a decoder sees them: sizes and counts must fit together and into the file.
//!
//! The decoder asks for as much memory as a file says it needs, so a damaged number could end the process. Here each number is held against
//! the others: rows against values, pages against their column, bytes against the file, checksums where the writer left some.
//!
//! # Source
//! Apache Parquet format 2.11, `parquet.thrift` (`PageHeader`), in Thrift's compact protocol.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

/// What is wrong with a file.
pub(super) type Problem = String;

/// Headers of pages are shorter than this, unless they carry long statistics.
const LONGEST_HEADER: u64 = 1 << 16;
/// No page of a writer that means well is larger than this when unpacked.
const LARGEST_PAGE: i64 = 1 << 30;
/// Nor does it swell by more than this; zeros by Zstandard do by some thousands.
const MOST_SWELL: i64 = 1 << 15;

/// One column of one row group, as the footer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) column: String,
    /// Bytes of the file.
    pub(super) range: Range<u64>,
    /// Values, missing ones too.
    pub(super) values: i64,
    /// Bytes of its pages without compression, as the footer states them.
    pub(super) unpacked: u64,
    /// Whether values are rows: neither lists nor members of lists.
    pub(super) is_flat: bool,
}

/// Checks one row group of `rows` rows.
pub(super) fn check(
    file: &mut (impl Read + Seek),
    length: u64,
    rows: u64,
    chunks: &[Chunk],
) -> Result<(), Problem> {
    for chunk in chunks {
        let damaged = |what: &str| format!("column `{}` is damaged: {what}", chunk.column);
        if chunk.range.start > chunk.range.end || chunk.range.end > length {
            return Err(damaged("it lies outside of the file"));
        }
        if chunk.is_flat && u64::try_from(chunk.values) != Ok(rows) {
            return Err(damaged(&format!(
                "it has {} values for {rows} rows",
                chunk.values
            )));
        }
        let mut at = chunk.range.start;
        let mut values = 0i64;
        while values < chunk.values {
            let (page, begins) =
                header(file, at, chunk.range.end).map_err(|problem| damaged(&problem))?;
            page.check().map_err(|problem| damaged(&problem))?;
            let ends = begins + page.packed as u64;
            if ends > chunk.range.end {
                return Err(damaged("a page goes past the column's end"));
            }
            if let Some(expected) = page.crc {
                let found = checksum(file, begins, page.packed as u64)
                    .map_err(|problem| damaged(&problem))?;
                if found != expected as u32 {
                    return Err(damaged("a page does not match its checksum"));
                }
            }
            if page.is_data {
                values = values.saturating_add(page.values);
            }
            at = ends;
        }
        if values != chunk.values {
            return Err(damaged(&format!(
                "its pages hold {values} values, not {}",
                chunk.values
            )));
        }
    }
    Ok(())
}

/// What a page's header says.
#[derive(Debug, Clone, Copy, Default)]
struct Page {
    unpacked: i64,
    packed: i64,
    crc: Option<i64>,
    is_data: bool,
    values: i64,
}

impl Page {
    fn check(&self) -> Result<(), Problem> {
        if self.packed < 0 || self.unpacked < 0 || self.values < 0 {
            return Err("a page has a negative size".to_owned());
        }
        if self.unpacked > LARGEST_PAGE || self.unpacked / MOST_SWELL > self.packed {
            return Err(format!(
                "a page of {} bytes claims to unpack to {}",
                self.packed, self.unpacked
            ));
        }
        // Every value of a dictionary takes a bit at least.
        if !self.is_data && self.values > self.unpacked.saturating_mul(8) {
            return Err(format!(
                "a dictionary of {} bytes claims {} values",
                self.unpacked, self.values
            ));
        }
        Ok(())
    }
}

/// The header at a place, and where its page begins.
fn header(file: &mut (impl Read + Seek), at: u64, end: u64) -> Result<(Page, u64), Problem> {
    let failed = |error: std::io::Error| format!("it cannot be read ({error})");
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut bytes = Vec::new();
    let most = LONGEST_HEADER.min(end.saturating_sub(at));
    // Most headers are a few dozen bytes.
    for length in [most.min(256), most] {
        Read::take(&mut *file, length - bytes.len() as u64)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let mut thrift = Thrift {
            bytes: &bytes,
            at: 0,
        };
        if let Some(page) = page(&mut thrift) {
            return Ok((page, at + thrift.at as u64));
        }
    }
    Err("a page's header cannot be understood".to_owned())
}

fn checksum(file: &mut (impl Read + Seek), at: u64, length: u64) -> Result<u32, Problem> {
    let failed = |error: std::io::Error| format!("it cannot be read ({error})");
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut crc = flate2::Crc::new();
    let mut left = length;
    let mut buffer = vec![0u8; 1 << 16];
    while left > 0 {
        let most = left.min(buffer.len() as u64) as usize;
        let count = file.read(&mut buffer[..most]).map_err(failed)?;
        if count == 0 {
            return Err("the file ends inside a page".to_owned());
        }
        crc.update(&buffer[..count]);
        left -= count as u64;
    }
    Ok(crc.sum())
}

/// Kinds of values in Thrift's compact protocol.
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
pub(super) const STRUCT: u8 = 12;
/// Structures nest no deeper in headers.
const MAX_DEPTH: usize = 8;

/// A reader of Thrift's compact protocol that trusts nothing.
pub(super) struct Thrift<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let raw = self.unsigned()?;
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The next field's number and kind; the kind is 0 at a structure's end.
    pub(super) fn field(&mut self, last: i64) -> Option<(i64, u8)> {
        let head = self.byte()?;
        let (step, kind) = (i64::from(head >> 4), head & 0xf);
        let number = match step {
            _ if kind == 0 => last,
            0 => self.signed()?,
            step => last + step,
        };
        Some((number, kind))
    }

    /// The number and the kind of a list's elements; a flag in a list takes a byte.
    pub(super) fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 {
            self.unsigned()?
        } else {
            u64::from(head >> 4)
        };
        let kind = if matches!(head & 0xf, 1 | 2) {
            3
        } else {
            head & 0xf
        };
        Some((count, kind))
    }

    pub(super) fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth == MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => {}
            3 => self.at += 1,
            4..=6 => {
                self.unsigned()?;
            }
            7 => self.at += 8,
            BINARY => {
                let length = usize::try_from(self.unsigned()?).ok()?;
                self.at = self.at.checked_add(length)?;
            }
            LIST | SET => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    self.skip(kind, depth + 1)?;
                    self.bytes.get(..self.at)?;
                }
            }
            MAP => return None,
            STRUCT => {
                let mut last = 0;
                loop {
                    let (number, kind) = self.field(last)?;
                    if kind == 0 {
                        break;
                    }
                    self.skip(kind, depth + 1)?;
                    last = number;
                }
            }
            _ => return None,
        }
        self.bytes.get(..self.at).map(|_| ())
    }
}

fn page(thrift: &mut Thrift<'_>) -> Option<Page> {
    let mut page = Page::default();
    let mut last = 0;
    loop {
        let (number, kind) = thrift.field(last)?;
        match (number, kind) {
            (_, 0) => return Some(page),
            // 0 and 3 are data pages, 2 is a dictionary; indices (1) hold no values.
            (1, 5) => page.is_data = matches!(thrift.signed()?, 0 | 3),
            (2, 5) => page.unpacked = thrift.signed()?,
            (3, 5) => page.packed = thrift.signed()?,
            (4, 5) => page.crc = Some(thrift.signed()?),
            (5 | 7 | 8, STRUCT) => page.values = count_of(thrift)?,
            (_, kind) => thrift.skip(kind, 0)?,
        }
        last = number;
    }
}

/// The first field of a page's own header, which is the number of its values.
fn count_of(thrift: &mut Thrift<'_>) -> Option<i64> {
    let (mut count, mut last) = (0, 0);
    loop {
        let (number, kind) = thrift.field(last)?;
        match (number, kind) {
            (_, 0) => return Some(count),
            (1, 5) => count = thrift.signed()?,
            (_, kind) => thrift.skip(kind, 1)?,
        }
        last = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_field_by_field() {
        // Type 0, 300 bytes unpacked, 100 packed, then a data page's header with 7 values, an encoding and empty statistics.
        let bytes = [
            0x15, 0, 0x15, 0xd8, 0x04, 0x15, 0xc8, 0x01, 0x2c, 0x15, 14, 0x15, 0, 0x2c, 0, 0, 0,
        ];
        let mut thrift = Thrift {
            bytes: &bytes,
            at: 0,
        };
        let page = page(&mut thrift).unwrap();
        assert_eq!(
            (page.unpacked, page.packed, page.values, page.is_data),
            (300, 100, 7, true)
        );
        assert_eq!(thrift.at, bytes.len());
        page.check().unwrap();
    }

    #[test]
    fn claims_out_of_proportion_are_refused() {
        let page = Page {
            unpacked: 100,
            packed: 50,
            is_data: true,
            values: 9,
            crc: None,
        };
        page.check().unwrap();
        for bad in [
            Page { packed: -1, ..page },
            Page {
                unpacked: LARGEST_PAGE + 1,
                packed: LARGEST_PAGE,
                ..page
            },
            Page {
                unpacked: 1 << 25,
                packed: 10,
                ..page
            },
            Page {
                is_data: false,
                values: 801,
                ..page
            },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
