//! Personal data in the texts of an event, where it is not expected.

use crate::config;
use crate::mask::Mask;
use crate::monitor::NamePath;
use crate::personal::{Kind, Kinds, found_in};
use crate::value::{Node, Value, push_segment};

#[derive(Debug)]
pub(super) struct Search {
    /// Events with any are dead letters.
    pub dead_letter: bool,
    kinds: Kinds,
    /// Where it may be.
    expected: Mask,
}

impl Search {
    pub(super) fn new(config: &config::Personal, expected: Mask) -> Self {
        Self { dead_letter: config.dead_letter, kinds: config.kinds, expected }
    }

    /// The kind and the schema's path of each text that holds personal data. A name of a member is a text, too: its place is
    /// the object's, for the path is to hold nothing of it.
    pub(super) fn find(&self, event: Value<'_>, name: NamePath<'_>) -> Vec<(Kind, String)> {
        let mut all = Vec::new();
        // Not the whole tape: that of a CloudEvent begins with its envelope.
        for at in event.index() as usize..event.end() as usize {
            let Node::Str(text) = &event.tape().nodes[at] else { continue };
            let found = found_in(text, self.kinds);
            if found.is_empty() {
                continue;
            }
            let segments = segments(event, at);
            if self.expected.covers(&segments).is_some() {
                continue;
            }
            let mut pointer = String::new();
            segments.iter().for_each(|segment| push_segment(&mut pointer, segment));
            let path = name(&pointer);
            all.extend(found.iter().map(|kind| (kind, path.clone())));
        }
        all
    }
}

/// The way from the event to the value at the node `at`; to the object, if it is the name of a member.
fn segments(event: Value<'_>, at: usize) -> Vec<String> {
    let mut segments = Vec::new();
    let mut here = event;
    loop {
        let holds = |value: &Value<'_>| (value.index() as usize..value.end() as usize).contains(&at);
        let below = match here.node() {
            Node::Object { .. } => {
                let member = here.members().find(|(_, value)| holds(value));
                member.map(|(name, value)| (name.to_owned(), value))
            }
            Node::Array { .. } => {
                let element = here.elements().enumerate().find(|(_, value)| holds(value));
                element.map(|(place, value)| (place.to_string(), value))
            }
            _ => None,
        };
        let Some((segment, value)) = below else { return segments };
        segments.push(segment);
        here = value;
    }
}
