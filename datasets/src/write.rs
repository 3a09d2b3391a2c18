//! Writers for tables of results. A file appears whole or not at all: it is written beside its place and renamed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use polars::prelude::{Column as PolarsColumn, CsvWriter, DataFrame, ParquetWriter, SerWriter};

use crate::error::{Error, Result};
use crate::frame::{Column, Frame};

/// Writes a table in the format that the path's ending names.
pub(crate) fn write_frame(frame: &Frame, path: &Path) -> Result<()> {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("csv") => atomically(path, |out| csv(frame, out, b',')),
        Some("tsv") => atomically(path, |out| csv(frame, out, b'\t')),
        Some("parquet") => atomically(path, |out| parquet(frame, out)),
        Some("npy") => {
            let columns: Result<Vec<Vec<f64>>> = frame
                .names()
                .iter()
                .map(|name| frame.numbers(name))
                .collect();
            let columns = columns?;
            atomically(path, |out| npy(&columns, frame.rows(), out))
        }
        _ => {
            let reason = format!(
                "`{}` has no known ending: expected .csv, .tsv, .parquet or .npy",
                path.display()
            );
            Err(Error::Config {
                key: "output",
                reason,
            })
        }
    }
}

type Out = BufWriter<File>;

fn atomically(path: &Path, write: impl FnOnce(&mut Out) -> std::io::Result<()>) -> Result<()> {
    let failed = |source| Error::Write {
        path: path.to_path_buf(),
        source,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.tmp-{}", std::process::id()));
    let result = fill(&beside, write).and_then(|()| std::fs::rename(&beside, path));
    result.map_err(|source| {
        // The first failure is the one to report; a leftover that cannot be removed adds nothing.
        let _ = std::fs::remove_file(&beside);
        failed(source)
    })
}

fn fill(path: &Path, write: impl FnOnce(&mut Out) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    write(&mut out)?;
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .sync_all()
}

fn polars_frame(frame: &Frame) -> std::io::Result<DataFrame> {
    let column = |(name, column): (&String, &Column)| {
        let name = name.as_str().into();
        match column {
            Column::Number(values) | Column::Instant(values) => {
                let values: Vec<Option<f64>> = values
                    .iter()
                    .map(|v| Some(*v).filter(|v| !v.is_nan()))
                    .collect();
                PolarsColumn::new(name, values)
            }
            Column::Text(values) => PolarsColumn::new(name, values.clone()),
            Column::Other(kind) => PolarsColumn::new(name, vec![kind.clone(); frame.rows()]),
        }
    };
    DataFrame::new(frame.rows(), frame.columns().map(column).collect())
        .map_err(std::io::Error::other)
}

fn csv(frame: &Frame, out: &mut Out, separator: u8) -> std::io::Result<()> {
    let mut table = polars_frame(frame)?;
    CsvWriter::new(out)
        .with_separator(separator)
        .finish(&mut table)
        .map_err(std::io::Error::other)
}

fn parquet(frame: &Frame, out: &mut Out) -> std::io::Result<()> {
    let mut table = polars_frame(frame)?;
    ParquetWriter::new(out)
        .finish(&mut table)
        .map(|_| ())
        .map_err(std::io::Error::other)
}

fn npy(columns: &[Vec<f64>], rows: usize, out: &mut Out) -> std::io::Result<()> {
    let dictionary = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {}), }}",
        columns.len()
    );
    // Magic, version, length, dictionary and line feed fill a multiple of 64 bytes, as NumPy aligns its data.
    let length = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(length as u16).to_le_bytes())?;
    out.write_all(format!("{dictionary:<width$}\n", width = length - 1).as_bytes())?;
    for row in 0..rows {
        for column in columns {
            out.write_all(&(column[row] as f32).to_le_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Frame {
        Frame::new()
            .with_number("x", vec![1.0, 2.5, -3.0])
            .and_then(|frame| frame.with_number("y, z", vec![0.1, f64::NAN, 1e-7]))
            .unwrap()
    }

    #[test]
    fn every_format_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        for ending in ["csv", "tsv", "parquet", "npy"] {
            let path = folder.path().join("out").with_extension(ending);
            sample().write(&path).unwrap();
            let frame = Frame::read(&path, ',').unwrap();
            assert_eq!(frame.rows(), 3, "{ending}");
            let names = frame.names().to_vec();
            assert_eq!(
                frame.numbers(&names[0]).unwrap(),
                [1.0, 2.5, -3.0],
                "{ending}"
            );
            let second = frame.numbers(&names[1]).unwrap();
            assert!(
                second[1].is_nan() && (second[2] - 1e-7).abs() < 1e-14,
                "{ending}"
            );
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_write_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent").join("out.csv");
        assert!(matches!(sample().write(&path), Err(Error::Write { .. })));
    }

    #[test]
    fn an_unknown_ending_is_refused() {
        let error = sample().write(Path::new("out.xlsx")).unwrap_err();
        assert!(error.to_string().contains(".parquet"), "{error}");
    }

    #[test]
    fn text_cannot_go_into_npy() {
        let folder = tempfile::tempdir().unwrap();
        let frame = Frame::new().with_text("name", vec!["a".into()]).unwrap();
        let error = frame.write(&folder.path().join("out.npy")).unwrap_err();
        assert!(matches!(error, Error::NotANumber { .. }));
    }
}
