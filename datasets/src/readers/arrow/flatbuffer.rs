//! Reading of flatbuffers without trust: every place is checked, and what is not there is `None`.
//!
//! # Source
//! The layout is that of Google's FlatBuffers ("FlatBuffer Internals"): a table begins with the distance back to its list of field
//! places; a field holds a scalar or the distance ahead to a table, a vector or a text.

/// A table of a flatbuffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: usize,
    length: usize,
}

impl<'a> Table<'a> {
    /// The table that a buffer begins with.
    pub(super) fn root(bytes: &'a [u8]) -> Option<Self> {
        Self::at(bytes, u32_at(bytes, 0)? as usize)
    }

    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let back = i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        let fields = usize::try_from((at as i64).checked_sub(i64::from(back))?).ok()?;
        let length = usize::from(u16_at(bytes, fields)?);
        bytes.get(fields..fields.checked_add(length)?)?;
        Some(Self {
            bytes,
            at,
            fields,
            length,
        })
    }

    /// Where a field lies; `None` if it has its default.
    fn place(&self, field: usize) -> Option<usize> {
        let entry = 4 + 2 * field;
        if entry + 2 > self.length {
            return None;
        }
        match u16_at(self.bytes, self.fields + entry)? {
            0 => None,
            offset => Some(self.at + usize::from(offset)),
        }
    }

    fn scalar<const N: usize>(&self, field: usize) -> Option<[u8; N]> {
        self.bytes.get(self.place(field)?..)?.first_chunk().copied()
    }

    pub(super) fn u8(&self, field: usize) -> Option<u8> {
        self.scalar(field).map(|[byte]| byte)
    }

    pub(super) fn i16(&self, field: usize) -> Option<i16> {
        self.scalar(field).map(i16::from_le_bytes)
    }

    pub(super) fn i32(&self, field: usize) -> Option<i32> {
        self.scalar(field).map(i32::from_le_bytes)
    }

    pub(super) fn i64(&self, field: usize) -> Option<i64> {
        self.scalar(field).map(i64::from_le_bytes)
    }

    fn target(&self, field: usize) -> Option<usize> {
        let place = self.place(field)?;
        place.checked_add(u32_at(self.bytes, place)? as usize)
    }

    pub(super) fn table(&self, field: usize) -> Option<Table<'a>> {
        Self::at(self.bytes, self.target(field)?)
    }

    pub(super) fn text(&self, field: usize) -> Option<&'a str> {
        let (at, length) = self.vector(field)?;
        std::str::from_utf8(self.bytes.get(at..at.checked_add(length)?)?).ok()
    }

    /// Structs of a fixed width that lie one behind another; empty if the field is absent.
    pub(super) fn structs<const N: usize>(&self, field: usize) -> Option<Vec<[u8; N]>> {
        if self.place(field).is_none() {
            return Some(Vec::new());
        }
        let (at, count) = self.vector(field)?;
        let bytes = self.bytes.get(at..at.checked_add(count.checked_mul(N)?)?)?;
        Some(bytes.as_chunks::<N>().0.to_vec())
    }

    /// Tables of a vector; empty if the field is absent.
    pub(super) fn tables(&self, field: usize) -> Option<Vec<Table<'a>>> {
        if self.place(field).is_none() {
            return Some(Vec::new());
        }
        let (at, count) = self.vector(field)?;
        self.bytes.get(at..at.checked_add(count.checked_mul(4)?)?)?;
        (0..count)
            .map(|index| {
                let place = at + 4 * index;
                Self::at(
                    self.bytes,
                    place.checked_add(u32_at(self.bytes, place)? as usize)?,
                )
            })
            .collect()
    }

    /// Where a vector's items begin, and their number.
    fn vector(&self, field: usize) -> Option<(usize, usize)> {
        let at = self.target(field)?;
        Some((at.checked_add(4)?, u32_at(self.bytes, at)? as usize))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
