//! `[http]`: where to serve, and who may use the API.

use std::net::{IpAddr, SocketAddr};

use crate::config::checked::{Api, Http, HttpToken};
use crate::config::raw::{self, Serving};
use crate::config::read::{Given, Reader};

/// The shortest token that is accepted: one that is guessed by trying has to be longer than what anybody can try.
const TOKEN_BYTES_MIN: usize = 16;

pub(super) fn check(http: &raw::Http, reader: &mut Reader<'_>) -> Option<Http> {
    let tokens = tokens(http, reader);
    let listen = listen(http, reader);
    let api = http.api.as_ref()?.value;
    let guarded = http.token.as_ref().is_some_and(|tokens| !tokens.value.is_empty());
    if let Some(Some(address)) = listen
        && api == Serving::On
        && !guarded
        && !is_loopback(address.ip())
    {
        let place = &http.listen.as_ref()?.place;
        let problem = format!("{address} can be reached from other machines, and the API there tells of dead letters");
        let mend = "add tokens ([[http.token]]), set api = \"off\", or listen on \"127.0.0.1:9410\"";
        reader.notes.error(place, problem, mend);
        return None;
    }
    let number = |given: &Option<Given<u64>>| given.as_ref().map(|given| given.value);
    let api = Api {
        tokens: tokens?,
        requests_max: u32::try_from(number(&http.requests_max)?).unwrap_or(u32::MAX),
        requests_within: http.requests_within.as_ref()?.value,
        request_timeout: http.request_timeout.as_ref()?.value,
        body_max: usize::try_from(http.body_max.as_ref()?.value.0).unwrap_or(usize::MAX),
        page_max: usize::try_from(number(&http.page_max)?).unwrap_or(usize::MAX),
        tasks_max: usize::try_from(number(&http.tasks_max)?).unwrap_or(usize::MAX),
    };
    Some(Http {
        listen: listen?,
        api: (http.api.as_ref()?.value == Serving::On).then_some(api),
        connections_max: usize::try_from(number(&http.connections_max)?).unwrap_or(usize::MAX),
    })
}

/// `Some(None)`: nowhere.
fn listen(http: &raw::Http, reader: &mut Reader<'_>) -> Option<Option<SocketAddr>> {
    let listen = http.listen.as_ref()?;
    if listen.value.value == "off" {
        return Some(None);
    }
    let Ok(address) = listen.value.value.parse::<SocketAddr>() else {
        let problem = format!("{} is not an address and a port", listen.value);
        let mend = "write \"127.0.0.1:9410\", \"0.0.0.0:9410\" for all addresses, or \"off\"";
        reader.notes.error(&listen.place, problem, mend);
        return None;
    };
    Some(Some(address))
}

/// An address of this machine alone; one written as IPv6 that means such an IPv4 address, too.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn tokens(http: &raw::Http, reader: &mut Reader<'_>) -> Option<Vec<HttpToken>> {
    let Some(given) = &http.token else { return Some(Vec::new()) };
    let mut tokens: Vec<HttpToken> = Vec::new();
    let mut sound = true;
    for token in &given.value {
        match one(&token.value, &tokens, reader) {
            Some(token) => tokens.push(token),
            None => sound = false,
        }
    }
    sound.then_some(tokens)
}

fn one(token: &raw::HttpToken, before: &[HttpToken], reader: &mut Reader<'_>) -> Option<HttpToken> {
    let (name, role, secret) = (token.name.as_ref()?, token.role.as_ref()?, token.token.as_ref()?);
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-.@".contains(letter);
    if !name.value.value.chars().all(allowed) {
        let problem = format!("{} holds more than letters, digits, _, -, . and @", name.value);
        reader.notes.error(&name.place, problem, "choose a name such as \"dashboard\"");
        return None;
    }
    if before.iter().any(|other| other.name == name.value.value) {
        let problem = format!("{} is the name of another token", name.value);
        reader.notes.error(
            &name.place,
            problem,
            "give each token a name of its own, so that the audit tells who it was",
        );
        return None;
    }
    let text = secret.value.expose();
    if text.len() < TOKEN_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = format!("is shorter than {TOKEN_BYTES_MIN} characters, or holds others than visible ASCII");
        reader.notes.error(&secret.place, problem, "make one with: openssl rand -hex 32");
        return None;
    }
    if before.iter().any(|other| other.token == secret.value || other.token.expose() == text) {
        reader.notes.error(&secret.place, "is the token of another, too", "give each a token of its own");
        return None;
    }
    Some(HttpToken { name: name.value.value.clone(), role: role.value, token: secret.value.clone() })
}
