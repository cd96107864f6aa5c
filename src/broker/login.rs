//! With which address, user and password a connection is opened, and how it keeps its right to be open.
//!
//! Secrets that are files are read for each connection, so that rotated ones are taken up. A password that is a token
//! ends: its connection is given the next one in time (`connection.update-secret`, RabbitMQ's extension of AMQP 0-9-1).
//! Not by the client library's own renewal: it waits for the whole life it is told, and spins when it is told none.

use std::sync::{Arc, Weak};
use std::time::Duration;

use lapin::Connection;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::connect::{Endpoint, endpoint};
use super::token::{self, NoToken, Tokens};
use super::{ConnectError, Surroundings, fresh};
use crate::config::{RabbitMq, Secret};
use crate::web::Web;

/// How often a file that holds a token is looked at, at least and at most; between, after a third of what is left.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Addresses and credentials, as they are at the moment.
pub(super) struct Logins {
    uris: Vec<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
    tokens: Option<Tokens>,
    heartbeat: Duration,
    surroundings: Surroundings,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

impl Logins {
    pub(super) fn new(config: &RabbitMq, surroundings: Surroundings) -> Self {
        let web = Web { ca: config.ca.clone(), patience: config.connect_timeout };
        let Surroundings { now, read } = surroundings;
        Self {
            uris: config.uris.clone(),
            username: config.username.clone(),
            password: config.password.clone(),
            tokens: config.oauth2.clone().map(|oauth2| Tokens::new(oauth2, web, now, read)),
            heartbeat: config.heartbeat,
            surroundings,
        }
    }

    /// The address of the URI `index`, with user and password.
    ///
    /// # Errors
    /// A file cannot be read, holds no URI, or there is no token.
    pub(super) async fn endpoint(&self, index: usize, shown: &str) -> Result<Endpoint, ConnectError> {
        let read = self.surroundings.read;
        let refused = |reason: String, mend: &str| ConnectError::Refused {
            broker: shown.to_owned(),
            reason,
            mend: mend.to_owned(),
        };
        let uri = fresh(&self.uris[index], read).await.map_err(|reason| refused(reason, "put right rabbitmq.uri"))?;
        let mut endpoint =
            endpoint(&uri, self.heartbeat).map_err(|reason| refused(reason, "put right rabbitmq.uri"))?;
        let login = &mut endpoint.uri.authority.userinfo;
        if let Some(username) = &self.username {
            let username = fresh(username, read).await;
            login.username = username.map_err(|reason| refused(reason, "put right rabbitmq.username"))?;
        }
        if let Some(password) = &self.password {
            let password = fresh(password, read).await;
            login.password = password.map_err(|reason| refused(reason, "put right rabbitmq.password"))?;
        }
        if let Some(tokens) = &self.tokens {
            login.password = tokens.current().await.map_err(|why| match why {
                NoToken::Unavailable(reason) => {
                    ConnectError::Unavailable { broker: shown.to_owned(), reason: format!("no token: {reason}") }
                }
                NoToken::Refused(reason) => refused(format!("no token: {reason}"), "put right rabbitmq.oauth2"),
            })?;
        }
        Ok(endpoint)
    }

    /// The broker refused to be logged in to with `endpoint`. Its token may have been revoked, or its key replaced.
    pub(super) async fn distrust(&self, endpoint: &Endpoint) {
        if let Some(tokens) = &self.tokens {
            tokens.distrust(&endpoint.uri.authority.userinfo.password).await;
        }
    }

    /// Keeps a connection of the URI `index` that was opened as `opened` supplied with tokens, until the returned set is
    /// dropped. Plain passwords matter when a connection is opened only.
    pub(super) fn keep(
        self: &Arc<Self>,
        index: usize,
        opened: &Endpoint,
        connection: &Arc<Connection>,
        patience: Duration,
    ) -> JoinSet<()> {
        let mut keeper = JoinSet::new();
        let held = opened.uri.authority.userinfo.password.clone();
        let read_again = self.password.as_ref().unwrap_or(&self.uris[index]).file().is_some();
        if self.tokens.is_some() || (read_again && token::end(&held).is_some()) {
            let kept = Kept { logins: Arc::clone(self), index, shown: opened.shown.clone(), patience };
            keeper.spawn(kept.run(Arc::downgrade(connection), held));
        }
        keeper
    }

    /// How long until the credentials may differ from `held`.
    async fn due(&self, held: &str) -> Duration {
        match &self.tokens {
            Some(tokens) => tokens.due(held).await.max(LOOK.0),
            None => {
                let left = token::end(held).and_then(|end| (end - (self.surroundings.now)()).to_std().ok());
                (left.unwrap_or_default() / 3).clamp(LOOK.0, LOOK.1)
            }
        }
    }

    /// The token ended, and nothing took its place.
    fn overdue(&self, held: &str) -> bool {
        token::end(held).is_some_and(|end| end <= (self.surroundings.now)())
    }
}

/// A connection that is kept supplied.
struct Kept {
    logins: Arc<Logins>,
    index: usize,
    shown: String,
    /// Longest wait for the broker to take a token.
    patience: Duration,
}

impl Kept {
    async fn run(self, connection: Weak<Connection>, mut held: String) {
        // What was last complained of: not repeated as long as it stays the same.
        let mut complaint = None;
        let mut complain = |reason: Option<String>| {
            if let Some(reason) = reason.as_ref().filter(|_| reason != complaint) {
                warn!(broker = %self.shown, %reason, "no new token for an open connection; it is tried again");
            }
            complaint = reason;
        };
        loop {
            sleep(self.logins.due(&held).await).await;
            let fresh = match self.logins.endpoint(self.index, &self.shown).await {
                Ok(endpoint) => endpoint.uri.authority.userinfo.password,
                Err(error) => {
                    complain(Some(error.to_string()));
                    continue;
                }
            };
            if fresh == held {
                let ended = self.logins.overdue(&held);
                complain(ended.then(|| "the token has ended, and nothing has taken its place".to_owned()));
                continue;
            }
            // A file that is being written, or a plain password: nothing to give an open connection.
            if self.logins.tokens.is_none() && token::end(&fresh).is_none() {
                complain(Some("the file holds no token that ends".to_owned()));
                continue;
            }
            // The connection may go meanwhile: then there is nothing left to keep.
            let Some(connection) = connection.upgrade().filter(|connection| connection.status().connected()) else {
                return;
            };
            let updated = connection.update_secret(fresh.as_str().into(), "renewed".into());
            match timeout(self.patience, updated).await {
                Ok(Ok(())) => {
                    debug!(broker = %self.shown, "an open connection has a new token");
                    complain(None);
                    held = fresh;
                }
                Ok(Err(error)) => complain(Some(format!("the broker does not take it: {error}"))),
                Err(_) => complain(Some(format!("the broker does not answer within {:?}", self.patience))),
            }
        }
    }
}
