//! What the tests run against.

pub mod archive;
pub mod orders;
pub mod program;
pub mod proxy;
pub mod python;
pub mod rabbit;
pub mod registry;
pub mod s3;
pub mod setting;
pub mod tokens;
pub mod wire;

use std::future::Future;
use std::sync::LazyLock;

use tokio::runtime::Runtime;

/// Runs the asynchronous part of a test that otherwise waits for processes; tasks it spawns live on.
pub fn now<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    RUNTIME.block_on(work)
}
