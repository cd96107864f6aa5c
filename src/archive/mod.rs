//! Good events to Parquet files: rows, partitions, batches, bytes. No store and no clock here.

mod numbers;
pub mod time;
