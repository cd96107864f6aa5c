//! What viewers do not see of a dead letter: fields of its body, headers and properties that are not for everybody.

use std::borrow::Cow;

use super::filter::{Filter, ValueIs};
use crate::config::Masked;
use crate::mask::{MASKED, Mask};
use crate::rejection::Code;
use crate::value::{Pointer, push_segment};

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
        let base64 = Pointer::parse("/data_base64").expect("it begins with a slash");
        self.body = self.body.map(|mask| match mask.is_empty() {
            true => mask,
            false => mask.clone().below_member("data").and(mask).and(Mask::of_pointers([base64.segments()])),
        });
        let id = Pointer::parse("/id").expect("it begins with a slash");
        self.event_ids.iter_mut().for_each(|place| *place = place.take().or_else(|| Some(id.clone())));
        self
    }

    /// Of letters whose pipeline is not in the configuration: nobody knows what their schema marks.
    pub fn of_unknown(masked: &Masked) -> Self {
        let (headers, properties) = (masked.headers.clone(), masked.properties.clone());
        Self { body: None, headers, properties, event_ids: Vec::new(), personal: false }
    }

    /// The same, of letters that may be such for their personal data: nothing is searched for in their bodies.
    pub fn of_personal(self, personal: bool) -> Self {
        Self { personal, ..self }
    }

    /// What is hidden of the body of a letter with these issues, each with its code and path: where personal data was found,
    /// too. `None`: all, which it also is if more was found than is `kept`.
    pub fn body_with<'i>(&self, issues: impl IntoIterator<Item = (&'i str, &'i str)>, kept: bool) -> Option<Mask> {
        let found = issues.into_iter().filter(|(code, _)| *code == Code::MonitorPersonalData.as_str());
        let pointers: Vec<Vec<String>> = found.map(|(_, path)| any_of(path)).collect();
        if !kept && !pointers.is_empty() {
            return None;
        }
        Some(self.body.clone()?.and(Mask::of_pointers(pointers.iter().map(Vec::as_slice))))
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

    /// The event's id, or what stands for it.
    pub fn event_id<'a>(&self, id: Option<&'a str>) -> Option<&'a str> {
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
        if filter.event_id.is_some() && self.event_id(Some("")) == Some(MASKED) {
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

    #[test]
    fn where_personal_data_was_found_is_hidden_of_that_letter_and_nothing_is_searched_for() {
        let veil = Veil::new(&masked(), [(Mask::default(), None)]).of_personal(true);
        let covers = |issues: &[(&str, &str)], path: &[&str]| {
            veil.body_with(issues.iter().copied(), true).expect("some is shown").covers(path).is_some()
        };
        let found = [("monitor.personal_data", "/items/[*]/card"), ("validate.type", "/note")];
        assert!(covers(&found, &["items", "3", "card"]) && covers(&found, &["pan"]));
        assert!(!covers(&found, &["note"]) && !covers(&found[1..], &["items", "3", "card"]));
        assert!(covers(&[("monitor.personal_data", "")], &["anything"]), "a name of the event itself");
        assert!(veil.body_with(found, false).is_none(), "more was found than is known where");
        assert!(veil.body_with([found[1]], false).is_some());
        let asked = Filter { text: Some("4111".to_owned()), ..Filter::default() };
        assert!(veil.hides_from(&asked).is_some());
        let value = ValueIs { path: "/note".to_owned(), value: "4111".to_owned() };
        assert!(veil.hides_from(&Filter { values: vec![value], ..Filter::default() }).is_some());
    }

    #[test]
    fn nothing_is_shown_of_bodies_that_nobody_knows() {
        let veil = Veil::of_unknown(&masked());
        assert!(veil.body_with([], true).is_none() && veil.hides_header("authorization"));
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
}
