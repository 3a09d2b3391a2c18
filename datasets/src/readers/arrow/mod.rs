//! Arrow IPC files, which are also what Feather (version 2) is: numbers, dates, texts and dictionaries of texts, packed by LZ4,
//! Zstandard or not at all.
//!
//! Written here rather than taken from polars, whose reader costs every user build time for a format that is a list of plain
//! buffers, and trusts what a file says of itself.
//!
//! # Source
//! The Apache Arrow columnar format 1.5, sections "IPC File Format" and "Physical memory layout", with `Schema.fbs` and `Message.fbs`.

mod batch;
mod flatbuffer;
mod schema;

use std::path::Path;

use batch::{Batch, Dictionaries, Problem};
use flatbuffer::Table;
use schema::Field;

use crate::error::{Error, Result};
use crate::frame::{Column, Frame, unknown_column};

const MAGIC: &[u8] = b"ARROW1";
/// The first version of Feather, a format of its own.
const FEATHER_1: &[u8] = b"FEA1";
/// Precedes the length of a message in current files.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Kinds of messages.
const DICTIONARY: u8 = 2;
const RECORDS: u8 = 3;

/// Reads all columns, or the named ones.
pub(crate) fn read(path: &Path, columns: Option<&[String]>) -> Result<Frame> {
    parse(path, &super::read_bytes(path)?, columns)
}

/// Reads an Arrow file held in memory; `path` is what errors call it.
pub(crate) fn parse(path: &Path, bytes: &[u8], columns: Option<&[String]>) -> Result<Frame> {
    if bytes.is_empty() {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    let malformed = |reason| Error::Malformed {
        path: path.to_path_buf(),
        format: "Arrow",
        reason,
    };
    let footer = footer(bytes).map_err(malformed)?;
    let fields = footer
        .table(1)
        .and_then(schema::fields)
        .ok_or_else(|| malformed("its schema is damaged or of an unknown kind".to_owned()))?;
    let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(Error::DuplicateColumn {
                path: path.to_path_buf(),
                column: name.clone(),
            });
        }
    }
    for name in columns.unwrap_or_default() {
        if !names.contains(name) {
            return Err(unknown_column(path, name, &names));
        }
    }
    let is_wanted: Vec<bool> = names
        .iter()
        .map(|name| columns.is_none_or(|columns| columns.contains(name)))
        .collect();
    let (values, rows) = read_batches(bytes, footer, &fields, &is_wanted).map_err(malformed)?;
    if rows == 0 {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    let mut read = names.into_iter().zip(values).zip(&is_wanted);
    let read = read
        .by_ref()
        .filter(|(_, wanted)| **wanted)
        .map(|(column, _)| column);
    let (names, values): (Vec<String>, Vec<Column>) = read.unzip();
    let frame = Frame::from_columns(path, names, values, rows);
    match columns {
        None => Ok(frame),
        Some(columns) => frame.select(columns),
    }
}

fn footer(bytes: &[u8]) -> std::result::Result<Table<'_>, Problem> {
    if bytes.starts_with(FEATHER_1) {
        return Err("it is Feather version 1: write it again as version 2".to_owned());
    }
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin with ARROW1: not an Arrow file (streams have no index: write a file)".to_owned());
    }
    let cut = || "its end is missing: the file is truncated; copy or download it again".to_owned();
    let rest = bytes.strip_suffix(MAGIC).ok_or_else(cut)?;
    let (rest, length) = rest.split_last_chunk::<4>().ok_or_else(cut)?;
    let length = usize::try_from(i32::from_le_bytes(*length)).map_err(|_| cut())?;
    let start = rest.len().checked_sub(length).ok_or_else(cut)?;
    Table::root(&rest[start..]).ok_or_else(|| "its footer is damaged".to_owned())
}

fn read_batches(
    bytes: &[u8],
    footer: Table<'_>,
    fields: &[Field],
    is_wanted: &[bool],
) -> std::result::Result<(Vec<Column>, usize), Problem> {
    let damaged = || "its footer is damaged".to_owned();
    let mut dictionaries = Dictionaries::new();
    for block in footer.structs::<24>(2).ok_or_else(damaged)? {
        let (message, body) = message(bytes, &block, DICTIONARY)?;
        let id = message.i64(0).unwrap_or(0);
        let is_used = |field: &&Field| field.dictionary.as_ref().is_some_and(|one| one.id == id);
        let field = fields.iter().find(is_used).ok_or_else(damaged)?;
        let mut batch = Batch::new(message.table(1).ok_or_else(damaged)?, body)?;
        let rows = batch.rows();
        let values = match batch.values(&field.kind, rows)? {
            Column::Text(values) => values,
            _ => {
                batch.check_empty(rows)?;
                vec![None; rows]
            }
        };
        let is_delta = message.u8(2).unwrap_or(0) == 1;
        let known = dictionaries.entry(id).or_default();
        if !is_delta {
            known.clear();
        }
        known.extend(values);
    }
    let mut columns: Vec<Option<Column>> = vec![None; fields.len()];
    let mut rows = 0;
    for block in footer.structs::<24>(3).ok_or_else(damaged)? {
        let (message, body) = message(bytes, &block, RECORDS)?;
        let mut batch = Batch::new(message, body)?;
        rows += batch.rows();
        for ((field, column), is_wanted) in fields.iter().zip(&mut columns).zip(is_wanted) {
            let more = batch.column(field, &dictionaries, *is_wanted)?;
            match column {
                Some(column) => column.append(more),
                None => *column = Some(more),
            }
        }
    }
    let columns = columns
        .into_iter()
        .map(|column| column.unwrap_or(Column::Number(Vec::new())));
    Ok((columns.collect(), rows))
}

/// The message that a block of the footer points to, and its body.
fn message<'a>(
    bytes: &'a [u8],
    block: &[u8; 24],
    expected: u8,
) -> std::result::Result<(Table<'a>, &'a [u8]), Problem> {
    let outside = || "a block lies outside of the file".to_owned();
    let number = |range: std::ops::Range<usize>| {
        let value = block[range]
            .iter()
            .rev()
            .fold(0u64, |all, byte| all << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| outside())
    };
    let (at, length, body) = (number(0..8)?, number(8..12)?, number(16..24)?);
    let end = at.checked_add(length).ok_or_else(outside)?;
    let head = bytes.get(at..end).ok_or_else(outside)?;
    let body = bytes
        .get(end..end.checked_add(body).ok_or_else(outside)?)
        .ok_or_else(outside)?;
    // Files before 2019 have the length alone.
    let prefix = if head.starts_with(&CONTINUATION) {
        8
    } else {
        4
    };
    let damaged = || "a block's header is damaged".to_owned();
    let message = head
        .get(prefix..)
        .and_then(Table::root)
        .ok_or_else(damaged)?;
    if message.u8(1) != Some(expected) {
        return Err(damaged());
    }
    Ok((message.table(2).ok_or_else(damaged)?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by pyarrow: three files of the same table, two batches each. See `tests/data/README.md`.
    const FILES: [&[u8]; 3] = [
        include_bytes!("../../../tests/data/plain.arrow"),
        include_bytes!("../../../tests/data/lz4.feather"),
        include_bytes!("../../../tests/data/zstd.arrow"),
    ];

    fn parse(bytes: &[u8], columns: Option<&[String]>) -> Result<Frame> {
        super::parse(Path::new("t.arrow"), bytes, columns)
    }

    #[test]
    fn the_usual_column_types_are_read() {
        for bytes in FILES {
            let frame = parse(bytes, None).unwrap();
            assert_eq!(frame.rows(), 6);
            let text = |name: &str| format!("{:?}", frame.numbers(name).unwrap());
            assert_eq!(text("f64"), "[0.5, NaN, 2.5, 3.5, 4.5, 5.5]");
            assert_eq!(text("f32"), "[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]");
            assert_eq!(text("f16"), "[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]");
            assert_eq!(text("i8"), "[-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]");
            assert_eq!(text("u64"), "[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]");
            assert_eq!(text("flag"), "[1.0, 0.0, NaN, 1.0, 0.0, 1.0]");
            let kinds = ["red", "blue", "red", "red", "blue", "red"];
            assert_eq!(frame.keys("kind").unwrap(), kinds);
            let long = "a text that is longer than twelve bytes";
            assert_eq!(
                frame.keys("text").unwrap(),
                ["a", "", "ccc", "d", long, "f"]
            );
            assert_eq!(
                frame.keys("view").unwrap(),
                ["a", "", "ccc", "d", long, "f"]
            );
            let days = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0].map(|day| day * 86400.0);
            assert_eq!(frame.times("day").unwrap(), (days.to_vec(), true));
            let (instants, _) = frame.times("instant").unwrap();
            assert!((instants[1] - 1.5).abs() < 1e-9, "{instants:?}");
            let error = frame.numbers("list").unwrap_err();
            assert!(error.to_string().contains("list"), "{error}");
        }
    }

    #[test]
    fn named_columns_come_in_the_order_asked_for() {
        let wanted = ["text", "f32"].map(str::to_owned);
        for bytes in FILES {
            let frame = parse(bytes, Some(&wanted)).unwrap();
            assert_eq!(frame.names(), wanted);
        }
        let error = parse(FILES[0], Some(&["txt".to_owned()])).unwrap_err();
        assert!(
            matches!(error, Error::UnknownColumn { nearest: Some(near), .. } if near == "text")
        );
    }

    #[test]
    fn malformed_files_are_named() {
        for (bytes, expected) in [
            (&FILES[0][..FILES[0].len() - 9], "truncated"),
            (b"a,b\n1,2\n", "not an Arrow file"),
            (b"FEA1....", "version 2"),
            (b"ARROW1\0\0ARROW1", "truncated"),
        ] {
            let error = parse(bytes, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(parse(b"", None), Err(Error::EmptyFile { .. })));
    }

    #[test]
    fn no_damaged_byte_makes_it_panic() {
        for (file, bytes) in FILES.into_iter().enumerate() {
            for at in (file..bytes.len()).step_by(7) {
                for to in [0x7f, 0xff, bytes[at].wrapping_add(1)] {
                    let mut damaged = bytes.to_vec();
                    damaged[at] = to;
                    let _ = parse(&damaged, None);
                }
            }
            (0..bytes.len())
                .step_by(97)
                .for_each(|end| assert!(parse(&bytes[..end], None).is_err()));
        }
    }
}
