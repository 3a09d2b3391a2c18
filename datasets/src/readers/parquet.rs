//! Parquet by polars, behind a check of the file's frame that catches truncation.
//!
//! polars believes the numbers that a file states and asks for as much memory, so [`super::parquet_footer`] and [`super::parquet_pages`] hold them
//! against each other first.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use polars::io::mmap::MmapBytesReader;
use polars::prelude::{
    Column as PolarsColumn, DataFrame, DataType, FileMetadataRef, ParquetReader, SerReader,
    TimeUnit,
};

use super::Version;
use super::parquet_footer;
use super::parquet_pages::{self, Chunk};
use crate::error::{Error, Result};
use crate::frame::{Column, Frame, unknown_column};

/// Marks both ends of every Parquet file.
const MAGIC: [u8; 4] = *b"PAR1";
/// Footer length (4 bytes) and closing magic (4 bytes).
const TRAILER: u64 = 8;

/// Reads all columns, or the named ones.
pub(crate) fn read(path: &Path, columns: Option<&[String]>) -> Result<Frame> {
    let mut file = File::open(path).map_err(|source| Error::read(path, source))?;
    let version = Version::of(path, &file)?;
    let length = check_frame(path, &mut file)?;
    let (_, groups) = describe(path, copy(path, &file)?)?;
    check_pages(path, &mut file, length, &groups)?;
    let frame = guarded(path, || {
        let reader = ParquetReader::new(copy(path, &file)?);
        load(path, reader, columns)
    })?;
    version.check(path, &file, length)?;
    table(path, &frame)
}

/// Reads a table from bytes in memory, all columns.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Frame> {
    let length = check_frame(path, &mut Cursor::new(bytes))?;
    let (_, groups) = describe(path, Cursor::new(bytes))?;
    check_pages(path, &mut Cursor::new(bytes), length, &groups)?;
    let frame = guarded(path, || {
        load(path, ParquetReader::new(Cursor::new(bytes)), None)
    })?;
    table(path, &frame)
}

/// Bytes that the read columns of a row group may take at most, each value as a number of 8 bytes; copies of them are made.
const LARGEST_GROUP: u64 = 512 << 20;
/// Bytes of a row group that is advised instead.
const GOOD_GROUP: u64 = 32 << 20;

/// Reads a file one row group at a time, in memory for one of them.
#[derive(Debug)]
pub(crate) struct RowGroups {
    path: PathBuf,
    file: File,
    version: Version,
    length: u64,
    metadata: FileMetadataRef,
    groups: Vec<Group>,
    next: usize,
    /// Rows before the next group.
    row: usize,
}

impl RowGroups {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|source| Error::read(path, source))?;
        let version = Version::of(path, &file)?;
        let length = check_frame(path, &mut file)?;
        let (metadata, groups) = describe(path, copy(path, &file)?)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            version,
            length,
            metadata,
            groups,
            next: 0,
            row: 0,
        })
    }

    /// The next group that has rows, all columns or the named ones, and the rows before it; `None` at the end.
    pub(crate) fn next(&mut self, columns: Option<&[String]>) -> Result<Option<(usize, Frame)>> {
        let path = &self.path;
        while let Some(group) = self.groups.get(self.next) {
            let (from, rows) = (self.row, usize::try_from(group.rows).unwrap_or(usize::MAX));
            self.next += 1;
            self.row = self.row.saturating_add(rows);
            if rows == 0 {
                continue;
            }
            group.check_size(path, self.next, columns, LARGEST_GROUP)?;
            check_pages(
                path,
                &mut self.file,
                self.length,
                std::slice::from_ref(group),
            )?;
            let frame = guarded(path, || {
                let mut reader =
                    ParquetReader::new(copy(path, &self.file)?).with_slice(Some((from, rows)));
                reader.set_metadata(self.metadata.clone());
                load(path, reader, columns)
            })?;
            return table(path, &frame).map(|frame| Some((from, frame)));
        }
        self.version.check(path, &self.file, self.length)?;
        if self.row == 0 {
            return Err(Error::EmptyFile { path: path.clone() });
        }
        Ok(None)
    }
}

fn copy(path: &Path, file: &File) -> Result<File> {
    file.try_clone().map_err(|source| Error::read(path, source))
}

fn table(path: &Path, frame: &DataFrame) -> Result<Frame> {
    if frame.height() == 0 {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    let rows = frame.height();
    let names = frame
        .columns()
        .iter()
        .map(|column| column.name().to_string())
        .collect();
    let columns = guarded(path, || {
        frame
            .columns()
            .iter()
            .map(|column| convert(path, column))
            .collect::<Result<Vec<Column>>>()
    })?;
    Ok(Frame::from_columns(path, names, columns, rows))
}

/// The decoder asserts on some corrupt pages; a broken file must stay an error of that file.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(malformed(
            path,
            "the decoder gave up: the file is damaged or uses a feature that is not supported",
        ))
    })
}

fn load(
    path: &Path,
    mut reader: ParquetReader<impl MmapBytesReader>,
    columns: Option<&[String]>,
) -> Result<DataFrame> {
    let schema = reader
        .schema()
        .map_err(|error| malformed(path, &error.to_string()))?;
    let available: Vec<String> = schema.iter_names().map(ToString::to_string).collect();
    for (index, name) in available.iter().enumerate() {
        if available[..index].contains(name) {
            return Err(Error::DuplicateColumn {
                path: path.to_path_buf(),
                column: name.clone(),
            });
        }
    }
    for name in columns.unwrap_or_default() {
        if !available.contains(name) {
            return Err(unknown_column(path, name, &available));
        }
    }
    reader
        .with_columns(columns.map(<[String]>::to_vec))
        .finish()
        .map_err(|error| malformed(path, &error.to_string()))
}

/// One row group, as the footer tells.
#[derive(Debug)]
struct Group {
    rows: u64,
    chunks: Vec<Chunk>,
}

impl Group {
    /// Refuses a group whose read columns take more than `limit` bytes: only whole groups can be read.
    fn check_size(
        &self,
        path: &Path,
        number: usize,
        columns: Option<&[String]>,
        limit: u64,
    ) -> Result<()> {
        let is_read = |chunk: &&Chunk| columns.is_none_or(|names| names.contains(&chunk.column));
        let size = |chunk: &Chunk| chunk.values.max(0).unsigned_abs().saturating_mul(8);
        let bytes: u64 = self
            .chunks
            .iter()
            .filter(is_read)
            .map(|chunk| size(chunk).max(chunk.unpacked))
            .fold(0, u64::saturating_add);
        if bytes <= limit {
            return Ok(());
        }
        let each = bytes.div_ceil(self.rows.max(1));
        Err(Error::LargeRowGroup {
            path: path.to_path_buf(),
            group: number,
            rows: self.rows,
            bytes,
            limit,
            advised: (GOOD_GROUP / each.max(1)).max(1),
        })
    }
}

/// The footer, and what it says of each row group.
fn describe(path: &Path, file: impl MmapBytesReader) -> Result<(FileMetadataRef, Vec<Group>)> {
    guarded(path, || {
        let mut reader = ParquetReader::new(file);
        let failed = |error: polars::prelude::PolarsError| malformed(path, &error.to_string());
        let metadata = reader.get_metadata().map_err(failed)?.clone();
        let groups = metadata.row_groups.iter().map(|row_group| {
            let chunks = row_group.parquet_columns().iter().map(|column| {
                let descriptor = column.descriptor();
                Chunk {
                    column: descriptor.path_in_schema.join("."),
                    range: column.byte_range(),
                    values: column.num_values(),
                    unpacked: u64::try_from(column.uncompressed_size()).unwrap_or(0),
                    is_flat: descriptor.descriptor.max_rep_level == 0,
                }
            });
            Group {
                rows: row_group.num_rows() as u64,
                chunks: chunks.collect(),
            }
        });
        let groups = groups.collect();
        Ok((metadata, groups))
    })
}

/// Checks what each column's pages say of themselves.
fn check_pages(
    path: &Path,
    file: &mut (impl Read + Seek),
    length: u64,
    groups: &[Group],
) -> Result<()> {
    for group in groups {
        parquet_pages::check(file, length, group.rows, &group.chunks)
            .map_err(|problem| malformed(path, &problem))?;
    }
    Ok(())
}

/// Checks magic numbers and that the footer lies inside the file; gives the file's length.
fn check_frame(path: &Path, file: &mut (impl Read + Seek)) -> Result<u64> {
    let io = |source| Error::read(path, source);
    let length = file.seek(SeekFrom::End(0)).map_err(io)?;
    file.rewind().map_err(io)?;
    if length == 0 {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    if length < TRAILER + 4 {
        return Err(malformed(path, "too short to be a Parquet file"));
    }
    let mut head = [0; 4];
    file.read_exact(&mut head).map_err(io)?;
    if head != MAGIC {
        return Err(malformed(
            path,
            "it does not begin with PAR1: not a Parquet file",
        ));
    }
    let mut trailer = [0; TRAILER as usize];
    file.seek(SeekFrom::End(-(TRAILER as i64))).map_err(io)?;
    file.read_exact(&mut trailer).map_err(io)?;
    let [a, b, c, d, magic @ ..] = trailer;
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if magic != MAGIC || footer + TRAILER + 4 > length {
        return Err(malformed(
            path,
            "its end is missing: the file is truncated; copy or download it again",
        ));
    }
    let begin = length - TRAILER - footer;
    file.seek(SeekFrom::Start(begin)).map_err(io)?;
    let mut bytes = Vec::new();
    Read::take(&mut *file, footer)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    parquet_footer::check(&bytes).map_err(|problem| malformed(path, &problem))?;
    file.rewind().map_err(io)?;
    Ok(length)
}

fn convert(path: &Path, column: &PolarsColumn) -> Result<Column> {
    let failed = |error: polars::prelude::PolarsError| malformed(path, &error.to_string());
    match column.dtype() {
        DataType::String => {
            let texts = column.str().map_err(failed)?;
            Ok(Column::Text(
                texts.iter().map(|text| text.map(str::to_owned)).collect(),
            ))
        }
        DataType::Date => Ok(Column::Instant(floats(path, column, 86400.0)?)),
        DataType::Datetime(unit, _) => {
            let seconds = match unit {
                TimeUnit::Nanoseconds => 1e-9,
                TimeUnit::Microseconds => 1e-6,
                TimeUnit::Milliseconds => 1e-3,
            };
            Ok(Column::Instant(floats(path, column, seconds)?))
        }
        kind if kind.is_primitive_numeric() || kind.is_bool() => {
            Ok(Column::Number(floats(path, column, 1.0)?))
        }
        other => Ok(Column::Other(format!("values of type {other}"))),
    }
}

fn floats(path: &Path, column: &PolarsColumn, factor: f64) -> Result<Vec<f64>> {
    let failed = |error: polars::prelude::PolarsError| malformed(path, &error.to_string());
    let physical = column.to_physical_repr();
    let cast = physical.cast(&DataType::Float64).map_err(failed)?;
    let values = cast.f64().map_err(failed)?;
    Ok(values
        .iter()
        .map(|value| value.map_or(f64::NAN, |value| value * factor))
        .collect())
}

fn malformed(path: &Path, reason: &str) -> Error {
    Error::Malformed {
        path: path.to_path_buf(),
        format: "Parquet",
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write_sample(path: &Path) {
        Frame::new()
            .with_number("a", vec![1.0, 2.5, f64::NAN])
            .and_then(|frame| frame.with_text("b", ["x", "y", "z"].map(String::from).to_vec()))
            .and_then(|frame| frame.write(path))
            .unwrap();
    }

    #[test]
    fn a_row_group_beyond_the_bound_is_refused_with_a_size_that_would_do() {
        let chunk = |column: &str, unpacked| Chunk {
            column: column.to_owned(),
            range: 0..1,
            values: 1_000_000,
            unpacked,
            is_flat: true,
        };
        let group = Group {
            rows: 1_000_000,
            chunks: vec![chunk("a", 10), chunk("b", 24_000_000)],
        };
        let path = Path::new("t.parquet");
        let check = |columns: Option<&[String]>, limit| group.check_size(path, 3, columns, limit);
        let only_a = ["a".to_owned()];
        assert!(check(Some(&only_a), 8_000_000).is_ok());
        assert!(check(None, 32_000_000).is_ok());
        let error = check(None, 31_999_999).unwrap_err();
        assert!(
            matches!(
                error,
                Error::LargeRowGroup {
                    group: 3,
                    bytes: 32_000_000,
                    advised: 1_048_576,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("row_group_size"), "{error}");
    }

    #[test]
    fn a_file_that_grows_between_two_row_groups_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write_sample(&path);
        let mut groups = RowGroups::open(&path).unwrap();
        assert!(groups.next(None).unwrap().is_some());
        let mut file = File::options().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
        let error = groups.next(None).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{error}");
    }

    #[test]
    fn a_written_table_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write_sample(&path);
        let frame = read(&path, None).unwrap();
        let a = frame.numbers("a").unwrap();
        assert!((a[1] - 2.5).abs() < 1e-12 && a[2].is_nan());
        assert_eq!(frame.keys("b").unwrap(), ["x", "y", "z"]);
        let only_b = read(&path, Some(&["b".to_owned()])).unwrap();
        assert_eq!(only_b.names(), ["b"]);
    }

    #[test]
    fn the_usual_column_types_are_read() {
        use polars::prelude::{DataFrame, ParquetWriter};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let cast = |name: &str, values: [i64; 2], kind: DataType| {
            PolarsColumn::new(name.into(), values).cast(&kind).unwrap()
        };
        let columns = vec![
            cast("small", [-3, 4], DataType::Int8),
            cast("flag", [0, 1], DataType::Boolean),
            cast("day", [0, 2], DataType::Date),
            cast(
                "instant",
                [0, 1500],
                DataType::Datetime(TimeUnit::Milliseconds, None),
            ),
        ];
        let mut frame = DataFrame::new(2, columns).unwrap();
        ParquetWriter::new(File::create(&path).unwrap())
            .finish(&mut frame)
            .unwrap();
        let frame = read(&path, None).unwrap();
        assert_eq!(frame.numbers("small").unwrap(), [-3.0, 4.0]);
        assert_eq!(frame.numbers("flag").unwrap(), [0.0, 1.0]);
        assert_eq!(frame.times("day").unwrap(), (vec![0.0, 172_800.0], true));
        assert_eq!(frame.times("instant").unwrap(), (vec![0.0, 1.5], true));
        assert!(matches!(
            frame.numbers("day"),
            Err(Error::NotANumber { .. })
        ));
    }

    #[test]
    fn an_unknown_column_comes_with_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write_sample(&path);
        let error = read(&path, Some(&["aa".to_owned()])).unwrap_err();
        assert!(matches!(error, Error::UnknownColumn { nearest: Some(name), .. } if name == "a"));
    }

    #[test]
    fn foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        for bytes in [
            &b"PAR1"[..],
            b"not a parquet file at all",
            b"PAR1\xff\xff\xff\xffPAR1",
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert!(
                matches!(read(&path, None), Err(Error::Malformed { .. })),
                "{bytes:?}"
            );
        }
    }

    /// Written by pyarrow; see `tests/data/README.md`.
    const PAGES: &[u8] = include_bytes!("../../tests/data/page.parquet");

    #[test]
    fn another_programs_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        std::fs::write(&path, PAGES).unwrap();
        let frame = read(&path, None).unwrap();
        assert_eq!(frame.rows(), 2000);
        let a = frame.numbers("a").unwrap();
        assert!(a[3].is_nan() && (a[1999] - 1999.0).abs() < 1e-9);
        assert_eq!(frame.keys("b").unwrap()[..4], ["n", "e", "s", "w"]);
        let parsed = parse(&path, PAGES).unwrap();
        assert_eq!(parsed.keys("b").unwrap(), frame.keys("b").unwrap());
        assert!(parse(&path, &PAGES[..PAGES.len() - 9]).is_err());
    }

    #[test]
    fn a_file_that_is_written_to_between_two_row_groups_is_noticed() {
        use polars::prelude::ParquetWriter;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let column = PolarsColumn::new("a".into(), (0..20i64).collect::<Vec<_>>());
        let mut frame = DataFrame::new(20, vec![column]).unwrap();
        ParquetWriter::new(File::create(&path).unwrap())
            .with_row_group_size(Some(10))
            .finish(&mut frame)
            .unwrap();
        let read = |touch: bool| {
            let mut groups = RowGroups::open(&path)?;
            let mut rows = Vec::new();
            while let Some((before, frame)) = groups.next(None)? {
                rows.push((before, frame.rows()));
                if touch {
                    let file = File::options().append(true).open(&path).unwrap();
                    std::io::Write::write_all(&mut &file, b"more").unwrap();
                }
            }
            Ok::<_, Error>(rows)
        };
        assert_eq!(read(false).unwrap(), [(0, 10), (10, 10)]);
        assert!(matches!(read(true), Err(Error::Changed { .. })));
    }

    #[test]
    fn damage_in_the_middle_is_an_error_or_a_wrong_value_but_never_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let footer = PAGES.len() - 1200;
        // Page headers and the footer, where sizes and counts stand, are tried most densely.
        let places = (0..60)
            .chain((60..footer).step_by(601))
            .chain((footer..PAGES.len()).step_by(5));
        let mut refused = 0;
        for at in places {
            for to in [0x7f, 0xff] {
                let mut bytes = PAGES.to_vec();
                bytes[at] = to;
                std::fs::write(&path, &bytes).unwrap();
                refused += usize::from(read(&path, None).is_err());
            }
        }
        assert!(refused > 100, "{refused}");
    }

    proptest! {
        #![proptest_config(crate::property::cases(64))]
        #[test]
        fn truncated_files_are_errors(keep in 0.0..1.0f64) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.parquet");
            write_sample(&path);
            let bytes = std::fs::read(&path).unwrap();
            let keep = (bytes.len() as f64 * keep) as usize;
            std::fs::write(&path, &bytes[..keep]).unwrap();
            prop_assert!(read(&path, None).is_err());
        }
    }
}
