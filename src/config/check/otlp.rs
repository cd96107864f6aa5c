//! `[otlp]`: where spans are sent to.

use url::Url;

use crate::config::checked::Otlp;
use crate::config::raw;
use crate::config::read::Reader;

/// `Some(None)`: nobody traces.
pub(super) fn check(section: &raw::Otlp, reader: &mut Reader<'_>) -> Option<Option<Otlp>> {
    let Some(given) = &section.endpoint else {
        if let Some(authorization) = &section.authorization {
            let mend = "add endpoint = \"http://collector:4318\", or remove it";
            reader.notes.error(&authorization.place, "stands without endpoint", mend);
            return None;
        }
        return Some(None);
    };
    let parsed = Url::parse(&given.value.value).ok();
    let usable = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = usable else {
        let mend = "write http:// or https://, the host and the port, such as \"http://collector:4318\"";
        reader.notes.error(&given.place, format!("{} is no address of a collector", given.value), mend);
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        reader.notes.error(&given.place, "holds a user or a password", "write them as authorization");
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        reader.notes.error(&given.place, "holds more than an address and a path", "remove what follows ? or #");
        return None;
    }
    if url.scheme() == "http" && section.authorization.is_some() {
        let problem = "is http://, where authorization travels in clear text";
        reader.notes.warning(&given.place, problem, "write https://");
    }
    let endpoint = given.value.value.trim_end_matches('/');
    Some(Some(Otlp {
        // What people copy from guides has it.
        endpoint: endpoint.strip_suffix("/v1/traces").unwrap_or(endpoint).to_owned(),
        authorization: section.authorization.as_ref().map(|given| given.value.clone()),
        ca: section.ca.as_ref().map(|given| given.value.path.clone()),
        interval: section.interval.as_ref()?.value,
        timeout: section.timeout.as_ref()?.value,
        queue_max: usize::try_from(section.queue_max.as_ref()?.value).unwrap_or(usize::MAX),
        links_max: usize::try_from(section.links_max.as_ref()?.value).unwrap_or(usize::MAX),
    }))
}
