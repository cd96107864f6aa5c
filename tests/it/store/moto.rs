//! A second opinion: the suite against moto's S3, which others wrote. Its creation is not atomic, so without the race.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{conformance, open};
use crate::harness::s3::{self, BUCKET};

/// Ends the server with the test, passed or failed.
struct Moto(Child);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_agrees() {
    let venv = std::env::var_os("PARQUEDUCT_TEST_VENV")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".parqueduct/venv/test"), PathBuf::from);
    let program = venv.join("bin/moto_server");
    assert!(program.exists(), "{} is missing: run `make test`", program.display());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let _moto = Moto(command.spawn().unwrap());
    let endpoint = format!("http://127.0.0.1:{port}");
    make_bucket(&endpoint).await;
    conformance::all_but_the_race(&open(&s3::config(&endpoint, "some/prefix"))).await;
}

/// Once it answers.
async fn make_bucket(endpoint: &str) {
    // The provider is otherwise installed when a store is opened. An error: one is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match client.put(format!("{endpoint}/{BUCKET}")).send().await {
            Ok(answer) => return assert!(answer.status().is_success(), "{answer:?}"),
            Err(error) => assert!(Instant::now() < until, "moto does not answer: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
