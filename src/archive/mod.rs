//! Good events: partition, batch, Parquet.
