//! Record batches of an Arrow file: buffers to values.

use std::collections::HashMap;
use std::io::Read;

use super::flatbuffer::Table;
use super::schema::{Dictionary, Field, Kind};
use crate::frame::Column;
use crate::readers::half_to_f64;

/// What is wrong with a batch.
pub(super) type Problem = String;

/// No column of a batch has more rows than this.
const MAX_ROWS: i64 = 1 << 32;
/// A buffer that unpacks to more than this many times its size is damaged, or zeros that nobody needs.
const MAX_SWELL: u64 = 1 << 16;

/// So many rows without values are made whatever the size of the file.
const FEW_ROWS: usize = 1 << 16;

/// Values of the dictionaries seen so far.
pub(super) type Dictionaries = HashMap<i64, Vec<Option<String>>>;

/// One batch with its body.
pub(super) struct Batch<'a> {
    body: &'a [u8],
    rows: usize,
    nodes: std::vec::IntoIter<[u8; 16]>,
    buffers: std::vec::IntoIter<[u8; 16]>,
    variadic: std::vec::IntoIter<[u8; 8]>,
    codec: Option<u8>,
}

fn damaged() -> Problem {
    "a record batch is damaged".to_owned()
}

impl<'a> Batch<'a> {
    pub(super) fn new(table: Table<'a>, body: &'a [u8]) -> Result<Self, Problem> {
        let rows = table.i64(0).unwrap_or(0);
        if !(0..=MAX_ROWS).contains(&rows) {
            return Err(format!("a record batch claims {rows} rows"));
        }
        Ok(Self {
            body,
            rows: rows as usize,
            nodes: table.structs(1).ok_or_else(damaged)?.into_iter(),
            buffers: table.structs(2).ok_or_else(damaged)?.into_iter(),
            variadic: table.structs(4).ok_or_else(damaged)?.into_iter(),
            codec: table.table(3).map(|codec| codec.u8(0).unwrap_or(0)),
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Reads the next column, or passes over it.
    pub(super) fn column(
        &mut self,
        field: &Field,
        dictionaries: &Dictionaries,
        is_wanted: bool,
    ) -> Result<Column, Problem> {
        let kind = field
            .dictionary
            .as_ref()
            .map_or(&field.kind, |dictionary| &dictionary.index);
        if !is_wanted {
            self.pass(kind)?;
            return Ok(Column::Other("not read".to_owned()));
        }
        let column = self.values(kind, self.rows)?;
        match (&field.dictionary, column) {
            (None, column) => Ok(column),
            (Some(dictionary), Column::Number(indices)) => {
                looked_up(dictionary, &field.kind, &indices, dictionaries)
            }
            (Some(_), _) => Err("a dictionary's indices are no whole numbers".to_owned()),
        }
    }

    /// Refuses so many rows for a column that keeps no values in the file: more than the bytes of its batch could be rows of
    /// others, unpacked.
    pub(super) fn check_empty(&self, rows: usize) -> Result<(), Problem> {
        let swell = if self.codec.is_some() { 512 } else { 8 };
        let most = self.body.len().saturating_mul(swell).max(FEW_ROWS);
        match rows > most {
            true => Err(format!(
                "a column without values claims {rows} rows in a batch of {} bytes",
                self.body.len()
            )),
            false => Ok(()),
        }
    }

    /// The only column of a dictionary's batch.
    pub(super) fn values(&mut self, kind: &Kind, rows: usize) -> Result<Column, Problem> {
        if let Kind::Other { name, .. } = kind {
            self.pass(kind)?;
            return Ok(Column::Other(format!("values of type {name}")));
        }
        let node = self.nodes.next().ok_or_else(damaged)?;
        if first_i64(&node) != rows as i64 {
            return Err("a column's length is not that of its batch".to_owned());
        }
        if *kind == Kind::Null {
            self.check_empty(rows)?;
            return Ok(Column::Number(vec![f64::NAN; rows]));
        }
        let validity = self.buffer()?;
        let is_there = |row: usize| validity.is_empty() || bit(&validity, row);
        if !validity.is_empty() && validity.len() < rows.div_ceil(8) {
            return Err(damaged());
        }
        match kind {
            Kind::Bool => {
                let data = self.buffer_of(rows.div_ceil(8))?;
                let value = |row| {
                    if is_there(row) {
                        f64::from(u8::from(bit(&data, row)))
                    } else {
                        f64::NAN
                    }
                };
                Ok(Column::Number((0..rows).map(value).collect()))
            }
            Kind::Int { width, .. } | Kind::Float { width } | Kind::Instant { width, .. } => {
                if ![1, 2, 4, 8].contains(width) {
                    return Err(format!("numbers of {width} bytes are not understood"));
                }
                let data = self.buffer_of(rows.checked_mul(*width).ok_or_else(damaged)?)?;
                let items = data.chunks_exact(*width).take(rows).enumerate();
                let values = items.map(|(row, item)| {
                    if is_there(row) {
                        number(kind, item)
                    } else {
                        f64::NAN
                    }
                });
                let values: Vec<f64> = values.collect();
                Ok(match kind {
                    Kind::Instant { .. } => Column::Instant(values),
                    _ => Column::Number(values),
                })
            }
            Kind::Text { offset } => self.texts(*offset, rows, is_there),
            Kind::TextView => self.views(rows, is_there),
            Kind::Null | Kind::Other { .. } => Err(damaged()),
        }
    }

    fn texts(
        &mut self,
        width: usize,
        rows: usize,
        is_there: impl Fn(usize) -> bool,
    ) -> Result<Column, Problem> {
        let offsets = self.buffer()?;
        let data = self.buffer()?;
        // An empty column may have no offsets at all.
        if rows > 0 && offsets.len() / width <= rows {
            return Err(damaged());
        }
        let place = |row: usize| {
            let raw = &offsets[row * width..(row + 1) * width];
            raw.iter()
                .rev()
                .fold(0u64, |all, byte| all << 8 | u64::from(*byte)) as usize
        };
        let text = |row: usize| {
            if !is_there(row) {
                return Ok(None);
            }
            let bytes = data.get(place(row)..place(row + 1)).ok_or_else(damaged)?;
            utf8(bytes).map(Some)
        };
        Ok(Column::Text((0..rows).map(text).collect::<Result<_, _>>()?))
    }

    /// Views of 16 bytes: length, then the text itself up to 12 bytes, or its beginning, buffer and place.
    fn views(&mut self, rows: usize, is_there: impl Fn(usize) -> bool) -> Result<Column, Problem> {
        let views = self.buffer_of(rows.checked_mul(16).ok_or_else(damaged)?)?;
        let count = self.variadic_count()?;
        let buffers = (0..count)
            .map(|_| self.buffer())
            .collect::<Result<Vec<_>, _>>()?;
        let text = |(row, view): (usize, &[u8; 16])| {
            if !is_there(row) {
                return Ok(None);
            }
            let word = |at: usize| {
                view[at..]
                    .first_chunk()
                    .map_or(0, |four| u32::from_le_bytes(*four)) as usize
            };
            let length = word(0);
            let bytes = if length <= 12 {
                &view[4..4 + length]
            } else {
                let buffer = buffers.get(word(8)).ok_or_else(damaged)?;
                let end = word(12).checked_add(length).ok_or_else(damaged)?;
                buffer.get(word(12)..end).ok_or_else(damaged)?
            };
            utf8(bytes).map(Some)
        };
        let views = views.as_chunks::<16>().0.iter().take(rows).enumerate();
        Ok(Column::Text(views.map(text).collect::<Result<_, _>>()?))
    }

    fn variadic_count(&mut self) -> Result<usize, Problem> {
        let count = self.variadic.next().ok_or_else(damaged)?;
        usize::try_from(i64::from_le_bytes(count)).map_err(|_| damaged())
    }

    /// Passes over a column's nodes and buffers.
    fn pass(&mut self, kind: &Kind) -> Result<(), Problem> {
        self.nodes.next().ok_or_else(damaged)?;
        let (buffers, is_view, children): (usize, bool, &[Kind]) = match kind {
            Kind::Null => (0, false, &[]),
            Kind::Text { .. } => (3, false, &[]),
            Kind::TextView => (2, true, &[]),
            Kind::Other {
                buffers,
                is_view,
                children,
                ..
            } => (*buffers, *is_view, children),
            _ => (2, false, &[]),
        };
        let more = if is_view { self.variadic_count()? } else { 0 };
        for _ in 0..buffers.saturating_add(more) {
            self.buffers.next().ok_or_else(damaged)?;
        }
        children.iter().try_for_each(|child| self.pass(child))
    }

    /// The next buffer, which must have at least so many bytes.
    fn buffer_of(&mut self, least: usize) -> Result<Vec<u8>, Problem> {
        let buffer = self.buffer()?;
        if buffer.len() < least {
            return Err("a buffer is shorter than its column".to_owned());
        }
        Ok(buffer)
    }

    /// The next buffer, unpacked.
    fn buffer(&mut self) -> Result<Vec<u8>, Problem> {
        let place = self.buffers.next().ok_or_else(damaged)?;
        let outside = || "a buffer lies outside of the file".to_owned();
        let at = usize::try_from(first_i64(&place)).map_err(|_| outside())?;
        let length = usize::try_from(first_i64(&place[8..])).map_err(|_| outside())?;
        let end = at.checked_add(length).ok_or_else(outside)?;
        let bytes = self.body.get(at..end).ok_or_else(outside)?;
        let Some(codec) = self.codec else {
            return Ok(bytes.to_vec());
        };
        let Some((size, packed)) = bytes.split_first_chunk::<8>() else {
            return Ok(Vec::new());
        };
        match i64::from_le_bytes(*size) {
            // A buffer that would not shrink is stored as it is.
            -1 => Ok(packed.to_vec()),
            size => unpack(codec, packed, u64::try_from(size).map_err(|_| damaged())?),
        }
    }
}

fn unpack(codec: u8, packed: &[u8], size: u64) -> Result<Vec<u8>, Problem> {
    if size / MAX_SWELL > packed.len() as u64 {
        return Err(format!(
            "a buffer of {} bytes claims to hold {size}",
            packed.len()
        ));
    }
    let mut bytes = Vec::new();
    let failed = |error: std::io::Error| format!("a compressed buffer is damaged: {error}");
    // One byte more than stated is enough to tell that the statement is wrong.
    match codec {
        0 => lz4::Decoder::new(packed)
            .map_err(failed)?
            .take(size + 1)
            .read_to_end(&mut bytes),
        1 => zstd::Decoder::new(packed)
            .map_err(failed)?
            .take(size + 1)
            .read_to_end(&mut bytes),
        other => {
            return Err(format!(
                "compression {other} is not understood: use lz4, zstd or none"
            ));
        }
    }
    .map_err(failed)?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err("a compressed buffer is not of its stated size".to_owned())
    }
}

fn looked_up(
    dictionary: &Dictionary,
    kind: &Kind,
    indices: &[f64],
    dictionaries: &Dictionaries,
) -> Result<Column, Problem> {
    if !matches!(kind, Kind::Text { .. } | Kind::TextView) {
        return Ok(Column::Other(
            "a dictionary of something else than text".to_owned(),
        ));
    }
    let values = dictionaries
        .get(&dictionary.id)
        .ok_or("a dictionary is missing")?;
    let text = |index: &f64| {
        if index.is_nan() {
            return Ok(None);
        }
        values
            .get(*index as usize)
            .cloned()
            .ok_or("an index points outside of its dictionary".to_owned())
    };
    Ok(Column::Text(
        indices.iter().map(text).collect::<Result<_, _>>()?,
    ))
}

fn number(kind: &Kind, item: &[u8]) -> f64 {
    let mut raw = [0u8; 8];
    raw[..item.len()].copy_from_slice(item);
    let bits = u64::from_le_bytes(raw);
    let unused = 64 - 8 * item.len() as u32;
    let signed = ((bits << unused) as i64) >> unused;
    match kind {
        Kind::Float { width: 8 } => f64::from_bits(bits),
        Kind::Float { width: 4 } => f64::from(f32::from_bits(bits as u32)),
        Kind::Float { .. } => half_to_f64(bits as u16),
        Kind::Int {
            is_signed: false, ..
        } => bits as f64,
        Kind::Instant { seconds, .. } => signed as f64 * seconds.length(),
        _ => signed as f64,
    }
}

fn utf8(bytes: &[u8]) -> Result<String, Problem> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| "a text is not UTF-8".to_owned())
}

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes[at / 8] >> (at % 8) & 1 == 1
}

fn first_i64(bytes: &[u8]) -> i64 {
    bytes
        .first_chunk()
        .map_or(-1, |eight| i64::from_le_bytes(*eight))
}
