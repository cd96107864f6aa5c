//! An S3 API over HTTP on a random port of 127.0.0.1, in memory: the store of the tests, without the faults.

// The tests look into it from outside, which nobody does here; and like theirs, it may read the clock.
#[allow(dead_code, clippy::disallowed_methods)]
#[path = "../../tests/it/harness/s3/bucket.rs"]
mod bucket;

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

/// What the configuration of `bench/measure.py` says.
const BUCKET: &str = "lake";
const ACCESS_KEY: &str = "AKIDBENCH";
const SECRET_KEY: &str = "SECRETBENCH";

/// Prints its endpoint, and serves until it is killed.
pub async fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("http://{}", listener.local_addr()?);
    let mut builder = S3ServiceBuilder::new(bucket::Api(Arc::new(bucket::Bucket::default())));
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    loop {
        let (stream, _) = listener.accept().await?;
        let serving =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        // Ends with an error when the client goes away: that is the client's affair.
        tokio::spawn(serving);
    }
}
