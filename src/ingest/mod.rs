//! Flow 1: broker to archive or dead letters, then settle.
