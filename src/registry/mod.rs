//! Schemas that a registry knows by their ids: the HTTP API of Confluent's Schema Registry
//! (<https://docs.confluent.io/platform/current/schema-registry/develop/api.html>), which others implement, too.
//!
//! What it says of an id never changes, so it is asked once. That it does not know one is kept for a while. Whatever else it
//! answers, or does not, is [`Trouble`]: never a verdict on an event.

pub mod answer; // what it answers

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use crate::config;
use crate::web::Web;
use answer::{Asked, SchemaAnswer};
pub use answer::{Kind, Trouble};

/// The largest id: registries number their schemas by what Java calls an `int`, and do not understand the question for more.
const ID_MAX: u32 = i32::MAX as u32;

/// Schemas that one may refer to, and those to others.
const REFERENCES_MAX: usize = 200;

/// A schema as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub id: u32,
    pub kind: Kind,
    pub text: String,
    /// Those that it refers to, by the names it has for them, and those that they refer to; each after what it needs.
    pub references: Vec<(String, String)>,
    /// The subjects it is registered under, sorted.
    pub subjects: Vec<String>,
}

/// What is known of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Known(Arc<Registered>),
    /// There is no such schema.
    Unknown,
}

/// See the module.
pub struct Registry {
    web: Web,
    config: config::Registry,
    /// Reads a secret's file again for each question, so that a changed one is taken up.
    secret: ReadSecret,
    kept: Mutex<HashMap<u32, Kept>>,
    /// One question at a time: who asks for the same meanwhile finds the answer.
    turn: tokio::sync::Mutex<()>,
    observe: Box<dyn Fn(Outcome) + Send + Sync>,
}

/// Gives the value of a secret as it is now.
pub type ReadSecret = fn(&config::Secret) -> Result<String, String>;

/// How a question ended, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Known,
    Unknown,
    Trouble,
}

impl Outcome {
    pub const ALL: [Outcome; 3] = [Outcome::Known, Outcome::Unknown, Outcome::Trouble];

    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Known => "known",
            Outcome::Unknown => "unknown",
            Outcome::Trouble => "trouble",
        }
    }
}

struct Kept {
    answer: Answer,
    /// When it was given.
    at: Instant,
}

impl Registry {
    /// A client of the configured registry; how each question ended is told to `observe`.
    pub fn new(
        config: &config::Registry,
        secret: ReadSecret,
        observe: impl Fn(Outcome) + Send + Sync + 'static,
    ) -> Self {
        Self {
            web: Web { ca: config.ca.clone(), patience: config.request_timeout },
            config: config.clone(),
            secret,
            kept: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            observe: Box::new(observe),
        }
    }

    /// What is known of the id without asking; that it is unknown only for so long as is configured.
    pub fn kept(&self, id: u32) -> Option<Answer> {
        if id > ID_MAX {
            return Some(Answer::Unknown);
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&id).filter(|kept| self.holds(kept)).map(|kept| kept.answer.clone())
    }

    /// What the registry says of the id.
    ///
    /// # Errors
    /// [`Trouble`]: it says nothing that can be used. Ask again later.
    pub async fn schema(&self, id: u32) -> Result<Answer, Trouble> {
        let _turn = self.turn.lock().await;
        if let Some(answer) = self.kept(id) {
            return Ok(answer);
        }
        let answer = self.ask(id).await;
        let outcome = match &answer {
            Ok(Answer::Known(_)) => Outcome::Known,
            Ok(Answer::Unknown) => Outcome::Unknown,
            Err(_) => Outcome::Trouble,
        };
        (self.observe)(outcome);
        let answer = answer?;
        self.keep(id, answer.clone());
        Ok(answer)
    }

    /// Asks for the id again, the next time.
    pub fn forget(&self, id: u32) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Schemas and unknown ids that are kept.
    pub fn len(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn holds(&self, kept: &Kept) -> bool {
        matches!(kept.answer, Answer::Known(_)) || kept.at.elapsed() < self.config.unknown_for
    }

    fn keep(&self, id: u32, answer: Answer) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.config.schemas_max {
            // Ids of which nothing is known can be made up without end; they go first.
            kept.retain(|_, kept| self.holds(kept));
            while kept.len() >= self.config.schemas_max {
                let worth = |(_, kept): &(&u32, &Kept)| (matches!(kept.answer, Answer::Known(_)), kept.at);
                let Some(least) = kept.iter().min_by_key(worth).map(|(id, _)| *id) else { break };
                kept.remove(&least);
            }
        }
        kept.insert(id, Kept { answer, at: Instant::now() });
    }

    async fn ask(&self, id: u32) -> Result<Answer, Trouble> {
        let Some(root) = self.get::<SchemaAnswer>(&format!("schemas/ids/{id}")).await? else {
            return Ok(Answer::Unknown);
        };
        let Some(subjects) = self.get::<Vec<String>>(&format!("schemas/ids/{id}/subjects?deleted=true")).await? else {
            return Ok(Answer::Unknown);
        };
        let Some(references) = self.references(&root).await? else { return Ok(Answer::Unknown) };
        let SchemaAnswer { kind, text, .. } = root;
        let mut subjects = subjects;
        subjects.sort();
        Ok(Answer::Known(Arc::new(Registered { id, kind, text, references, subjects })))
    }

    /// All that `root` refers to; `None`: something of it is not there.
    async fn references(&self, root: &SchemaAnswer) -> Result<Option<Vec<(String, String)>>, Trouble> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut seen = HashSet::new();
        // The last is looked at next; its own references come above it, and it is taken once they are.
        let mut open: Vec<(answer::Reference, Option<SchemaAnswer>)> =
            root.references.iter().rev().map(|reference| (reference.clone(), None)).collect();
        while let Some((reference, answered)) = open.pop() {
            if let Some(schema) = answered {
                found.push((reference.name, schema.text));
                continue;
            }
            if !seen.insert((reference.subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(Trouble::new(
                    Asked::Schema,
                    format!("a schema refers to more than {REFERENCES_MAX} others"),
                ));
            }
            let subject = utf8_percent_encode(&reference.subject, NON_ALPHANUMERIC);
            // One that was deleted since is still what the schema means.
            let path = format!("subjects/{subject}/versions/{}?deleted=true", reference.version);
            let Some(schema) = self.get::<SchemaAnswer>(&path).await? else { return Ok(None) };
            let needed: Vec<_> = schema.references.iter().rev().map(|needed| (needed.clone(), None)).collect();
            open.push((reference, Some(schema)));
            open.extend(needed);
        }
        Ok(Some(found))
    }

    /// The answer at `path` of the first registry that has one; `None`: all say that there is nothing of that name. One may be
    /// behind another, so what one does not know is no verdict while another does not answer.
    async fn get<T: answer::Read>(&self, path: &str) -> Result<Option<T>, Trouble> {
        let mut trouble = None;
        for url in &self.config.urls {
            match self.get_from(url, path).await {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => {}
                Err(failed) => trouble = Some(failed),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    async fn get_from<T: answer::Read>(&self, url: &str, path: &str) -> Result<Option<T>, Trouble> {
        let address = format!("{}/{path}", url.trim_end_matches('/'));
        let secret = |secret: &Option<config::Secret>| secret.as_ref().map(self.secret).transpose();
        let unread = |reason| Trouble::new(Asked::Secret, reason);
        let (password, token) =
            (secret(&self.config.password).map_err(unread)?, secret(&self.config.token).map_err(unread)?);
        let ask = |client: &reqwest::Client| {
            let request = client.get(&address).header("Accept", answer::MEDIA_TYPES);
            match (&self.config.username, token) {
                (Some(user), _) => request.basic_auth(user, password),
                (None, Some(token)) => request.bearer_auth(token),
                (None, None) => request,
            }
        };
        let answered = self.web.ask(ask, self.config.answer_bytes_max).await;
        let answered = answered.map_err(|reason| Trouble::new(Asked::Registry, format!("{url}: {reason}")))?;
        answer::read(answered.status, &answered.body).map_err(|trouble| trouble.of(url))
    }
}
