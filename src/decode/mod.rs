//! Bytes to values, pure.
