//! Commands: arguments in, text out.
