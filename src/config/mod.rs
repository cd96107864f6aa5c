//! The configuration file: raw as written, then checked. Parts take the checked types; nothing here touches a file, the
//! environment or the network by itself: the caller lends them.

mod checked;

pub use checked::*;
