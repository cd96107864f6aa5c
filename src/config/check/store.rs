//! `[store]`: which store, and what only that kind takes.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::checked::{Azure, Gcs, S3, S3Encryption, Store, StorePlace};
use crate::config::finding::Place;
use crate::config::raw::{self, Encryption};
use crate::config::read::{Given, Raw, Reader, Section};
use crate::config::text::{Text, resolve};

const EXAMPLES: &str = "write file:///directory, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";

/// `store.url`, taken apart.
enum Target {
    File { root: PathBuf },
    Bucket { scheme: &'static str, bucket: String, prefix: String },
}

impl Target {
    fn scheme(&self) -> &'static str {
        match self {
            Target::File { .. } => "file",
            Target::Bucket { scheme, .. } => scheme,
        }
    }
}

pub(super) fn check(section: &raw::Store, reader: &mut Reader<'_>) -> Option<Store> {
    let target = section.url.as_ref().and_then(|url| target(url, reader));
    let endpoint = endpoint(section, reader);
    let ca = super::readable_if(section.ca.as_ref(), Some(super::CERTIFICATE), reader);
    let service_account = super::readable_if(section.service_account.as_ref(), None, reader);
    let encryption = encryption(section, reader);
    credentials(section, reader);
    if let Some(target) = &target {
        strangers(section, target.scheme(), reader);
    }
    let text = |given: &Option<Given<Text>>| super::text_of(given.as_ref());
    let place = match target? {
        Target::File { root } => StorePlace::File { root },
        Target::Bucket { scheme: "gs", bucket, prefix } => {
            StorePlace::Gcs(Gcs { bucket, prefix, endpoint: endpoint?, service_account: service_account? })
        }
        Target::Bucket { scheme: "az", bucket: container, prefix } => StorePlace::Azure(Azure {
            account: text(&section.account),
            container,
            prefix,
            endpoint: endpoint?,
            access_key: section.access_key.as_ref().map(|given| given.value.clone()),
            sas_token: section.sas_token.as_ref().map(|given| given.value.clone()),
            emulator: section.emulator.as_ref()?.value,
        }),
        Target::Bucket { bucket, prefix, .. } => StorePlace::S3(S3 {
            bucket,
            prefix,
            path_style: section.path_style.as_ref().map_or(section.endpoint.is_some(), |given| given.value),
            endpoint: endpoint?,
            region: text(&section.region),
            access_key_id: section.access_key_id.as_ref().map(|given| given.value.clone()),
            secret_access_key: section.secret_access_key.as_ref().map(|given| given.value.clone()),
            session_token: section.session_token.as_ref().map(|given| given.value.clone()),
            profile: text(&section.profile),
            encryption,
        }),
    };
    Some(Store {
        place,
        request_timeout: section.request_timeout.as_ref()?.value,
        connect_timeout: section.connect_timeout.as_ref()?.value,
        retries_max: usize::try_from(section.retries_max.as_ref()?.value).expect("bounded by its key"),
        retry_timeout: section.retry_timeout.as_ref()?.value,
        put_concurrency: usize::try_from(section.put_concurrency.as_ref()?.value).expect("bounded by its key"),
        ca: ca?,
        allow_http: section.allow_http.as_ref()?.value,
    })
}

/// Takes `store.url` apart. It is not quoted: people paste signatures into URLs.
fn target(url: &Given<Text>, reader: &mut Reader<'_>) -> Option<Target> {
    let refuse = |reader: &mut Reader<'_>, problem: &str, mend: &str| {
        reader.notes.error(&url.place, problem, mend);
        None
    };
    let Some((scheme, rest)) = url.value.value.split_once("://") else {
        return refuse(reader, "is not a URL", EXAMPLES);
    };
    if rest.contains(['?', '#', '@']) || rest.contains(|letter: char| letter.is_control()) {
        return refuse(reader, "holds more than a place", "keep credentials and options out of it; they have own keys");
    }
    let scheme = match scheme {
        "file" => {
            return match file(rest) {
                Ok(path) => Some(Target::File { root: resolve(reader.directory, &path) }),
                Err((problem, mend)) => refuse(reader, problem, mend),
            };
        }
        "s3" | "s3a" => "s3",
        "gs" | "gcs" => "gs",
        "az" | "azure" => "az",
        "http" | "https" => {
            return refuse(
                reader,
                "is an address, not a bucket",
                "write s3://bucket/prefix and the address as endpoint",
            );
        }
        _ => return refuse(reader, "is of an unknown kind", EXAMPLES),
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-=".contains(letter);
    if bucket.is_empty() || !bucket.chars().all(plain) {
        return refuse(reader, "names no bucket", EXAMPLES);
    }
    let usable = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(plain);
    if !prefix.is_empty() && !prefix.split('/').all(usable) {
        let mend = "use letters, digits and . _ - = between single slashes";
        return refuse(reader, "has a prefix that stores treat differently", mend);
    }
    Some(Target::Bucket { scheme, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

/// The path of a `file://` URL, its percent-encoding undone (RFC 8089).
fn file(rest: &str) -> Result<String, (&'static str, &'static str)> {
    let path = percent_decode_str(rest).decode_utf8().map_err(|_| ("is not UTF-8", EXAMPLES))?;
    if !path.starts_with(['/', '.']) {
        return Err(("names a host", "write file:///directory, or file://./directory for one beside this file"));
    }
    if path.trim_start_matches('.').trim_matches('/').is_empty() && !path.starts_with('.') {
        return Err(("names no directory", "write file:///directory, or file://./directory for one beside this file"));
    }
    Ok(path.into_owned())
}

/// The endpoint: `Some(None)` when there is none, `None` when it was refused.
fn endpoint(section: &raw::Store, reader: &mut Reader<'_>) -> Option<Option<String>> {
    let Some(endpoint) = &section.endpoint else { return Some(None) };
    let mut refuse = |problem: &str, mend: &str| {
        reader.notes.error(&endpoint.place, problem, mend);
        None
    };
    let Ok(url) = Url::parse(&endpoint.value.value) else {
        return refuse("is not a URL", "write it as https://host:port");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return refuse("is neither http:// nor https:// with a host", "write it as https://host:port");
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return refuse("holds more than an address", "keep credentials and options out of it; they have own keys");
    }
    if url.scheme() == "http" && section.allow_http.as_ref().is_some_and(|allow| !allow.value) {
        return refuse(
            "would send everything in clear text, credentials too",
            "use https://, or set allow_http = true",
        );
    }
    Some(Some(endpoint.value.value.trim_end_matches('/').to_owned()))
}

fn encryption(section: &raw::Store, reader: &mut Reader<'_>) -> S3Encryption {
    let asked = section.encryption.as_ref().map(|given| given.value);
    let key = super::text_of(section.kms_key.as_ref());
    let bucket_key = section.bucket_key.as_ref();
    if asked != Some(Encryption::Kms) {
        let kms_only = [section.kms_key.as_ref().map(|given| &given.place), bucket_key.map(|given| &given.place)];
        for place in kms_only.into_iter().flatten().filter(|place| place.written) {
            reader.notes.error(place, "is only for SSE-KMS", "add encryption = \"aws:kms\", or remove it");
        }
    }
    match asked {
        None => S3Encryption::Default,
        Some(Encryption::S3) => S3Encryption::S3,
        Some(Encryption::Kms) => S3Encryption::Kms { key, bucket_key: bucket_key.is_some_and(|given| given.value) },
    }
}

/// Credentials that need or exclude one another.
fn credentials(section: &raw::Store, reader: &mut Reader<'_>) {
    let place = |given: &Option<Given<crate::config::checked::Secret>>| given.as_ref().map(|given| given.place.clone());
    let (id, secret, token) =
        (place(&section.access_key_id), place(&section.secret_access_key), place(&section.session_token));
    let mut error = |place: &Place, problem: &str, mend: &str| reader.notes.error(place, problem, mend);
    match (&id, &secret) {
        (Some(id), None) => error(id, "has no secret beside it", "add secret_access_key"),
        (None, Some(secret)) => error(secret, "has no id beside it", "add access_key_id"),
        (None, None) => {
            if let Some(token) = &token {
                error(token, "belongs to credentials that are not there", "add access_key_id and secret_access_key");
            }
        }
        (Some(_), Some(_)) => {
            if let Some(profile) = &section.profile {
                error(&profile.place, "stands beside access_key_id", "keep one of the two");
            }
        }
    }
    if let (Some(_), Some(token)) = (&section.access_key, &section.sas_token) {
        error(&token.place, "stands beside access_key", "keep one of the two");
    }
}

/// Notes keys that only another kind of store takes.
fn strangers(section: &raw::Store, scheme: &str, reader: &mut Reader<'_>) {
    let keys = raw::Store::KIND.keys();
    for (key, (_, place)) in keys.iter().zip(section.places()).filter(|(_, (_, place))| place.written) {
        if !key.only.is_empty() && !key.only.contains(&scheme) {
            let kinds = key.only.iter().map(|kind| format!("{kind}://")).collect::<Vec<_>>().join(", ");
            let problem = format!("is only for {kinds}, and url is {scheme}://");
            reader.notes.error(&place, problem, "remove it, or correct url");
        }
    }
}
