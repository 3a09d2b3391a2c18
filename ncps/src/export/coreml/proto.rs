//! The messages of a Core ML model, as far as they are used.
//!
//! # Source
//! Numbers and types of the fields: `Model.proto`, `FeatureTypes.proto` and `MIL.proto` of coremltools 9.0. Maps are sorted by key,
//! so that equal models have equal bytes.

use std::collections::BTreeMap;

use prost::{Message, Oneof};

/// Elements of an [`ArrayType`].
pub(super) const ARRAY_F32: i32 = 65_568;
/// Elements of a [`TensorType`].
pub(super) const BOOL: i32 = 1;
pub(super) const STRING: i32 = 2;
pub(super) const FLOAT16: i32 = 10;
pub(super) const FLOAT32: i32 = 11;
pub(super) const INT32: i32 = 23;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int32, tag = "1")]
    pub(super) version: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) description: Option<Description>,
    #[prost(message, optional, tag = "502")]
    pub(super) program: Option<Program>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Description {
    #[prost(message, repeated, tag = "1")]
    pub(super) input: Vec<Feature>,
    #[prost(message, repeated, tag = "10")]
    pub(super) output: Vec<Feature>,
    #[prost(message, optional, tag = "100")]
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(string, tag = "1")]
    pub(super) description: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(btree_map = "string, string", tag = "100")]
    pub(super) user: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Feature {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(message, optional, tag = "3")]
    pub(super) kind: Option<FeatureType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureType {
    #[prost(message, optional, tag = "5")]
    pub(super) array: Option<ArrayType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ArrayType {
    #[prost(int64, repeated, tag = "1")]
    pub(super) shape: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(super) element: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Program {
    #[prost(int64, tag = "1")]
    pub(super) version: i64,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) functions: BTreeMap<String, Function>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Function {
    #[prost(message, repeated, tag = "1")]
    pub(super) inputs: Vec<Named>,
    #[prost(string, tag = "2")]
    pub(super) operations: String,
    #[prost(btree_map = "string, message", tag = "3")]
    pub(super) blocks: BTreeMap<String, Block>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Block {
    #[prost(string, repeated, tag = "2")]
    pub(super) outputs: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(super) operations: Vec<Operation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Operation {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) inputs: BTreeMap<String, Argument>,
    #[prost(message, repeated, tag = "3")]
    pub(super) outputs: Vec<Named>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(super) attributes: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Argument {
    #[prost(message, repeated, tag = "1")]
    pub(super) bindings: Vec<Binding>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Binding {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Named {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) kind: Option<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueType {
    #[prost(message, optional, tag = "1")]
    pub(super) tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub(super) element: i32,
    #[prost(int64, tag = "2")]
    pub(super) rank: i64,
    #[prost(message, repeated, tag = "3")]
    pub(super) dimensions: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dimension {
    #[prost(message, optional, tag = "1")]
    pub(super) constant: Option<Size>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Size {
    #[prost(uint64, tag = "1")]
    pub(super) size: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(message, optional, tag = "2")]
    pub(super) kind: Option<ValueType>,
    #[prost(oneof = "Content", tags = "3, 5")]
    pub(super) content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Content {
    #[prost(message, tag = "3")]
    Immediate(Immediate),
    #[prost(message, tag = "5")]
    File(FileValue),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Immediate {
    #[prost(message, optional, tag = "1")]
    pub(super) tensor: Option<TensorValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FileValue {
    #[prost(string, tag = "1")]
    pub(super) file: String,
    #[prost(uint64, tag = "2")]
    pub(super) offset: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorValue {
    #[prost(oneof = "Elements", tags = "1, 2, 3, 4, 7")]
    pub(super) elements: Option<Elements>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Elements {
    #[prost(message, tag = "1")]
    Floats(Floats),
    #[prost(message, tag = "2")]
    Integers(Integers),
    #[prost(message, tag = "3")]
    Truths(Truths),
    #[prost(message, tag = "4")]
    Texts(Texts),
    #[prost(message, tag = "7")]
    Bytes(Bytes),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Floats {
    #[prost(float, repeated, tag = "1")]
    pub(super) values: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Integers {
    #[prost(int32, repeated, tag = "1")]
    pub(super) values: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Truths {
    #[prost(bool, repeated, tag = "1")]
    pub(super) values: Vec<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Texts {
    #[prost(string, repeated, tag = "1")]
    pub(super) values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) values: Vec<u8>,
}
