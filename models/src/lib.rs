//! Ready networks built from `ncps-core`.
