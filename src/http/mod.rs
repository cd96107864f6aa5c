//! Metrics and health over HTTP: thin.
