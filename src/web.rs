//! Questions over HTTP to what stands beside a broker: its management API, and the endpoint that gives tokens. Each has a
//! time limit and a bound on its answer; redirects are not followed, for credentials would follow them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder};

/// How questions are asked.
#[derive(Debug)]
pub struct Web {
    /// PEM of the authorities to trust beside the system's; read for each question, so that a new one is taken up.
    pub ca: Option<PathBuf>,
    /// Longest wait for a whole answer.
    pub patience: Duration,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Web {
    /// Sends what `ask` makes of a client; an answer of more than `bytes_max` is none.
    ///
    /// # Errors
    /// Why there is no answer; nothing of the question is in it.
    pub async fn ask(&self, ask: impl FnOnce(&Client) -> RequestBuilder, bytes_max: usize) -> Result<Answer, String> {
        let client = self.client().await?;
        let mut response = ask(&client).send().await.map_err(said)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            if body.len() + chunk.len() > bytes_max {
                return Err(format!("the answer is longer than {bytes_max} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }

    async fn client(&self) -> Result<Client, String> {
        // The HTTP client takes the process-wide TLS provider. An error means that one is installed already: just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder().timeout(self.patience).redirect(Policy::none()).user_agent("parqueduct");
        if let Some(path) = &self.ca {
            builder = builder.tls_certs_merge(authorities(path).await?);
        }
        builder.build().map_err(said)
    }
}

async fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let pem = tokio::fs::read(path).await.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let found = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| format!("{} holds no PEM certificate", path.display()))
}

/// The error with its causes, and without the address, which may hold a password.
fn said(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
