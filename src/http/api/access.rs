//! Who asks, and whether they ask too often. Tokens are kept as hashes and compared without telling, by the time it
//! takes, how much of one was right.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::config::{self, Role};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// As the audit names them.
    pub(super) name: Arc<str>,
    pub(super) role: Role,
}

/// What becomes of a request before anything is looked at but its token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token came along, and one is needed.
    NoToken,
    /// It is nobody's.
    UnknownToken,
    TooMany {
        retry_after: Duration,
    },
}

/// The tokens, and what each has used of its allowance.
pub(super) struct Access {
    tokens: Vec<Known>,
    /// Of all who have no known token.
    strangers: Mutex<Bucket>,
    anonymous: Caller,
}

struct Known {
    caller: Caller,
    hash: [u8; 32],
    bucket: Mutex<Bucket>,
}

impl Access {
    pub(super) fn new(config: &config::Api, now: Instant) -> Self {
        let bucket = || Mutex::new(Bucket::new(config.requests_max, config.requests_within, now));
        let known = |token: &config::HttpToken| Known {
            caller: Caller { name: token.name.as_str().into(), role: token.role },
            hash: Sha256::digest(token.token.expose()).into(),
            bucket: bucket(),
        };
        Self {
            tokens: config.tokens.iter().map(known).collect(),
            strangers: bucket(),
            anonymous: Caller { name: "anonymous".into(), role: Role::Viewer },
        }
    }

    /// Without tokens, all who can reach the API read it as viewers.
    pub(super) fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Who sends that `authorization`; takes one request from their allowance.
    pub(super) fn admit(&self, authorization: Option<&[u8]>, now: Instant) -> Result<Caller, Refusal> {
        let token = authorization.and_then(bearer);
        let known = token.and_then(|token| self.find(token));
        let bucket = known.map_or(&self.strangers, |known| &known.bucket);
        let taken = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        taken.map_err(|retry_after| Refusal::TooMany { retry_after })?;
        match known {
            Some(known) => Ok(known.caller.clone()),
            None if self.is_open() => Ok(self.anonymous.clone()),
            None if authorization.is_none() => Err(Refusal::NoToken),
            None => Err(Refusal::UnknownToken),
        }
    }

    /// Takes one request from the allowance of those without a token, for what is shown to all.
    pub(super) fn admit_stranger(&self, now: Instant) -> Result<Caller, Refusal> {
        let taken = self.strangers.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        taken.map_err(|retry_after| Refusal::TooMany { retry_after })?;
        Ok(self.anonymous.clone())
    }

    /// Compares with all of them, whichever it is.
    fn find(&self, token: &[u8]) -> Option<&Known> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for known in &self.tokens {
            if equal(&known.hash, &hash) {
                found = Some(known);
            }
        }
        found
    }
}

/// The token of `Bearer TOKEN` (RFC 6750, 2.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Looks at every byte, whatever the first ones are.
fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (one, other)| differing | (one ^ other));
    std::hint::black_box(differing) == 0
}

/// An allowance of requests that fills evenly.
struct Bucket {
    left: f64,
    full: f64,
    per_second: f64,
    seen: Instant,
}

impl Bucket {
    fn new(requests_max: u32, within: Duration, now: Instant) -> Self {
        let full = f64::from(requests_max);
        Self { left: full, full, per_second: full / within.as_secs_f64(), seen: now }
    }

    /// Takes one, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.seen = self.seen.max(now);
        self.left = (self.left + passed * self.per_second).min(self.full);
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.left) / self.per_second));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HttpToken, Secret};

    fn access(tokens: &[(&str, Role)], now: Instant) -> Access {
        let token = |(name, role): &(&str, Role)| HttpToken {
            name: (*name).to_owned(),
            role: *role,
            token: Secret::new(format!("token-of-{name}-0123456789")),
        };
        let config = config::Api {
            tokens: tokens.iter().map(token).collect(),
            requests_max: 3,
            requests_within: Duration::from_secs(30),
            request_timeout: Duration::from_secs(1),
            body_max: 1024,
            page_max: 10,
            tasks_max: 2,
        };
        Access::new(&config, now)
    }

    #[test]
    fn a_token_says_who_it_is_and_a_wrong_one_nobody() {
        let now = Instant::now();
        let access = access(&[("ann", Role::Viewer), ("bob", Role::Admin)], now);
        let admit = |text: &str| access.admit(Some(text.as_bytes()), now);
        let ann = admit("Bearer token-of-ann-0123456789").unwrap();
        assert_eq!((&*ann.name, ann.role), ("ann", Role::Viewer));
        assert_eq!(admit("bearer  token-of-bob-0123456789 ").unwrap().role, Role::Admin);
        for wrong in ["Bearer token-of-ann-012345678", "Basic token-of-bob-0123456789", "Bearer", ""] {
            let access = super::tests::access(&[("ann", Role::Viewer)], now);
            assert_eq!(access.admit(Some(wrong.as_bytes()), now), Err(Refusal::UnknownToken), "{wrong}");
        }
        assert_eq!(access.admit(None, now), Err(Refusal::NoToken));
    }

    #[test]
    fn without_tokens_everybody_is_a_viewer() {
        let now = Instant::now();
        let access = access(&[], now);
        assert_eq!(access.admit(None, now).unwrap().role, Role::Viewer);
        assert_eq!(access.admit(Some(b"Bearer anything"), now).unwrap().role, Role::Viewer);
    }

    #[test]
    fn an_allowance_is_a_tokens_own_and_fills_evenly() {
        let now = Instant::now();
        let access = access(&[("ann", Role::Viewer), ("bob", Role::Viewer)], now);
        let (ann, bob) = (Some(&b"Bearer token-of-ann-0123456789"[..]), Some(&b"Bearer token-of-bob-0123456789"[..]));
        for _ in 0..3 {
            access.admit(ann, now).unwrap();
        }
        let Err(Refusal::TooMany { retry_after }) = access.admit(ann, now) else { panic!("the fourth is too many") };
        assert_eq!(retry_after.as_secs_f64().round(), 10.0);
        access.admit(bob, now).expect("the other has not asked yet");
        let later = now + Duration::from_millis(10_100);
        access.admit(ann, later).expect("a third of the time gives a third of the requests");
        assert!(access.admit(ann, later).is_err());
    }

    #[test]
    fn guesses_have_one_allowance_together() {
        let now = Instant::now();
        let access = access(&[("ann", Role::Viewer)], now);
        for guess in 0..3 {
            let guess = format!("Bearer {guess}");
            assert_eq!(access.admit(Some(guess.as_bytes()), now), Err(Refusal::UnknownToken));
        }
        assert!(matches!(access.admit(Some(b"Bearer 4"), now), Err(Refusal::TooMany { .. })));
        access.admit(Some(b"Bearer token-of-ann-0123456789"), now).expect("a right token is not held up by them");
    }
}
