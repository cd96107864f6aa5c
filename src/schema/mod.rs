//! Values to events or why not, pure.
