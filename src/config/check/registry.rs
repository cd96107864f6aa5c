//! `[registry]`: where schemas are known by their ids.

use url::Url;

use crate::config::checked::{Framing, Registry};
use crate::config::raw;
use crate::config::read::Reader;

/// `Some(None)`: there is none, and none is needed.
pub(super) fn check(section: &raw::Registry, root: &raw::Root, reader: &mut Reader<'_>) -> Option<Option<Registry>> {
    let Some(given) = &section.urls else {
        let mut is_needed = false;
        for place in framings(root) {
            let mend = "add a section [registry] with urls = [\"https://registry.example.org:8081\"]";
            reader.notes.error(&place, "needs a schema registry", mend);
            is_needed = true;
        }
        return (!is_needed).then_some(None);
    };
    if given.value.is_empty() {
        reader.notes.error(&given.place, "is empty", "name a registry, or remove the line");
        return None;
    }
    let mut urls = Vec::new();
    for url in &given.value {
        let parsed = Url::parse(&url.value.value).ok();
        let usable = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(parsed) = usable else {
            let mend = "write http:// or https://, the host and the port";
            reader.notes.error(&url.place, format!("{} is no address of a registry", url.value), mend);
            continue;
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            reader.notes.error(&url.place, "holds a user or a password", "write them as username and password");
            continue;
        }
        if parsed.scheme() == "http" && (section.password.is_some() || section.token.is_some()) {
            let problem = "is http://, where the password or the token travels in clear text";
            reader.notes.warning(&url.place, problem, "write https://");
        }
        urls.push(url.value.value.clone());
    }
    let mut fits = urls.len() == given.value.len();
    if let (Some(token), Some(_)) = (&section.token, &section.username) {
        reader.notes.error(&token.place, "stands beside username", "keep one of the two");
        fits = false;
    }
    if let (Some(password), None) = (&section.password, &section.username) {
        reader.notes.error(&password.place, "stands without username", "add username, or remove it");
        fits = false;
    }
    fits.then_some(())?;
    Some(Some(Registry {
        urls,
        username: section.username.as_ref().map(|given| given.value.value.clone()),
        password: section.password.as_ref().map(|given| given.value.clone()),
        token: section.token.as_ref().map(|given| given.value.clone()),
        ca: section.ca.as_ref().map(|given| given.value.path.clone()),
        request_timeout: section.request_timeout.as_ref()?.value,
        unknown_for: section.unknown_for.as_ref()?.value,
        unusable_after: section.unusable_after.as_ref()?.value,
        schemas_max: usize::try_from(section.schemas_max.as_ref()?.value).unwrap_or(usize::MAX),
        answer_bytes_max: usize::try_from(section.answer_max.as_ref()?.value.0).unwrap_or(usize::MAX),
    }))
}

/// Where it is said that bodies name their schemas by ids.
fn framings(root: &raw::Root) -> Vec<crate::config::finding::Place> {
    let pipelines = root.pipeline.iter().flat_map(|given| &given.value);
    let all = pipelines.flat_map(|pipeline| {
        let of_types = pipeline.value.event.iter().flat_map(|given| &given.value).map(|event| &event.value.framing);
        std::iter::once(&pipeline.value.framing).chain(of_types)
    });
    all.flatten().filter(|given| given.value == Framing::Confluent).map(|given| given.place.clone()).collect()
}
