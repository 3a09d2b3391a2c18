//! CSV: a check of the file's shape (ragged rows, stray quotes), then its values, piece by piece on all cores.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::csv_values;
use crate::error::{Error, Result};
use crate::frame::{Frame, unknown_column};

/// The name of a first column that the header leaves out, as R's `write.table` does with the names of the rows.
const ROW_NAMES: &str = "row";

/// Bytes of a piece: enough to be worth a thread's while, and many for each core.
const PIECE: usize = 1 << 20;

/// Reads all columns, or the named ones, as numbers where every value is one and as text elsewhere.
pub(crate) fn read(path: &Path, delimiter: char, columns: Option<&[String]>) -> Result<Frame> {
    let bytes = super::read_bytes(path)?;
    parse(path, &bytes, delimiter, columns)
}

/// Reads a CSV text held in memory; `path` is what errors call it.
pub(crate) fn parse(
    path: &Path,
    bytes: &[u8],
    delimiter: char,
    columns: Option<&[String]>,
) -> Result<Frame> {
    let delimiter = single_byte(delimiter)?;
    let text = Text::check(path, bytes, delimiter)?;
    let selected = select(path, &text.header, columns)?;
    let parsed = csv_values::columns(&text, &selected);
    let name = |&index: &usize| text.header[index].clone();
    let names = selected.iter().map(name).collect();
    Ok(Frame::from_columns(path, names, parsed, text.rows))
}

/// Bytes of a file that its delimiter is looked for in.
const HEAD: u64 = 1 << 16;

/// What separates the fields of a file's first line: a comma wherever there is one, else the commonest of `;`, tab and `|`.
pub(crate) fn likely_delimiter(path: &Path) -> Result<char> {
    let failed = |source| Error::read(path, source);
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(HEAD).read_to_end(&mut head).map_err(failed)?;
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.find(|line| !line.trim_ascii().is_empty());
    let count = |delimiter: char| {
        let bytes = line.unwrap_or_default().iter();
        bytes.filter(|byte| char::from(**byte) == delimiter).count()
    };
    let others = [';', '\t', '|'].map(|delimiter| (count(delimiter), delimiter));
    let likeliest = others.into_iter().max_by_key(|(count, _)| *count);
    Ok(match likeliest {
        Some((most, delimiter)) if most > 0 && count(',') == 0 => delimiter,
        _ => ',',
    })
}

fn single_byte(delimiter: char) -> Result<u8> {
    let reason = || {
        format!("`{delimiter}` cannot separate fields: use one ASCII character such as `,` or `;`")
    };
    match u8::try_from(delimiter) {
        Ok(byte) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(byte),
        _ => Err(Error::Config {
            key: "delimiter",
            reason: reason(),
        }),
    }
}

fn select(path: &Path, header: &[String], columns: Option<&[String]>) -> Result<Vec<usize>> {
    let Some(columns) = columns else {
        return Ok((0..header.len()).collect());
    };
    let index = |name: &String| {
        header
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| unknown_column(path, name, header))
    };
    columns.iter().map(index).collect()
}

/// A CSV text whose shape has been checked: a rectangle of UTF-8 fields.
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) delimiter: u8,
    pub(super) header: Vec<String>,
    pub(super) rows: usize,
    /// The records in order, cut into pieces of about the same size.
    pub(super) pieces: Vec<Piece>,
}

/// Whole records, and how many of them are rows.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) bytes: Range<usize>,
    pub(super) rows: usize,
}

impl<'a> Text<'a> {
    fn check(path: &Path, bytes: &'a [u8], delimiter: u8) -> Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::EmptyFile {
                path: path.to_path_buf(),
            });
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            let reason = format!(
                "byte {} is not UTF-8 text: save the file as UTF-8",
                error.valid_up_to()
            );
            return Err(malformed(path, reason));
        }
        let has_quotes = memchr::memchr(b'"', bytes).is_some();
        let mut text = Self {
            bytes,
            delimiter,
            header: Vec::new(),
            rows: 0,
            pieces: Vec::new(),
        };
        let mut blank = Vec::new();
        let mut piece = Piece::default();
        let mut at = 0;
        while at < bytes.len() {
            let record = match has_quotes {
                true => Record::scan(bytes, at, delimiter)
                    .map_err(|stray| stray.error(path, text.rows))?,
                false => Record::line(bytes, at, delimiter),
            };
            if record.is_blank {
                blank.push(at..record.end);
            } else if text.header.is_empty() {
                text.header = names(&bytes[at..record.end], delimiter);
                piece.bytes = record.end..record.end;
            } else {
                text.add_row(path, record.fields)?;
                piece.rows += 1;
            }
            piece.bytes.end = record.end;
            at = record.end;
            if piece.bytes.len() >= PIECE {
                let next = at..at;
                text.pieces.push(std::mem::take(&mut piece));
                piece.bytes = next;
            }
        }
        text.pieces.push(piece);
        check_header(path, &text.header, text.rows)?;
        check_blank_lines(path, bytes, &blank, text.header.len())?;
        Ok(text)
    }

    fn add_row(&mut self, path: &Path, fields: usize) -> Result<()> {
        self.rows += 1;
        if self.rows == 1 && fields == self.header.len() + 1 {
            self.header.insert(0, ROW_NAMES.to_owned());
        }
        if fields == self.header.len() {
            return Ok(());
        }
        Err(Error::RaggedRow {
            path: path.to_path_buf(),
            row: self.rows,
            found: fields,
            expected: self.header.len(),
        })
    }
}

/// Whether a line begins and ends at `at`, and where the next one begins.
pub(super) fn after_blank_line(bytes: &[u8], at: usize) -> Option<usize> {
    match &bytes[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        [b'\r'] => Some(at + 1),
        _ => None,
    }
}

/// Blank lines are decoration, except between the rows of a single column, where one may stand for a lost value.
fn check_blank_lines(
    path: &Path,
    bytes: &[u8],
    blank: &[Range<usize>],
    width: usize,
) -> Result<()> {
    let is_inside = |range: &Range<usize>| {
        let rest = &bytes[range.end..];
        range.start > 0 && !rest.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    };
    if width == 1 && blank.iter().any(is_inside) {
        let reason = "a blank line in a file of one column: remove it, or write the missing value";
        return Err(malformed(path, reason.to_owned()));
    }
    Ok(())
}

fn check_header(path: &Path, header: &[String], rows: usize) -> Result<()> {
    for (index, name) in header.iter().enumerate() {
        if header[..index].contains(name) {
            return Err(Error::DuplicateColumn {
                path: path.to_path_buf(),
                column: name.clone(),
            });
        }
    }
    if rows == 0 {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    Ok(())
}

/// One record's extent.
struct Record {
    fields: usize,
    end: usize,
    is_blank: bool,
}

/// A quote where RFC 4180 allows none.
pub(super) enum StrayQuote {
    InField,
    NeverClosed,
}

impl StrayQuote {
    fn error(&self, path: &Path, rows: usize) -> Error {
        let reason = match self {
            Self::InField => format!(
                "stray quote after data row {rows}: quote the whole field and double the quotes inside it"
            ),
            Self::NeverClosed => format!(
                "a quote opened after data row {rows} is never closed: close it, or double the quotes inside a field"
            ),
        };
        malformed(path, reason)
    }
}

impl Record {
    /// A line of a text without quotes.
    fn line(bytes: &[u8], start: usize, delimiter: u8) -> Self {
        let rest = &bytes[start..];
        let length = memchr::memchr(b'\n', rest);
        let line = &rest[..length.unwrap_or(rest.len())];
        Self {
            fields: 1 + memchr::memchr_iter(delimiter, line).count(),
            end: start + line.len() + usize::from(length.is_some()),
            is_blank: matches!(line, b"" | b"\r"),
        }
    }

    fn scan(bytes: &[u8], start: usize, delimiter: u8) -> std::result::Result<Self, StrayQuote> {
        let mut at = start;
        let mut fields = 1;
        loop {
            if bytes.get(at) == Some(&b'"') {
                at = after_quoted(bytes, at + 1, delimiter)?;
            } else {
                let rest = &bytes[at..];
                let stop = |byte: &u8| *byte == delimiter || matches!(*byte, b'\n' | b'"');
                at += rest.iter().position(stop).unwrap_or(rest.len());
            }
            match bytes.get(at) {
                Some(b'"') => return Err(StrayQuote::InField),
                Some(byte) if *byte == delimiter => fields += 1,
                found => {
                    let end = at + usize::from(found.is_some());
                    let is_blank = matches!(&bytes[start..at], b"" | b"\r");
                    return Ok(Self {
                        fields,
                        end,
                        is_blank,
                    });
                }
            }
            at += 1;
        }
    }
}

/// The place behind a quoted field that began before `at`: a delimiter, a line feed or the end.
pub(super) fn after_quoted(
    bytes: &[u8],
    mut at: usize,
    delimiter: u8,
) -> std::result::Result<usize, StrayQuote> {
    loop {
        let quote = bytes[at..].iter().position(|byte| *byte == b'"');
        at += quote.ok_or(StrayQuote::NeverClosed)? + 1;
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'"'), _) => at += 1,
            (None | Some(b'\n'), _) => return Ok(at),
            (Some(b'\r'), None | Some(b'\n')) => return Ok(at + 1),
            (Some(byte), _) if *byte == delimiter => return Ok(at),
            _ => return Err(StrayQuote::InField),
        }
    }
}

/// The fields of a header line, unquoted and trimmed.
fn names(line: &[u8], delimiter: u8) -> Vec<String> {
    let line = String::from_utf8_lossy(line);
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    for character in line.trim_end_matches(['\n', '\r']).chars() {
        match (character, names.last_mut()) {
            // A doubled quote closes and opens again; names with quotes inside lose them.
            ('"', _) => is_quoted = !is_quoted,
            (other, _) if other == char::from(delimiter) && !is_quoted => names.push(String::new()),
            (other, Some(name)) => name.push(other),
            (_, None) => {}
        }
    }
    names.iter().map(|name| name.trim().to_owned()).collect()
}

fn malformed(path: &Path, reason: String) -> Error {
    Error::Malformed {
        path: path.to_path_buf(),
        format: "CSV",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse_text(text: &str) -> Result<Frame> {
        parse(Path::new("t.csv"), text.as_bytes(), ',', None)
    }

    #[test]
    fn numbers_text_and_gaps_are_told_apart() {
        let frame = parse_text("a,b,\"c\"\n1, 2.5 ,x\n\n\"3\",,\"y, z\"\r\n").unwrap();
        assert_eq!(frame.rows(), 2);
        assert_eq!(frame.names(), ["a", "b", "c"]);
        assert_eq!(frame.numbers("a").unwrap(), [1.0, 3.0]);
        let gaps = frame.numbers("b").unwrap();
        assert!((gaps[0] - 2.5).abs() < 1e-12 && gaps[1].is_nan());
        assert_eq!(frame.keys("c").unwrap(), ["x", "y, z"]);
    }

    #[test]
    fn only_named_columns_are_read() {
        let wanted = ["c".to_owned(), "a".to_owned()];
        let bytes = b"a,b,c\n1,2,3\n4,5,6";
        let frame = parse(Path::new("t.csv"), bytes, ',', Some(&wanted)).unwrap();
        assert_eq!(frame.names(), wanted);
        assert_eq!(frame.numbers("c").unwrap(), [3.0, 6.0]);
    }

    #[test]
    fn a_quoted_line_break_is_one_value() {
        let frame = parse_text("a,b\n\"one\n\ntwo\",2\n3,4\n").unwrap();
        assert_eq!(frame.keys("a").unwrap(), ["one\n\ntwo", "3"]);
    }

    #[test]
    fn a_first_column_without_a_name_holds_the_rows_names() {
        let text = "\n\"a\",\"b\"\n\"1\",5,\"x\"\n\"2\",6,y\n";
        let frame = parse_text(text).unwrap();
        assert_eq!(frame.names(), ["row", "a", "b"]);
        assert_eq!(frame.numbers("a").unwrap(), [5.0, 6.0]);
        assert_eq!(frame.keys("b").unwrap(), ["x", "y"]);
        let wanted = ["b".to_owned()];
        let frame = parse(Path::new("t.csv"), text.as_bytes(), ',', Some(&wanted)).unwrap();
        assert_eq!(frame.keys("b").unwrap(), ["x", "y"]);
        assert!(matches!(
            parse_text("a,row\n1,5,6\n"),
            Err(Error::DuplicateColumn { .. })
        ));
    }

    #[test]
    fn a_ragged_row_is_named() {
        for text in ["a,b\n1,2\n3\n", "a,b\n1,2\n3,4,5\n"] {
            let error = parse_text(text).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::RaggedRow {
                        row: 2,
                        expected: 2,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn empty_files_and_bare_headers_are_refused() {
        for text in ["", " \n\n", "a,b\n", "a,b"] {
            assert!(
                matches!(parse_text(text), Err(Error::EmptyFile { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_blank_line_may_hide_a_value_only_in_one_column() {
        assert_eq!(parse_text("\na,b\n\n1,2\n\n").unwrap().rows(), 1);
        assert_eq!(parse_text("a\n1\n2\n\n\n").unwrap().rows(), 2);
        assert!(matches!(
            parse_text("a\n1\n\n2\n"),
            Err(Error::Malformed { .. })
        ));
    }

    #[test]
    fn a_repeated_column_is_named() {
        let error = parse_text("a,b,a\n1,2,3\n").unwrap_err();
        assert!(matches!(error, Error::DuplicateColumn { column, .. } if column == "a"));
    }

    #[test]
    fn an_unknown_column_comes_with_the_nearest() {
        let wanted = ["Ligth".to_owned()];
        let bytes = b"Light,CO2\n1,2\n";
        let error = parse(Path::new("t.csv"), bytes, ',', Some(&wanted)).unwrap_err();
        assert!(
            matches!(&error, Error::UnknownColumn { nearest: Some(near), .. } if near == "Light")
        );
        assert!(
            error.to_string().contains("did you mean `Light`?"),
            "{error}"
        );
    }

    #[test]
    fn stray_quotes_and_foreign_bytes_are_refused() {
        for bytes in [
            &b"a,b\n1,2\"\n"[..],
            b"a,b\n\"1,2\n",
            b"a,b\n\"1\"x,2\n",
            b"a\n\xff\xfe\n",
        ] {
            let result = parse(Path::new("t.csv"), bytes, ',', None);
            assert!(matches!(result, Err(Error::Malformed { .. })), "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(Path::new("t.csv"), &bytes, ',', None);
        }

        #[test]
        fn csv_like_text_never_panics(text in "[a-c0-9,.\"\r\n \t-]{0,200}") {
            let _ = parse(Path::new("t.csv"), text.as_bytes(), ',', None);
        }

        #[test]
        fn numbers_survive(values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 1..40)) {
            let lines: String = values.iter().map(|value| format!("{value:e},\"{value}\"\n")).collect();
            let frame = parse_text(&format!("a,b\n{lines}")).unwrap();
            prop_assert_eq!(frame.numbers("a").unwrap(), values.clone());
            prop_assert_eq!(frame.numbers("b").unwrap(), values);
        }
    }
}
