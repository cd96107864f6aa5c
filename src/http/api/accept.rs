//! Content negotiation (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

/// The offer that the sender likes best; the first of those equal. Without `Accept`, the first. An operation without
/// offers answers without a body, which anybody accepts.
pub(super) fn choose<'o>(headers: &HeaderMap, offers: &'o [String]) -> Option<&'o str> {
    let written: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> = written.iter().flat_map(|value| value.split(',')).filter_map(Range::parse).collect();
    let Some(first) = offers.first() else { return Some("") };
    if !headers.contains_key(header::ACCEPT) {
        return Some(first);
    }
    let mut best: Option<(f32, &str)> = None;
    for offer in offers {
        let quality = quality(&ranges, offer);
        if quality > best.map_or(0.0, |(quality, _)| quality) {
            best = Some((quality, offer));
        }
    }
    best.map(|(_, offer)| offer)
}

/// What the most specific range that covers `offer` gives it.
fn quality(ranges: &[Range<'_>], offer: &str) -> f32 {
    let covering = ranges.iter().filter_map(|range| Some((range.covers(offer)?, range.quality)));
    covering.max_by(|one, other| one.0.cmp(&other.0)).map_or(0.0, |(_, quality)| quality)
}

struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let quality = quality.map_or(Some(1.0), |quality| quality.parse().ok())?;
        Some(Self { kind, subtype, quality })
    }

    /// How specifically, if it does.
    fn covers(&self, offer: &str) -> Option<u8> {
        let (kind, subtype) = offer.split_once('/')?;
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (own, "*") if own.eq_ignore_ascii_case(kind) => Some(1),
            (own, sub) if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => Some(2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn chosen(accept: Option<&'static str>) -> Option<String> {
        let offers = ["application/json".to_owned(), "application/x-ndjson".to_owned()];
        let headers = accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept)));
        choose(&HeaderMap::from_iter(headers), &offers).map(str::to_owned)
    }

    #[test]
    fn the_form_that_is_liked_best_is_given() {
        let (json, lines) = (Some("application/json".to_owned()), Some("application/x-ndjson".to_owned()));
        for accept in [None, Some("*/*"), Some("application/*"), Some("text/html, */*;q=0.1"), Some("Application/JSON")]
        {
            assert_eq!(chosen(accept), json, "{accept:?}");
        }
        for accept in
            ["application/x-ndjson", "application/json;q=0.5, application/x-ndjson", "application/json;q=0, */*"]
        {
            assert_eq!(chosen(Some(accept)), lines, "{accept}");
        }
        for accept in ["text/html", "application/json;q=0", "", "nonsense"] {
            assert_eq!(chosen(Some(accept)), None, "{accept}");
        }
    }
}
