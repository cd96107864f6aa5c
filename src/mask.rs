//! Which fields of an event are not for everybody, and the event without them. Pure; made of pointers and of schemas.
//!
//! A mask follows the event from its root: each step into a member or an element leads from the places where it is to
//! those below, so that a schema that refers to itself is followed as deep as an event goes.

use std::collections::{BTreeSet, HashMap};

use crate::value::{Node, Value, write_json_string};

/// What stands in place of a masked value.
pub const MASKED: &str = "[masked]";

/// Any name, or any element, in a pointer.
const ANY: &str = "*";

/// Any of them also in the normalised path of an issue: elements, and names that a schema does not declare.
const WILDCARDS: [&str; 3] = [ANY, "[*]", "{*}"];

/// A place in events: whether it is masked, and what lies below it.
#[derive(Clone, Debug, Default)]
pub struct Spot {
    pub masked: bool,
    /// Whether it is if it is a text.
    pub masked_text: bool,
    /// By name, or by an element's index.
    pub members: HashMap<String, Vec<usize>>,
    /// Of names that are not in `members`.
    pub other_members: Vec<usize>,
    /// Of all names.
    pub any_member: Vec<usize>,
    /// Of all elements.
    pub elements: Vec<usize>,
}

/// Fields to be masked. The default masks nothing.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// Every index in a spot is one of these.
    spots: Vec<Spot>,
    starts: Vec<usize>,
}

impl Mask {
    /// Masks every field at a pointer given by its unescaped segments, of which `*` is any name and any element.
    pub fn of_pointers<'a>(pointers: impl IntoIterator<Item = &'a [String]>) -> Self {
        let mut mask = Self::default();
        for segments in pointers {
            let mut at = mask.add(Spot::default());
            mask.starts.push(at);
            for segment in segments {
                let next = mask.add(Spot::default());
                let spot = &mut mask.spots[at];
                if segment == ANY {
                    spot.any_member.push(next);
                    spot.elements.push(next);
                } else {
                    spot.members.entry(segment.clone()).or_default().push(next);
                }
                at = next;
            }
            mask.spots[at].masked = true;
        }
        mask
    }

    /// The mask of these spots; the event as a whole is at all of `starts`.
    ///
    /// # Panics
    /// If a spot leads to one that is not there.
    pub fn of_spots(spots: Vec<Spot>, starts: Vec<usize>) -> Self {
        let leads = |spot: &Spot| {
            let lists = spot.members.values().chain([&spot.other_members, &spot.any_member, &spot.elements]);
            lists.flatten().all(|at| *at < spots.len())
        };
        let there = spots.iter().all(leads) && starts.iter().all(|at| *at < spots.len());
        assert!(there, "every place below a place is given, too");
        Self { spots, starts }
    }

    /// Masks what either of the two masks.
    pub fn and(mut self, other: Mask) -> Mask {
        let shift = self.spots.len();
        let shifted = |list: Vec<usize>| list.into_iter().map(|at| at + shift).collect::<Vec<_>>();
        self.spots.extend(other.spots.into_iter().map(|spot| Spot {
            masked: spot.masked,
            masked_text: spot.masked_text,
            members: spot.members.into_iter().map(|(name, list)| (name, shifted(list))).collect(),
            other_members: shifted(spot.other_members),
            any_member: shifted(spot.any_member),
            elements: shifted(spot.elements),
        }));
        self.starts.extend(other.starts.into_iter().map(|at| at + shift));
        self
    }

    /// The same below the member `name` of an event; a text there, which may hold anything, is masked if anything is.
    pub fn below_member(mut self, name: &str) -> Mask {
        if self.is_empty() {
            return Mask::default();
        }
        let text = self.add(Spot { masked_text: true, ..Spot::default() });
        let within = self.starts.iter().copied().chain([text]).collect();
        let start = self.add(Spot { members: HashMap::from([(name.to_owned(), within)]), ..Spot::default() });
        self.starts = vec![start];
        self
    }

    /// Whether it can mask anything at all.
    pub fn is_empty(&self) -> bool {
        !self.spots.iter().any(|spot| spot.masked)
    }

    /// `event` as JSON text, masked values replaced by [`MASKED`], all else as it came.
    pub fn to_json(&self, event: Value<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(event.tape().source.len());
        self.write(event, &self.starts, &mut out);
        out
    }

    /// How many of `segments` (of the path to a value, `[*]` for any element) lead to the first masked place on the way;
    /// `None` when none is. What lies deeper than that place is not to be shown either.
    pub fn covers<S: AsRef<str>>(&self, segments: &[S]) -> Option<usize> {
        let mut here = self.starts.clone();
        for depth in 0..=segments.len() {
            if self.is_masked(&here) {
                return Some(depth);
            }
            here = self.below(&here, segments.get(depth)?.as_ref());
        }
        None
    }

    /// Whether the value at `segments` is masked, or holds something that can be.
    pub fn touches<S: AsRef<str>>(&self, segments: &[S]) -> bool {
        let mut here = self.starts.clone();
        for segment in segments {
            if self.is_masked(&here) {
                return true;
            }
            here = self.below(&here, segment.as_ref());
        }
        let (mut seen, mut todo) = (BTreeSet::new(), here);
        while let Some(at) = todo.pop() {
            let spot = &self.spots[at];
            if spot.masked {
                return true;
            }
            if seen.insert(at) {
                let lists = spot.members.values().chain([&spot.other_members, &spot.any_member, &spot.elements]);
                todo.extend(lists.flatten());
            }
        }
        false
    }

    fn add(&mut self, spot: Spot) -> usize {
        self.spots.push(spot);
        self.spots.len() - 1
    }

    fn is_masked(&self, here: &[usize]) -> bool {
        here.iter().any(|at| self.spots[*at].masked)
    }

    /// The places below `here` that a path's segment may lead to: it does not tell names from indices.
    fn below(&self, here: &[usize], segment: &str) -> Vec<usize> {
        let mut below = BTreeSet::new();
        for at in here {
            let spot = &self.spots[*at];
            below.extend(&spot.any_member);
            below.extend(&spot.elements);
            match spot.members.get(segment) {
                Some(members) => below.extend(members),
                None => below.extend(&spot.other_members),
            }
            if WILDCARDS.contains(&segment) {
                below.extend(spot.members.values().flatten());
                below.extend(&spot.other_members);
            }
        }
        below.into_iter().collect()
    }

    fn write(&self, value: Value<'_>, here: &[usize], out: &mut Vec<u8>) {
        if here.is_empty() {
            value.write_json(out);
            return;
        }
        if self.is_masked(here) {
            write_json_string(MASKED, out);
            return;
        }
        match value.node() {
            Node::Object { .. } => {
                out.push(b'{');
                for (position, (name, member)) in value.members().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    write_json_string(name, out);
                    out.push(b':');
                    self.write(member, &self.member(here, name), out);
                }
                out.push(b'}');
            }
            Node::Array { .. } => {
                out.push(b'[');
                for (position, element) in value.elements().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    self.write(element, &self.element(here, position), out);
                }
                out.push(b']');
            }
            Node::Str(_) if here.iter().any(|at| self.spots[*at].masked_text) => write_json_string(MASKED, out),
            _ => value.write_json(out),
        }
    }

    fn member(&self, here: &[usize], name: &str) -> Vec<usize> {
        let mut below = BTreeSet::new();
        for at in here {
            let spot = &self.spots[*at];
            below.extend(spot.members.get(name).unwrap_or(&spot.other_members));
            below.extend(&spot.any_member);
        }
        below.into_iter().collect()
    }

    fn element(&self, here: &[usize], position: usize) -> Vec<usize> {
        let mut below = BTreeSet::new();
        for at in here {
            let spot = &self.spots[*at];
            below.extend(&spot.elements);
            if !spot.members.is_empty() {
                below.extend(spot.members.get(&position.to_string()).into_iter().flatten());
            }
        }
        below.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{JsonDecoder, Limits};
    use crate::value::Pointer;

    fn mask(pointers: &[&str]) -> Mask {
        let pointers: Vec<_> = pointers.iter().map(|pointer| Pointer::parse(pointer).expect("a pointer")).collect();
        Mask::of_pointers(pointers.iter().map(Pointer::segments))
    }

    fn masked(mask: &Mask, event: &str) -> String {
        let limits = Limits { body_bytes_max: 1 << 20, depth_max: 64 };
        let json = JsonDecoder::new(limits).decode(event.as_bytes(), |tape| mask.to_json(tape.root()));
        String::from_utf8(json.expect("JSON")).expect("text")
    }

    #[test]
    fn what_is_masked_goes_and_all_else_stays_as_it_came() {
        let mask = mask(&["/pan", "/cards/*/pan", "/by_id/*", "/list/1", "/a~1b"]);
        let event = r#"{"pan":4111,"n":1.50e3,"cards":[{"pan":"x","exp":"1/2"},{"pan":{"deep":[1]}}],"by_id":{"7":1,"8":[2]},"list":[1,2,3],"a/b":null,"x":"\u0001"}"#;
        let expected = r#"{"pan":"[masked]","n":1.50e3,"cards":[{"pan":"[masked]","exp":"1/2"},{"pan":"[masked]"}],"by_id":{"7":"[masked]","8":"[masked]"},"list":[1,"[masked]",3],"a/b":"[masked]","x":"\u0001"}"#;
        assert_eq!(masked(&mask, event), expected);
        assert_eq!(masked(&Mask::default(), event), event);
        assert!(Mask::default().is_empty() && !mask.is_empty());
    }

    #[test]
    fn a_mask_of_everything_leaves_nothing() {
        assert_eq!(masked(&mask(&[""]), r#"{"a":1}"#), r#""[masked]""#);
        assert_eq!(
            masked(&mask(&["/a"]).and(mask(&["/b"])), r#"{"a":1,"b":2,"c":3}"#),
            r#"{"a":"[masked]","b":"[masked]","c":3}"#
        );
    }

    #[test]
    fn a_place_that_refers_to_itself_is_followed_as_deep_as_the_event_goes() {
        // {pan: masked, children: [itself]}
        let root = Spot {
            members: HashMap::from([("pan".to_owned(), vec![1]), ("children".to_owned(), vec![2])]),
            ..Spot::default()
        };
        let secret = Spot { masked: true, ..Spot::default() };
        let children = Spot { elements: vec![0], ..Spot::default() };
        let mask = Mask::of_spots(vec![root, secret, children], vec![0]);
        let event = r#"{"pan":1,"children":[{"pan":2,"children":[{"pan":3,"n":4}]}]}"#;
        let expected = r#"{"pan":"[masked]","children":[{"pan":"[masked]","children":[{"pan":"[masked]","n":4}]}]}"#;
        assert_eq!(masked(&mask, event), expected);
        assert_eq!(mask.covers(&["children", "[*]", "children", "0", "pan"]), Some(5));
        assert!(mask.touches(&["children"]) && !mask.touches(&["n"]));
    }

    #[test]
    fn paths_are_cut_where_the_masked_begins() {
        let mask = mask(&["/by_id/*", "/cards/*/pan"]);
        assert_eq!(mask.covers(&["by_id", "4111", "x"]), Some(2));
        assert_eq!(mask.covers(&["cards", "[*]", "pan"]), Some(3));
        assert_eq!(mask.covers(&["cards", "3"]), None);
        assert_eq!(mask.covers::<&str>(&[]), None);
        assert!(mask.touches(&["cards"]) && mask.touches::<&str>(&[]) && !mask.touches(&["other"]));
    }

    #[test]
    fn other_names_are_those_not_declared() {
        let root =
            Spot { members: HashMap::from([("known".to_owned(), vec![])]), other_members: vec![1], ..Spot::default() };
        let mask = Mask::of_spots(vec![root, Spot { masked: true, ..Spot::default() }], vec![0]);
        assert_eq!(masked(&mask, r#"{"known":1,"free":2}"#), r#"{"known":1,"free":"[masked]"}"#);
    }

    #[test]
    fn what_is_wrapped_is_masked_within_and_as_a_text_whole() {
        let mask = mask(&["/pan", "/cards/*/pan"]).below_member("data");
        for (event, expected) in [
            (r#"{"pan":1,"data":{"pan":2,"n":3}}"#, r#"{"pan":1,"data":{"pan":"[masked]","n":3}}"#),
            (r#"{"data":{"cards":[{"pan":2}],"note":"x"}}"#, r#"{"data":{"cards":[{"pan":"[masked]"}],"note":"x"}}"#),
            (r#"{"data":"{\"pan\":2}"}"#, r#"{"data":"[masked]"}"#),
            (r#"{"data":[1]}"#, r#"{"data":[1]}"#),
        ] {
            assert_eq!(masked(&mask, event), expected);
        }
        assert!(mask.touches(&["data"]) && mask.covers(&["data", "pan"]) == Some(2) && !mask.touches(&["pan"]));
        assert!(Mask::default().below_member("data").is_empty());
    }
}
