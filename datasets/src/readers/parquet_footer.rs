//! A walk over the footer of a Parquet file before a decoder sees it: each list has the elements that it claims.
//!
//! The decoder makes room for a list by its count alone, and takes a field for what its number says, whatever its kind is; so a few changed
//! bytes could ask for all memory, which ends a process. Here counts are held against the bytes, and kinds against the format.
//!
//! # Source
//! Apache Parquet format 2.11, `parquet.thrift` (`FileMetaData`), in Thrift's compact protocol.

use super::parquet_pages::{BINARY, LIST, Problem, STRUCT, Thrift};

/// What a field holds.
enum Shape {
    Flag,
    Byte,
    Short,
    Int,
    Long,
    Bytes,
    List(&'static Shape),
    Struct(&'static [(i64, Shape)]),
}

use Shape::{Byte, Bytes, Flag, Int, List, Long, Short, Struct};

const EMPTY: Shape = Struct(&[]);
const FILE: Shape = Struct(&[
    (1, Int),
    (2, List(&SCHEMA_ELEMENT)),
    (3, Long),
    (4, List(&ROW_GROUP)),
    (5, List(&KEY_VALUE)),
    (6, Bytes),
    (7, List(&COLUMN_ORDER)),
    (8, Struct(&[(1, EMPTY), (2, EMPTY)])),
    (9, Bytes),
]);
const SCHEMA_ELEMENT: Shape = Struct(&[
    (1, Int),
    (2, Int),
    (3, Int),
    (4, Bytes),
    (5, Int),
    (6, Int),
    (7, Int),
    (8, Int),
    (9, Int),
    (10, LOGICAL_TYPE),
]);
const LOGICAL_TYPE: Shape = Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Int), (2, Int)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Struct(&[(1, Byte), (2, Flag)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Bytes)])),
    (18, Struct(&[(1, Bytes), (2, Int)])),
]);
const TIME: Shape = Struct(&[
    (1, Flag),
    (2, Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)])),
]);
const ROW_GROUP: Shape = Struct(&[
    (1, List(&COLUMN_CHUNK)),
    (2, Long),
    (3, Long),
    (4, List(&Struct(&[(1, Int), (2, Flag), (3, Flag)]))),
    (5, Long),
    (6, Long),
    (7, Short),
]);
const COLUMN_CHUNK: Shape = Struct(&[
    (1, Bytes),
    (2, Long),
    (3, COLUMN),
    (4, Long),
    (5, Int),
    (6, Long),
    (7, Int),
    (8, Struct(&[])),
    (9, Bytes),
]);
const COLUMN: Shape = Struct(&[
    (1, Int),
    (2, List(&Int)),
    (3, List(&Bytes)),
    (4, Int),
    (5, Long),
    (6, Long),
    (7, Long),
    (8, List(&KEY_VALUE)),
    (9, Long),
    (10, Long),
    (11, Long),
    (12, STATISTICS),
    (13, List(&Struct(&[(1, Int), (2, Int), (3, Int)]))),
    (14, Long),
    (15, Int),
    (16, Struct(&[(1, Long), (2, List(&Long)), (3, List(&Long))])),
]);
const STATISTICS: Shape = Struct(&[
    (1, Bytes),
    (2, Bytes),
    (3, Long),
    (4, Long),
    (5, Bytes),
    (6, Bytes),
    (7, Flag),
    (8, Flag),
]);
const KEY_VALUE: Shape = Struct(&[(1, Bytes), (2, Bytes)]);
const COLUMN_ORDER: Shape = Struct(&[(1, EMPTY), (2, EMPTY)]);

/// Checks the bytes of a footer.
pub(super) fn check(bytes: &[u8]) -> Result<(), Problem> {
    let mut thrift = Thrift { bytes, at: 0 };
    let found = value(&mut thrift, &FILE, STRUCT);
    found.ok_or_else(|| {
        format!(
            "its footer is damaged near byte {} of {}",
            thrift.at.min(bytes.len()),
            bytes.len()
        )
    })
}

fn value(thrift: &mut Thrift<'_>, shape: &Shape, kind: u8) -> Option<()> {
    let is_kind = match shape {
        Flag => matches!(kind, 1 | 2),
        Byte => kind == 3,
        Short => kind == 4,
        Int => kind == 5,
        Long => kind == 6,
        Bytes => kind == BINARY,
        List(_) => kind == LIST,
        Struct(_) => kind == STRUCT,
    };
    if !is_kind {
        return None;
    }
    match shape {
        List(element) => {
            let (count, kind) = thrift.list()?;
            // An element takes a byte at least.
            if count > thrift.bytes.len() as u64 {
                return None;
            }
            for _ in 0..count {
                value(thrift, element, kind)?;
            }
            Some(())
        }
        Struct(fields) => {
            let mut last = 0;
            loop {
                let (number, kind) = thrift.field(last)?;
                if kind == 0 {
                    return Some(());
                }
                // The format's numbers have 16 bits, which a decoder may cut others to.
                if !(1..=i64::from(i16::MAX)).contains(&number) {
                    return None;
                }
                match fields.iter().find(|(known, _)| *known == number) {
                    Some((_, shape)) => value(thrift, shape, kind)?,
                    None => thrift.skip(kind, 0)?,
                }
                last = number;
            }
        }
        _ => thrift.skip(kind, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1, then field 4 (row groups) as given, then the end.
    fn footer(row_groups: &[u8]) -> Vec<u8> {
        [&[0x15, 2][..], row_groups, &[0]].concat()
    }

    #[test]
    fn lists_have_what_they_claim() {
        // One row group without fields; none; an empty list without a kind, as one writer leaves it.
        for whole in [&[0x39, 0x1c, 0][..], &[0x39, 0x0c], &[0x39, 0]] {
            check(&footer(whole)).unwrap();
        }
        for (what, broken) in [
            ("two where there is one", &[0x39, 0x2c, 0][..]),
            (
                "four thousand million",
                &[0x39, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f, 0],
            ),
            ("numbers for row groups", &[0x39, 0x15, 2]),
            ("a number for the list", &[0x35, 2]),
            ("a field beyond 16 bits", &[0x05, 0x88, 0x80, 0x08, 2]),
        ] {
            assert!(check(&footer(broken)).is_err(), "{what}");
        }
        let cut = footer(&[0x39, 0x1c, 0]);
        (0..cut.len()).for_each(|length| assert!(check(&cut[..length]).is_err(), "{length}"));
    }
}
