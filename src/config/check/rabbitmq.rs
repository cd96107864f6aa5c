//! `[rabbitmq]`. URIs are read with the parser the client library uses, and refused where it would quietly make
//! something else of them. Nothing of a URI is ever shown.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::config::checked::{OAuth2, RabbitMq, Secret};
use crate::config::finding::Place;
use crate::config::raw;
use crate::config::read::{Given, Reader};
use crate::config::units::show_duration;

pub(super) fn check(section: &raw::RabbitMq, reader: &mut Reader<'_>) -> Option<RabbitMq> {
    let uris = uris(section, reader);
    let oauth2 = oauth2_if(section, reader);
    let management = management_if(section.management.as_ref(), reader);
    let ca = super::readable_if(section.ca.as_ref(), Some(super::CERTIFICATE), reader);
    let cert = super::readable_if(section.cert.as_ref(), Some(super::CERTIFICATE), reader);
    let key = super::readable_if(section.key.as_ref(), Some(super::PRIVATE_KEY), reader);
    match (&section.cert, &section.key) {
        (Some(cert), None) => {
            reader.notes.error(&cert.place, "has no private key beside it", "add key = \"client.key\"")
        }
        (None, Some(key)) => {
            reader.notes.error(&key.place, "has no certificate beside it", "add cert = \"client.pem\"")
        }
        _ => {}
    }
    if uris.as_ref().is_some_and(|uris| uris.iter().all(|uri| !encrypted(uri, "amqps"))) {
        let tokens = oauth2.iter().flatten().any(|oauth2| oauth2.token_url.starts_with("https:"));
        let web = tokens || management.iter().flatten().any(|url| encrypted(url, "https"));
        let ca = section.ca.as_ref().filter(|_| !web);
        for given in [ca, section.cert.as_ref(), section.key.as_ref()].into_iter().flatten() {
            let problem = "is not used, for the connection is not encrypted";
            reader.notes.warning(&given.place, problem, "write amqps:// in the URI, or remove the key");
        }
    }
    timings(section, reader);
    Some(RabbitMq {
        uris: uris?,
        username: section.username.as_ref().map(|given| given.value.clone()),
        password: section.password.as_ref().map(|given| given.value.clone()),
        oauth2: oauth2?,
        management: management?,
        depth_every: Some(section.depth_every.as_ref()?.value).filter(|every| !every.is_zero()),
        ca: ca?,
        cert: cert?,
        key: key?,
        heartbeat: section.heartbeat.as_ref()?.value,
        connect_timeout: section.connect_timeout.as_ref()?.value,
        reconnect_min: section.reconnect_min.as_ref()?.value,
        reconnect_max: section.reconnect_max.as_ref()?.value,
    })
}

fn encrypted(uri: &Secret, encrypting: &str) -> bool {
    uri.expose().split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(encrypting))
}

/// `Some(None)` when there are no tokens, `None` when something was refused.
fn oauth2_if(section: &raw::RabbitMq, reader: &mut Reader<'_>) -> Option<Option<OAuth2>> {
    let Some(given) = &section.oauth2 else { return Some(None) };
    let oauth2 = &given.value;
    if let Some(password) = &section.password {
        reader.notes.error(&password.place, "stands beside oauth2", "keep one of the two");
    }
    let token_url = oauth2.token_url.as_ref()?;
    let problem = match Url::parse(&token_url.value.value) {
        Err(_) => Some(("is not a URL", "write https://host/path")),
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
            Some(("is not a URL of HTTP", "write https://host/path"))
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() => {
            Some(("holds more than a place", "set client_id and client_secret by their own keys"))
        }
        Ok(url) if url.scheme() == "http" && !oauth2.allow_http.as_ref().is_some_and(|given| given.value) => {
            Some(("would send the secret in clear text", "write https://, or add allow_http = true"))
        }
        Ok(_) => None,
    };
    if let Some((problem, mend)) = problem {
        reader.notes.error(&token_url.place, problem, mend);
        return None;
    }
    Some(Some(OAuth2 {
        token_url: token_url.value.value.clone(),
        client_id: oauth2.client_id.as_ref()?.value.value.clone(),
        client_secret: oauth2.client_secret.as_ref()?.value.clone(),
        scope: super::text_of(oauth2.scope.as_ref()),
    }))
}

/// `Some(None)` when it is not set, `None` when it was refused. Never quoted: it holds a password.
fn management_if(given: Option<&Given<Secret>>, reader: &mut Reader<'_>) -> Option<Option<Secret>> {
    const EXAMPLE: &str = "write it as http://user:password@host:15672, with special characters percent-encoded";
    let Some(given) = given else { return Some(None) };
    let problem = match Url::parse(given.value.expose()) {
        Err(_) => Some("is not a URL"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => Some("is neither http:// nor https://"),
        Ok(url) if url.username().is_empty() || url.password().is_none() => Some("names no user and password"),
        Ok(url) if url.query().is_some() || url.fragment().is_some() || url.path().contains('@') => {
            Some("holds more than user, password, host, port and path")
        }
        Ok(_) => None,
    };
    if let Some(problem) = problem {
        reader.notes.error(&given.place, problem, EXAMPLE);
        return None;
    }
    Some(Some(given.value.clone()))
}

fn timings(section: &raw::RabbitMq, reader: &mut Reader<'_>) {
    if let Some(heartbeat) = &section.heartbeat {
        if heartbeat.value.subsec_millis() != 0 {
            let problem = format!("{} is not a whole number of seconds", show_duration(heartbeat.value));
            reader.notes.error(&heartbeat.place, problem, "write whole seconds, such as \"10s\"");
        } else if heartbeat.value.as_secs() < 5 {
            let problem = format!("{} is so short that a busy network looks dead", show_duration(heartbeat.value));
            reader.notes.warning(&heartbeat.place, problem, "set it to \"5s\" or more");
        }
    }
    if let (Some(least), Some(greatest)) = (&section.reconnect_min, &section.reconnect_max)
        && least.value > greatest.value
    {
        let place = if greatest.place.written { &greatest.place } else { &least.place };
        let problem = format!(
            "reconnect_min {} is more than reconnect_max {}",
            show_duration(least.value),
            show_duration(greatest.value)
        );
        reader.notes.error(place, problem, "let reconnect_min be the shorter of the two");
    }
}

/// The URIs of either key; `None` when one is refused.
fn uris(section: &raw::RabbitMq, reader: &mut Reader<'_>) -> Option<Vec<Secret>> {
    let Some(list) = &section.uris else {
        let given = section.uri.as_ref()?;
        return uri(&given.value, &given.place, reader).then(|| vec![given.value.clone()]);
    };
    if let Some(single) = section.uri.as_ref().filter(|single| single.place.written) {
        reader.notes.error(&single.place, "stands beside uris", "keep one of the two");
    }
    if list.value.is_empty() {
        reader.notes.error(&list.place, "names no broker", "list at least one URI, or write uri in its place");
    }
    let usable = list.value.iter().filter(|given| uri(&given.value, &given.place, reader)).count();
    (usable == list.value.len()).then(|| list.value.iter().map(|given| given.value.clone()).collect())
}

/// Notes what is wrong with one URI, never quoting it.
fn uri(secret: &Secret, place: &Place, reader: &mut Reader<'_>) -> bool {
    const EXAMPLE: &str = "write it as amqp://user:password@host:5672/%2f, with special characters percent-encoded";
    let text = secret.expose();
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        reader.notes.error(place, "holds white space", EXAMPLE);
        return false;
    }
    let url = match Url::parse(text) {
        Ok(url) if url.has_authority() => url,
        Ok(_) => {
            reader.notes.error(place, "names no host", EXAMPLE);
            return false;
        }
        Err(error) => {
            reader.notes.error(place, format!("is not a URI ({error})"), EXAMPLE);
            return false;
        }
    };
    let problem = match url.host() {
        _ if !matches!(url.scheme(), "amqp" | "amqps") => Some(("is neither amqp:// nor amqps://", EXAMPLE)),
        None => Some(("names no host", EXAMPLE)),
        Some(Host::Domain("")) => Some(("names no host", EXAMPLE)),
        Some(Host::Ipv6(_)) => Some((
            "has an IPv6 address as host, in whose place the client library would connect to localhost",
            "write a host name that resolves to the address",
        )),
        _ if url.path().contains('@') => Some((
            "has an \"@\" after its host, probably a special character in the password",
            "percent-encode special characters: \"@\" is %40, \"/\" is %2f, \":\" is %3a, \"#\" is %23, \"?\" is %3f",
        )),
        _ if url.fragment().is_some() => Some((
            "holds a \"#\", behind which everything would be ignored",
            "percent-encode special characters: \"#\" is %23",
        )),
        _ if [url.username(), url.password().unwrap_or_default(), url.path()]
            .iter()
            .any(|part| percent_decode_str(part).decode_utf8().is_err()) =>
        {
            Some(("is not UTF-8 once its percent-encoding is undone", EXAMPLE))
        }
        _ => None,
    };
    if let Some((problem, mend)) = problem {
        reader.notes.error(place, problem, mend);
        return false;
    }
    if url.path() == "/" {
        let problem = "ends in \"/\", which names the vhost \"\" rather than the default \"/\"";
        reader.notes.warning(place, problem, "end it in /%2f for the default vhost, or leave out the last \"/\"");
    }
    let wrong: Vec<_> = url.query_pairs().filter_map(|(name, value)| query(&name, &value)).collect();
    wrong.iter().for_each(|(problem, mend)| reader.notes.error(place, problem.clone(), *mend));
    wrong.is_empty()
}

/// What is wrong with one key of a URI's query. Only names from the list are shown: others may be a piece of a
/// password.
fn query(name: &str, value: &str) -> Option<(String, &'static str)> {
    /// RabbitMQ accepts no smaller frame since 4.1; the client library's memory grows with it.
    const FRAME: std::ops::RangeInclusive<u32> = 8192..=1_048_576;
    const MECHANISMS: &[&str] = &["plain", "external", "amqplain", "anonymous", "rabbit-cr-demo"];
    let (usable, mend) = match name {
        "frame_max" => {
            (value.parse().is_ok_and(|bytes: u32| FRAME.contains(&bytes)), "set it between 8192 and 1048576 bytes")
        }
        "channel_max" => (value.parse::<u16>().is_ok_and(|channels| channels > 0), "set it between 1 and 65535"),
        "auth_mechanism" => (
            MECHANISMS.contains(&value.to_lowercase().as_str()),
            "set it to plain, external, amqplain, anonymous or rabbit-cr-demo",
        ),
        _ => {
            let mend = match name {
                "heartbeat" => "remove it and set rabbitmq.heartbeat",
                "connection_timeout" => "remove it and set rabbitmq.connect_timeout",
                "cacertfile" => "remove it and set rabbitmq.ca",
                "certfile" => "remove it and set rabbitmq.cert",
                "keyfile" => "remove it and set rabbitmq.key",
                "verify" | "fail_if_no_peer_cert" | "server_name_indication" | "depth" | "password" => {
                    "remove it: certificates are always verified, against the system's authorities and rabbitmq.ca"
                }
                _ => {
                    return Some((
                        "has an unknown key in its query".to_owned(),
                        "keep only frame_max, channel_max and auth_mechanism; a \"?\" of a password is written %3f",
                    ));
                }
            };
            return Some((format!("has {name} in its query, which is not read there"), mend));
        }
    };
    (!usable).then(|| (format!("has an unusable {name} in its query"), mend))
}
