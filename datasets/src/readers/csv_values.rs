//! The values of a CSV text whose shape has been checked: each piece is parsed by itself, straight into its stretch of the columns.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::csv::{Piece, Text, after_blank_line, after_quoted};
use crate::frame::Column;
use crate::parallel;

/// Spellings of "no value".
const MISSING: [&str; 7] = ["", "NA", "N/A", "NaN", "nan", "null", "None"];

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Whole numbers up to here are doubles.
const EXACT: u64 = 1 << 53;
/// Digits that always fit into 64 bits.
const DIGITS: usize = 19;

/// The fields at `selected`, as numbers where every value is one (or missing) and as text elsewhere.
pub(super) fn columns(text: &Text<'_>, selected: &[usize]) -> Vec<Column> {
    let wanted = Wanted::new(selected);
    let mut values: Vec<Vec<f64>> = vec![vec![0.0; text.rows]; selected.len()];
    let is_text: Vec<AtomicBool> = selected.iter().map(|_| AtomicBool::new(false)).collect();
    let mut rest: Vec<&mut [f64]> = values.iter_mut().map(Vec::as_mut_slice).collect();
    let mut work = Vec::new();
    for piece in &text.pieces {
        let mut own = Vec::with_capacity(rest.len());
        for column in &mut rest {
            let (here, behind) = std::mem::take(column).split_at_mut(piece.rows);
            own.push(here);
            *column = behind;
        }
        work.push((piece, own));
    }
    parallel::map(work, |(piece, mut own)| {
        wanted.each_field(text, piece, |row, slot, fields| {
            if is_text[slot].load(Ordering::Relaxed) {
                return fields.skip();
            }
            match fields.number() {
                Some(value) => own[slot][row] = value,
                None => is_text[slot].store(true, Ordering::Relaxed),
            }
        });
    });
    let texts: Vec<usize> = (0..selected.len())
        .filter(|&slot| is_text[slot].load(Ordering::Relaxed))
        .collect();
    let mut columns: Vec<Column> = values.into_iter().map(Column::Number).collect();
    if !texts.is_empty() {
        let fields: Vec<usize> = texts.iter().map(|&slot| selected[slot]).collect();
        for (slot, column) in texts.into_iter().zip(words(text, &fields)) {
            columns[slot] = Column::Text(column);
        }
    }
    columns
}

/// The fields at `selected` as text.
fn words(text: &Text<'_>, selected: &[usize]) -> Vec<Vec<Option<String>>> {
    let wanted = Wanted::new(selected);
    let pieces = parallel::map(text.pieces.iter().collect(), |piece: &Piece| {
        let mut own: Vec<Vec<Option<String>>> =
            vec![Vec::with_capacity(piece.rows); selected.len()];
        wanted.each_field(text, piece, |_, slot, fields| own[slot].push(fields.word()));
        own
    });
    let mut all = vec![Vec::with_capacity(text.rows); selected.len()];
    for piece in pieces {
        for (column, more) in all.iter_mut().zip(piece) {
            column.extend(more);
        }
    }
    all
}

/// Fields that are wanted, in the order of the file, each with its place among the columns.
struct Wanted(Vec<(usize, usize)>);

impl Wanted {
    fn new(selected: &[usize]) -> Self {
        let mut places: Vec<(usize, usize)> = selected.iter().copied().zip(0..).collect();
        places.sort_unstable();
        Self(places)
    }

    /// Visits the wanted fields of a piece: (row of the piece, place of the column, fields), where the visitor reads or skips one.
    fn each_field(
        &self,
        text: &Text<'_>,
        piece: &Piece,
        mut visit: impl FnMut(usize, usize, &mut Fields<'_>),
    ) {
        let bytes = &text.bytes[piece.bytes.clone()];
        let mut fields = Fields {
            bytes,
            at: 0,
            delimiter: text.delimiter,
            is_plain: !matches!(text.delimiter, b'0'..=b'9' | b'.' | b'+' | b'-'),
        };
        let mut row = 0;
        while fields.at < bytes.len() {
            if let Some(next) = after_blank_line(bytes, fields.at) {
                fields.at = next;
                continue;
            }
            let mut field = 0;
            for &(wanted, slot) in &self.0 {
                while field < wanted {
                    fields.skip();
                    fields.at += 1;
                    field += 1;
                }
                visit(row, slot, &mut fields);
                fields.at += 1;
                field += 1;
            }
            while field < text.header.len() {
                fields.skip();
                fields.at += 1;
                field += 1;
            }
            row += 1;
        }
    }
}

/// The fields of a piece, one after the other; reading one ends at the delimiter, line feed or end behind it.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    delimiter: u8,
    /// Whether no number has the delimiter in it.
    is_plain: bool,
}

impl Fields<'_> {
    fn skip(&mut self) {
        self.at = self.end();
    }

    /// Where the field that begins here ends.
    fn end(&self) -> usize {
        if self.bytes.get(self.at) == Some(&b'"')
            && let Ok(end) = after_quoted(self.bytes, self.at + 1, self.delimiter)
        {
            return end;
        }
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr2(self.delimiter, b'\n', rest);
        self.at + length.unwrap_or(rest.len())
    }

    /// The field without quotes and blanks around it.
    fn text(&mut self) -> Cow<'_, str> {
        let begin = self.at;
        self.at = self.end();
        let field = self.bytes[begin..self.at].trim_ascii_end();
        // The whole text is UTF-8, and is cut at ASCII characters.
        match field {
            [b'"', inner @ .., b'"'] => {
                let inner = String::from_utf8_lossy(inner);
                match inner.contains('"') {
                    true => Cow::Owned(inner.replace("\"\"", "\"").trim().to_owned()),
                    false => trimmed(inner),
                }
            }
            plain => trimmed(String::from_utf8_lossy(plain)),
        }
    }

    /// The field as text; none for a missing one.
    fn word(&mut self) -> Option<String> {
        let text = self.text();
        (!MISSING.contains(&text.as_ref())).then(|| text.into_owned())
    }

    /// The field as a number, NaN for a missing one; none for another text.
    fn number(&mut self) -> Option<f64> {
        if let Some((value, end)) = self.decimal() {
            self.at = end;
            return Some(value);
        }
        let text = self.text();
        match MISSING.contains(&text.as_ref()) {
            true => Some(f64::NAN),
            false => text.parse().ok(),
        }
    }

    /// A plain decimal number of few digits, rounded once and so to the nearest double (Clinger 1990), and where it ends.
    fn decimal(&self) -> Option<(f64, usize)> {
        let rest = self.bytes.get(self.at..).filter(|_| self.is_plain)?;
        let sign = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
        let mut mantissa = 0u64;
        let mut digits = |from: usize| {
            let mut count = 0;
            while let Some(digit) = rest.get(from + count).map(|byte| byte.wrapping_sub(b'0'))
                && digit <= 9
            {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                count += 1;
            }
            count
        };
        let whole = digits(sign);
        let mut end = sign + whole;
        let mut fraction = 0;
        if rest.get(end) == Some(&b'.') {
            fraction = digits(end + 1);
            end += 1 + fraction;
        }
        if !(1..=DIGITS).contains(&(whole + fraction)) || mantissa > EXACT {
            return None;
        }
        end += match rest.get(end..end + 2) {
            Some([b'\r', b'\n']) => 1,
            _ => 0,
        };
        if !matches!(rest.get(end), None | Some(b'\n')) && rest.get(end) != Some(&self.delimiter) {
            return None;
        }
        let value = mantissa as f64 / POWERS[fraction];
        let value = if rest.first() == Some(&b'-') {
            -value
        } else {
            value
        };
        Some((value, self.at + end))
    }
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::csv::parse;

    fn numbers(text: &str) -> Vec<f64> {
        let frame = parse(Path::new("t.csv"), text.as_bytes(), ',', None).unwrap();
        frame.numbers(&frame.names()[0]).unwrap()
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_however_they_are_written() {
        let written = [
            "0.1",
            "-0.30000000000000004",
            "+5",
            ".5",
            "5.",
            "-0",
            "9007199254740993",
            "1e-7",
            "123456789012345678901234",
            "0.1234567890123456789012",
            "1E5",
            " 7 ",
            "\"8\"",
            "\" 9.25 \"",
        ];
        let text: String = written.iter().map(|text| format!("{text},x\n")).collect();
        let found = numbers(&format!("a,b\n{text}"));
        for (text, found) in written.iter().zip(found) {
            let plain = text.trim_matches(|c| c == '"' || c == ' ');
            let expected: f64 = plain.parse().unwrap();
            assert_eq!(found.to_bits(), expected.to_bits(), "{text}");
        }
    }

    #[test]
    fn line_ends_of_all_kinds_end_a_number() {
        assert_eq!(numbers("a\r\n1\r\n2\r\n\r\n"), [1.0, 2.0]);
        assert_eq!(numbers("a\n1\n2"), [1.0, 2.0]);
        assert_eq!(numbers("a\n1\n2\r"), [1.0, 2.0]);
    }

    #[test]
    fn a_word_late_in_a_long_file_makes_the_column_text() {
        // Several pieces, the word in the last one.
        let rows = 400_000;
        let mut text = "a,b\n".to_owned();
        for row in 0..rows {
            text.push_str(if row == rows - 1 {
                "7.0,end\n"
            } else {
                "7.0,1.5\n"
            });
        }
        let frame = parse(Path::new("t.csv"), text.as_bytes(), ',', None).unwrap();
        assert_eq!(frame.rows(), rows);
        assert!(frame.numbers("a").unwrap().iter().all(|value| *value > 6.0));
        let keys = frame.keys("b").unwrap();
        assert_eq!((keys[0].as_str(), keys[rows - 1].as_str()), ("1.5", "end"));
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn decimals_are_those_of_the_standard_library(
            whole in 0u64..1_000_000_000_000, fraction in 0u64..1_000_000_000_000, places in 0usize..14, is_negative in any::<bool>(),
        ) {
            let sign = if is_negative { "-" } else { "" };
            let text = match places {
                0 => format!("{sign}{whole}"),
                _ => format!("{sign}{whole}.{fraction:0places$}"),
            };
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(numbers(&format!("a\n{text}\n"))[0].to_bits(), expected.to_bits());
        }
    }
}
