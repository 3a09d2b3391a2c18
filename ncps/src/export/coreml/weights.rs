//! `weight.bin`: the larger arrays of a package.
//!
//! # Source
//! Blob storage, version 2, of coremltools 9.0: little-endian, a header and for each array a block of metadata and its data, all
//! beginning at multiples of 64 bytes. The program names the place of the metadata.

use ncps_core::export::{Constant, Element};

const ALIGNED: usize = 64;
const VERSION: u32 = 2;
const SENTINEL: u32 = 0xDEAD_BEEF;
/// Numbers of the types in the metadata.
const F16: u32 = 1;
const F32: u32 = 2;

/// Arrays one after the other.
pub(super) struct Weights {
    bytes: Vec<u8>,
    count: u32,
}

impl Weights {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; ALIGNED],
            count: 0,
        }
    }

    /// Adds an array: the place of its metadata.
    pub(super) fn add(&mut self, constant: &Constant) -> u64 {
        self.align();
        let place = self.bytes.len() as u64;
        let data = constant.to_bytes();
        let kind = match constant.element {
            Element::F32 => F32,
            Element::F16 => F16,
        };
        for word in [SENTINEL, kind] {
            self.bytes.extend(word.to_le_bytes());
        }
        let start = place + ALIGNED as u64;
        for number in [data.len() as u64, start] {
            self.bytes.extend(number.to_le_bytes());
        }
        self.align();
        self.bytes.extend(data);
        self.count += 1;
        place
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes[..4].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        self.bytes
    }

    fn align(&mut self) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGNED), 0);
    }
}
