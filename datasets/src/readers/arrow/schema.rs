//! The schema of an Arrow file: names and types of its columns.

use super::flatbuffer::Table;

/// A column's type, as far as we tell types apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    /// Whole numbers of 1, 2, 4 or 8 bytes.
    Int {
        width: usize,
        is_signed: bool,
    },
    /// Floating-point numbers of 2, 4 or 8 bytes.
    Float {
        width: usize,
    },
    /// Instants and days: whole numbers of 4 or 8 bytes, so many to a second or so many seconds each.
    Instant {
        width: usize,
        seconds: Seconds,
    },
    /// Texts with offsets of 4 or 8 bytes.
    Text {
        offset: usize,
    },
    TextView,
    /// A type that is passed over: how many buffers it has of its own, and its children.
    Other {
        name: &'static str,
        buffers: usize,
        is_view: bool,
        children: Vec<Kind>,
    },
}

/// Length of an instant's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seconds {
    Day,
    One,
    Milli,
    Micro,
    Nano,
}

impl Seconds {
    pub(super) fn length(self) -> f64 {
        match self {
            Self::Day => 86400.0,
            Self::One => 1.0,
            Self::Milli => 1e-3,
            Self::Micro => 1e-6,
            Self::Nano => 1e-9,
        }
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The dictionary that its indices point into.
    pub(super) dictionary: Option<Dictionary>,
}

/// Where the values of a dictionary-encoded column are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dictionary {
    pub(super) id: i64,
    pub(super) index: Kind,
}

/// Reads a schema; `None` if it is damaged or of a version that is not known.
pub(super) fn fields(schema: Table<'_>) -> Option<Vec<Field>> {
    // 1 says big-endian, which no current writer produces.
    if schema.i16(0).unwrap_or(0) != 0 {
        return None;
    }
    schema.tables(1)?.into_iter().map(field).collect()
}

fn field(table: Table<'_>) -> Option<Field> {
    let dictionary = table.table(4).map(|encoding| {
        let index = encoding.table(1).map_or(
            Kind::Int {
                width: 4,
                is_signed: true,
            },
            int,
        );
        Dictionary {
            id: encoding.i64(0).unwrap_or(0),
            index,
        }
    });
    Some(Field {
        name: table.text(0).unwrap_or_default().to_owned(),
        kind: kind(table, 0)?,
        dictionary,
    })
}

fn int(kind: Table<'_>) -> Kind {
    Kind::Int {
        width: kind.i32(0).map_or(0, |bits| bits.max(0) as usize / 8),
        is_signed: kind.u8(1).unwrap_or(0) == 1,
    }
}

/// Types nest no deeper than this in files that mean well.
const MAX_DEPTH: usize = 16;

fn kind(field: Table<'_>, depth: usize) -> Option<Kind> {
    let children = || -> Option<Vec<Kind>> {
        if depth == MAX_DEPTH {
            return None;
        }
        field
            .tables(5)?
            .into_iter()
            .map(|child| kind(child, depth + 1))
            .collect()
    };
    let other = |name, buffers, children| Kind::Other {
        name,
        buffers,
        is_view: false,
        children,
    };
    let details = || field.table(3);
    Some(match field.u8(2)? {
        1 => Kind::Null,
        2 => int(details()?),
        3 => Kind::Float {
            width: 2 << details()?.i16(0).unwrap_or(0).clamp(0, 2),
        },
        4 => other("binary", 3, Vec::new()),
        5 => Kind::Text { offset: 4 },
        6 => Kind::Bool,
        7 => other("decimal", 2, Vec::new()),
        8 => match details()?.i16(0).unwrap_or(1) {
            0 => Kind::Instant {
                width: 4,
                seconds: Seconds::Day,
            },
            _ => Kind::Instant {
                width: 8,
                seconds: Seconds::Milli,
            },
        },
        9 => other("time of day", 2, Vec::new()),
        10 => Kind::Instant {
            width: 8,
            seconds: match details()?.i16(0).unwrap_or(0) {
                0 => Seconds::One,
                1 => Seconds::Milli,
                2 => Seconds::Micro,
                _ => Seconds::Nano,
            },
        },
        11 => other("interval", 2, Vec::new()),
        12 => other("list", 2, children()?),
        13 => other("struct", 1, children()?),
        15 => other("fixed-size binary", 2, Vec::new()),
        16 => other("fixed-size list", 1, children()?),
        17 => other("map", 2, children()?),
        18 => other("duration", 2, Vec::new()),
        19 => other("binary", 3, Vec::new()),
        20 => Kind::Text { offset: 8 },
        21 => other("list", 2, children()?),
        23 => Kind::Other {
            name: "binary",
            buffers: 2,
            is_view: true,
            children: Vec::new(),
        },
        24 => Kind::TextView,
        _ => return None,
    })
}
