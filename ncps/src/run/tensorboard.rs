//! Event files for TensorBoard: the rows of metrics as scalars.
//!
//! ```text
//! record = length (u64) | masked CRC-32C of these 8 bytes | Event | masked CRC-32C of the Event      little endian
//! masked(crc) = rotate_right(crc, 15) + 0xa282ead8
//! ```
//! # Source
//! The record format is that of TensorFlow's `record_writer`; the messages are the part of `event.proto` and
//! `summary.proto` that scalars need.

use std::fs::File;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ncps_core::checkpoint::atomic;
use prost::Message;

use super::directory::{EVENTS, RunDirectory};
use super::metrics::Row;
use crate::error::Result;

/// One record of an event file.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Scalars>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// `Summary` of the source.
#[derive(Clone, PartialEq, Message)]
struct Scalars {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Tells a reader that what an earlier file says about later steps is void.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

const VERSION: &str = "brain.Event:2";
/// `SessionLog.START`.
const START: i32 = 1;

/// The event file of one sitting.
#[derive(Debug)]
pub(crate) struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Begins the file of a sitting that goes on after `step`.
    pub(crate) fn begin(directory: &RunDirectory, step: u64) -> Result<Self> {
        let name = format!("{EVENTS}{:010}.ncps.{}", now() as u64, std::process::id());
        let mut events = Self {
            file: directory.append(&name)?,
            path: directory.join(&name),
        };
        events.write(&[
            Event {
                wall_time: now(),
                file_version: Some(VERSION.to_owned()),
                ..Event::default()
            },
            start_after(step),
        ])?;
        Ok(events)
    }

    /// Adds the values of rows.
    pub(crate) fn add(&mut self, columns: &[String], rows: &[Row]) -> Result<()> {
        let events: Vec<Event> = rows.iter().map(|row| event(columns, row)).collect();
        self.write(&events)
    }

    /// Makes what was said about steps after `step` void.
    pub(crate) fn go_back(&mut self, step: u64) -> Result<()> {
        self.write(&[start_after(step)])
    }

    fn write(&mut self, events: &[Event]) -> Result<()> {
        let bytes: Vec<u8> = events.iter().flat_map(record).collect();
        Ok(atomic::append(&mut self.file, &self.path, &bytes)?)
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn start_after(step: u64) -> Event {
    Event {
        wall_time: now(),
        step: step as i64 + 1,
        session_log: Some(SessionLog { status: START }),
        ..Event::default()
    }
}

fn event(columns: &[String], row: &Row) -> Event {
    let fixed = [
        ("learning_rate", row.learning_rate),
        ("gradient_norm", row.gradient_norm),
        ("update_ratio", row.update_ratio),
    ];
    let metrics = columns
        .iter()
        .map(String::as_str)
        .zip(row.values.iter().copied());
    let values = fixed.into_iter().chain(metrics);
    let value = values.filter_map(|(name, value)| {
        Some(Scalar {
            tag: format!("{}/{name}", row.split),
            simple_value: Some(value? as f32),
        })
    });
    Event {
        wall_time: now(),
        step: row.step as i64,
        summary: Some(Scalars {
            value: value.collect(),
        }),
        ..Event::default()
    }
}

fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked(crc32c(&length)).to_le_bytes());
    bytes.extend(&data);
    bytes.extend(masked(crc32c(&data)).to_le_bytes());
    bytes
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The Castagnoli checksum, reflected polynomial 0x82f63b78 (RFC 3720, appendix B.4 has values).
fn crc32c(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1))
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Existing;

    #[test]
    fn the_checksum_has_the_values_of_its_standard() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Reads records as any reader must: lengths and checksums first.
    fn read(bytes: &[u8]) -> Vec<Event> {
        let mut rest = bytes;
        let mut events = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_at(8);
            let (check, after) = after.split_at(4);
            assert_eq!(check, masked(crc32c(length)).to_le_bytes());
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            let (data, after) = after.split_at(length);
            let (check, after) = after.split_at(4);
            assert_eq!(check, masked(crc32c(data)).to_le_bytes());
            events.push(Event::decode(data).unwrap());
            rest = after;
        }
        events
    }

    #[test]
    fn rows_come_back_as_scalars() {
        let root = tempfile::tempdir().unwrap();
        let directory = RunDirectory::open(&root.path().join("a"), Existing::Refuse).unwrap();
        let mut file = EventFile::begin(&directory, 40).unwrap();
        let row = Row {
            step: 42,
            epoch: 4.2,
            split: "train_step".into(),
            learning_rate: Some(0.01),
            gradient_norm: None,
            update_ratio: Some(0.001),
            values: vec![Some(0.25), None],
        };
        file.add(&["loss".into(), "mse".into()], &[row]).unwrap();
        let events = read(&std::fs::read(&file.path).unwrap());
        assert_eq!(events[0].file_version.as_deref(), Some(VERSION));
        assert_eq!((events[1].step, events[2].step), (41, 42));
        let scalars = &events[2].summary.as_ref().unwrap().value;
        let seen: Vec<(&str, f32)> = scalars
            .iter()
            .map(|scalar| (scalar.tag.as_str(), scalar.simple_value.unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                ("train_step/learning_rate", 0.01),
                ("train_step/update_ratio", 0.001),
                ("train_step/loss", 0.25)
            ]
        );
    }
}
