//! Tests of whole loads: files of the real formats that the tests write, and the real data where it is at hand.

mod bad_input;
mod protocols;
mod support;
mod tables;
