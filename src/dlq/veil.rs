//! What viewers do not see of a dead letter: fields of its body, headers and properties that are not for everybody.

use std::borrow::Cow;

use super::filter::{Filter, ValueIs};
use super::record::DeadLetter;
use crate::config::Masked;
use crate::mask::{MASKED, Mask};
use crate::rejection::Code;
use crate::value::{Pointer, push_segment};

/// The members of a CloudEvent in which its data are: as JSON or text, and as base64.
const DATA: &str = "data";
const BASE64: &str = "data_base64";

/// Hides what is not for viewers.
#[derive(Clone, Debug)]
pub struct Veil {
    /// `None`: it is not known what bodies hold, so nothing of them is shown.
    body: Option<Mask>,
    headers: Vec<String>,
    properties: Vec<String>,
    /// Where events of each type have their id; `None`: in a property.
    event_ids: Vec<Option<Pointer>>,
    /// Bodies of letters hold personal data where no schema says so.
    personal: bool,
    /// The letters are CloudEvents: a place in an event is below `data` of a body that is an envelope, or within its base64.
    enveloped: bool,
}

impl Veil {
    /// Of letters whose pipeline has types of events with schemas that mark those fields, and their ids there. What one
    /// type hides is hidden of all, for a letter may be of none.
    pub fn new(masked: &Masked, types: impl IntoIterator<Item = (Mask, Option<Pointer>)>) -> Self {
        let (mut body, mut event_ids) = (Mask::of_pointers(masked.pointers.iter().map(Pointer::segments)), Vec::new());
        for (sensitive, event_id) in types {
            body = body.and(sensitive);
            event_ids.push(event_id);
        }
        Self { body: Some(body), event_ids, ..Self::of_unknown(masked) }
    }

    /// The same of letters that are CloudEvents: what is hidden of an event is hidden of its data, too, and base64 of data in
    /// which something is to be hidden is hidden whole.
    pub fn of_cloud_events(mut self) -> Self {
        self.enveloped = true;
        self.body = self.body.map(|mask| match mask.is_empty() {
            true => mask,
            false => mask.clone().below_member(DATA).and(mask).and(Mask::of_pointers([[BASE64.to_owned()].as_slice()])),
        });
        let id = Pointer::parse("/id").expect("it begins with a slash");
        self.event_ids.iter_mut().for_each(|place| *place = place.take().or_else(|| Some(id.clone())));
        self
    }

    /// Of letters whose pipeline is not in the configuration: nobody knows what their schema marks.
    pub fn of_unknown(masked: &Masked) -> Self {
        let (headers, properties) = (masked.headers.clone(), masked.properties.clone());
        Self { body: None, headers, properties, event_ids: Vec::new(), personal: false, enveloped: false }
    }

    /// The same, of letters that may be such for their personal data: nothing is searched for in their bodies.
    pub fn of_personal(self, personal: bool) -> Self {
        Self { personal, ..self }
    }

    /// What is hidden of the body of this letter: where personal data was found, too. `None`: all, which it also is if more
    /// was found than is known where.
    pub fn body_of(&self, letter: &DeadLetter) -> Option<Mask> {
        let found = Found::of(letter);
        if found.elsewhere {
            return None;
        }
        let body = self.body.clone()?;
        Some(found.places.iter().fold(body, |mask, place| mask.and(self.mask_of(place))))
    }

    /// The id of this letter's event, or what stands for it.
    pub fn event_id_of<'a>(&self, letter: &'a DeadLetter) -> Option<&'a str> {
        let id = letter.event_id.as_deref();
        let found = Found::of(letter);
        let is_found = |place: &Option<Pointer>| {
            let Some(id) = place else { return false };
            let holds = |place: &Vec<String>| Mask::of_pointers([self.within(place)]).touches(id.segments());
            found.elsewhere || found.places.iter().any(holds)
        };
        match self.event_ids.iter().any(is_found) {
            true => id.map(|_| MASKED),
            false => self.event_id(id),
        }
    }

    /// What hides the place of an issue in the body it is of.
    fn mask_of(&self, place: &[String]) -> Mask {
        match place.first().map(String::as_str) {
            Some(DATA) if self.enveloped => Mask::of_pointers([&place[1..]]).below_member(DATA),
            Some(BASE64) if self.enveloped => Mask::of_pointers([&place[..1]]),
            _ => Mask::of_pointers([place]),
        }
    }

    /// The place of an issue within its event, which may be in an envelope.
    fn within<'p>(&self, place: &'p [String]) -> &'p [String] {
        match place {
            [envelope, within @ ..] if self.enveloped && [DATA, BASE64].contains(&envelope.as_str()) => within,
            _ => place,
        }
    }

    /// AMQP tells names apart by case; what hides one hides all that look alike.
    pub fn hides_header(&self, name: &str) -> bool {
        self.headers.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
    }

    pub fn hides_property(&self, name: &str) -> bool {
        self.properties.iter().any(|hidden| hidden == name)
    }

    /// The value of the property `name`, or what stands for it.
    pub fn property<'a>(&self, name: &str, value: Option<&'a str>) -> Option<&'a str> {
        value.map(|value| if self.hides_property(name) { MASKED } else { value })
    }

    /// An event's id, or what stands for it.
    fn event_id<'a>(&self, id: Option<&'a str>) -> Option<&'a str> {
        let hidden = self.body.as_ref().is_none_or(|mask| {
            self.event_ids.iter().any(|place| match place {
                Some(pointer) => mask.touches(pointer.segments()),
                None => self.hides_property("message_id"),
            })
        });
        id.map(|id| if hidden { MASKED } else { id })
    }

    /// What `filter` asks about that is hidden, if it does.
    pub fn hides_from(&self, filter: &Filter) -> Option<&'static str> {
        let hides_value = |value: &ValueIs| match (&self.body, Pointer::parse(&value.path)) {
            (Some(mask), Ok(pointer)) => self.personal || mask.touches(pointer.segments()),
            _ => true,
        };
        let hides_any = || self.personal || self.body.as_ref().is_none_or(|mask| !mask.is_empty());
        if filter.headers.iter().any(|header| self.hides_header(&header.name)) {
            return Some("that header");
        }
        if filter.values.iter().any(hides_value) {
            return Some("that field");
        }
        if filter.text.is_some() && hides_any() {
            return Some("text in bodies");
        }
        let in_body = || self.event_ids.iter().any(Option::is_some);
        if filter.event_id.is_some() && (self.event_id(Some("")) == Some(MASKED) || self.personal && in_body()) {
            return Some("event id");
        }
        let property = [("app_id", &filter.producer), ("message_id", &filter.message_id)];
        property.into_iter().find(|(name, asked)| asked.is_some() && self.hides_property(name)).map(|(name, _)| name)
    }

    /// The path of an issue, which holds names of the event: cut where the hidden begins.
    pub fn path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let Ok(pointer) = Pointer::parse(path) else { return Cow::Borrowed(path) };
        let Some(mask) = &self.body else { return Cow::Borrowed(path) };
        match mask.covers(pointer.segments()) {
            Some(depth) if depth < pointer.segments().len() => {
                let mut cut = String::new();
                pointer.segments()[..depth].iter().for_each(|segment| push_segment(&mut cut, segment));
                Cow::Owned(cut)
            }
            _ => Cow::Borrowed(path),
        }
    }

    /// A sentence about the path of an issue, with the path as [`Veil::path`] cuts it.
    pub fn title(&self, title: &str, path: &str) -> String {
        match self.path(path) {
            Cow::Owned(cut) => title.replace(path, &cut),
            Cow::Borrowed(_) => title.to_owned(),
        }
    }
}

/// Where a letter holds personal data that no schema tells of.
struct Found {
    places: Vec<Vec<String>>,
    /// There is more, and nobody knows where: issues that were not kept, or those of a later attempt.
    elsewhere: bool,
}

impl Found {
    fn of(letter: &DeadLetter) -> Self {
        let code = Code::MonitorPersonalData.as_str();
        let issues = letter.issues.iter().filter(|issue| &*issue.code == code);
        let places: Vec<_> = issues.map(|issue| any_of(&issue.path)).collect();
        let is_known = !places.is_empty() && letter.issues_not_kept == 0;
        let elsewhere =
            !is_known && (!places.is_empty() || letter.attempts.iter().any(|attempt| &*attempt.code == code));
        Self { places, elsewhere }
    }
}

/// A normalised path as a pointer with `*` for any name and any element.
fn any_of(path: &str) -> Vec<String> {
    let any =
        |segment: &String| if matches!(segment.as_str(), "[*]" | "{*}") { "*".to_owned() } else { segment.clone() };
    // What is no pointer is of no field: all is hidden.
    Pointer::parse(path).map_or_else(|_| Vec::new(), |pointer| pointer.segments().iter().map(any).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{JsonDecoder, Limits};
    use crate::dlq::record::samples;
    use crate::rejection::{Issue, Rejection};

    fn masked() -> Masked {
        Masked {
            pointers: vec![Pointer::parse("/by_id/*").unwrap(), Pointer::parse("/pan").unwrap()],
            headers: vec!["Authorization".to_owned()],
            properties: vec!["user_id".to_owned()],
        }
    }

    #[test]
    fn names_within_what_is_hidden_are_cut_from_paths() {
        let veil = Veil::new(&masked(), [(Mask::default(), None)]);
        assert_eq!(veil.path("/by_id/4111~1/amount"), "/by_id/4111~1");
        assert_eq!(veil.path("/pan/number"), "/pan");
        assert_eq!(veil.path("/other/pan"), "/other/pan");
        assert_eq!(veil.path(""), "");
        assert_eq!(veil.title("field `/pan/number` is missing", "/pan/number"), "field `/pan` is missing");
    }

    #[test]
    fn headers_properties_and_ids_are_hidden_by_name_and_place() {
        let veil = Veil::new(&masked(), [(Mask::default(), Some(Pointer::parse("/pan").unwrap()))]);
        assert!(veil.hides_header("authorization") && !veil.hides_header("x-other"));
        assert_eq!(veil.property("user_id", Some("eve")), Some(MASKED));
        assert_eq!(veil.property("user_id", None), None);
        assert_eq!(veil.property("app_id", Some("tower")), Some("tower"));
        assert_eq!(veil.event_id(Some("4111")), Some(MASKED));
        assert_eq!(Veil::new(&masked(), [(Mask::default(), None)]).event_id(Some("1")), Some("1"));
    }

    /// A letter with an issue of each code and path.
    fn letter(issues: &[(Code, &str)]) -> DeadLetter {
        let issue = |(code, path): &(Code, &str)| Issue::at(*code, path, "this", "that");
        let rejection = Rejection::new(issues.iter().map(issue).collect());
        let letter = samples::letter("orders", 1, 1, b"{}", &rejection);
        DeadLetter { event_id: Some("7".to_owned()), ..letter }
    }

    #[test]
    fn where_personal_data_was_found_is_hidden_of_that_letter_and_nothing_is_searched_for() {
        let veil = Veil::new(&masked(), [(Mask::default(), Some(Pointer::parse("/id").unwrap()))]).of_personal(true);
        let covers = |issues: &[(Code, &str)], path: &[&str]| {
            veil.body_of(&letter(issues)).expect("some is shown").covers(path).is_some()
        };
        let found = [(Code::MonitorPersonalData, "/items/[*]/card"), (Code::ValidateType, "/note")];
        assert!(covers(&found, &["items", "3", "card"]) && covers(&found, &["pan"]));
        assert!(!covers(&found, &["note"]) && !covers(&found[1..], &["items", "3", "card"]));
        assert!(covers(&[(Code::MonitorPersonalData, "")], &["anything"]), "a name of the event itself");
        let more = |issues: &[(Code, &str)]| DeadLetter { issues_not_kept: 1, ..letter(issues) };
        assert!(veil.body_of(&more(&found)).is_none(), "more was found than is known where");
        assert!(veil.body_of(&more(&found[1..])).is_some());
        let mut later = letter(&found[1..]);
        later.attempts.push(later.attempts[0].clone());
        later.attempts[1].code = Code::MonitorPersonalData.as_str().into();
        assert!(veil.body_of(&later).is_none(), "a later attempt found it, and its issues are not with the letter");

        let id = |letter: &DeadLetter| veil.event_id_of(letter).map(str::to_owned);
        assert_eq!(id(&letter(&found)).as_deref(), Some("7"));
        assert_eq!(id(&letter(&[(Code::MonitorPersonalData, "/id")])).as_deref(), Some(MASKED));
        assert_eq!(id(&later).as_deref(), Some(MASKED));
        let asked = Filter { event_id: Some("4111".to_owned()), ..Filter::default() };
        assert!(veil.hides_from(&asked).is_some());
        let by_property = Veil::new(&masked(), [(Mask::default(), None)]).of_personal(true);
        assert!(by_property.hides_from(&asked).is_none() && by_property.event_id_of(&later) == Some("7"));
        let asked = Filter { text: Some("4111".to_owned()), ..Filter::default() };
        assert!(veil.hides_from(&asked).is_some());
        let value = ValueIs { path: "/note".to_owned(), value: "4111".to_owned() };
        assert!(veil.hides_from(&Filter { values: vec![value], ..Filter::default() }).is_some());
    }

    #[test]
    fn nothing_is_shown_of_bodies_that_nobody_knows() {
        let veil = Veil::of_unknown(&masked());
        assert!(veil.body_of(&letter(&[(Code::ValidateType, "/a")])).is_none() && veil.hides_header("authorization"));
        assert_eq!(veil.event_id(Some("4111")), Some(MASKED));
    }

    #[test]
    fn data_of_cloud_events_are_hidden_as_events_are() {
        let veil = Veil::new(&masked(), [(Mask::default(), None)]).of_cloud_events();
        assert_eq!(veil.path("/data/pan/number"), "/data/pan");
        assert_eq!(veil.path("/pan/number"), "/pan");
        assert_eq!(veil.path("/data_base64/n"), "/data_base64");
        assert_eq!(veil.event_id(Some("1")), Some("1"));
        let hidden = Masked { pointers: vec![Pointer::parse("/id").unwrap()], ..Masked::default() };
        assert_eq!(Veil::new(&hidden, [(Mask::default(), None)]).of_cloud_events().event_id(Some("1")), Some(MASKED));
        let bare = Veil::new(&Masked::default(), [(Mask::default(), None)]).of_cloud_events();
        assert_eq!(bare.path("/data_base64/n"), "/data_base64/n");
    }

    #[test]
    fn personal_data_in_a_cloud_event_is_hidden_in_whichever_form_its_data_are() {
        let veil = Veil::new(&Masked::default(), [(Mask::default(), Some(Pointer::parse("/id").unwrap()))]);
        let veil = veil.of_personal(true).of_cloud_events();
        let shown = |path: &str, body: &str| {
            let mask = veil.body_of(&letter(&[(Code::MonitorPersonalData, path)])).expect("some is shown");
            let limits = Limits { body_bytes_max: 1 << 20, depth_max: 64 };
            let json = JsonDecoder::new(limits).decode(body.as_bytes(), |tape| mask.to_json(tape.root()));
            String::from_utf8(json.expect("JSON")).expect("text")
        };
        assert_eq!(
            shown("/data/a/n", r#"{"data":{"a":{"n":1},"b":2},"n":3}"#),
            r#"{"data":{"a":{"n":"[masked]"},"b":2},"n":3}"#
        );
        assert_eq!(shown("/data/n", r#"{"data":"{\"n\":1}"}"#), r#"{"data":"[masked]"}"#);
        assert_eq!(shown("/data", r#"{"data":{"n":1}}"#), r#"{"data":"[masked]"}"#);
        assert_eq!(shown("/data_base64/n", r#"{"data_base64":"e30="}"#), r#"{"data_base64":"[masked]"}"#);
        assert_eq!(shown("/n", r#"{"n":1,"data":2}"#), r#"{"n":"[masked]","data":2}"#);
        let id = |path: &str| veil.event_id_of(&letter(&[(Code::MonitorPersonalData, path)])) == Some(MASKED);
        assert!(id("/id") && id("/data/id") && id("/data_base64/id") && !id("/data/n"));
    }
}
