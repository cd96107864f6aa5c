//! `[[dlq.rule]]`: what issues a rule is for, and the one thing it does.

use crate::config::checked::{DlqRule, RuleAction};
use crate::config::finding::Place;
use crate::config::nearest::nearest;
use crate::config::raw;
use crate::config::read::{Given, Reader};
use crate::config::text::Text;
use crate::rejection::Code;

/// Characters of a title.
const TITLE_MAX: usize = 200;

const RANK_MAX: i64 = 100;

/// A rule, and the one pipeline it is for, if it is for one only.
pub(super) struct Rule {
    pipeline: Option<String>,
    rule: DlqRule,
}

/// The rules that are for `pipeline`.
pub(super) fn of_pipeline(rules: &[Rule], pipeline: &str) -> Vec<DlqRule> {
    let own = rules.iter().filter(|rule| rule.pipeline.as_ref().is_none_or(|only| only == pipeline));
    own.map(|rule| rule.rule.clone()).collect()
}

/// All rules; `None` when one was refused.
pub(super) fn check(section: &raw::Dlq, root: &raw::Root, reader: &mut Reader<'_>) -> Option<Vec<Rule>> {
    let rules: Vec<_> =
        section.rule.iter().flat_map(|given| &given.value).map(|given| rule(given, root, reader)).collect();
    rules.into_iter().collect()
}

fn rule(given: &Given<raw::DlqRule>, root: &raw::Root, reader: &mut Reader<'_>) -> Option<Rule> {
    let raw::DlqRule { pipeline, code, path, .. } = &given.value;
    if [pipeline, code, path].iter().all(|key| key.is_none()) {
        let mend = "add pipeline, code or path, so that it is for some issues only";
        reader.notes.error(&given.place, "is for every issue there is", mend);
        return None;
    }
    let pipeline = if_given(pipeline, reader, |pipeline, reader| known_pipeline(pipeline, root, reader));
    let code = if_given(code, reader, known_code);
    let path = if_given(path, reader, segments);
    let action = action(given, reader);
    Some(Rule { pipeline: pipeline?, rule: DlqRule { code: code?, path: path?, action: action? } })
}

/// `Some(None)` when it is not written, `None` when it was refused.
fn if_given<T>(
    given: &Option<Given<Text>>,
    reader: &mut Reader<'_>,
    check: impl FnOnce(&Given<Text>, &mut Reader<'_>) -> Option<T>,
) -> Option<Option<T>> {
    given.as_ref().map_or(Some(None), |given| check(given, reader).map(Some))
}

fn known_pipeline(given: &Given<Text>, root: &raw::Root, reader: &mut Reader<'_>) -> Option<String> {
    let named = root.pipeline.iter().flat_map(|list| &list.value).filter_map(|pipeline| pipeline.value.name.as_ref());
    let names: Vec<&str> = named.map(|name| name.value.value.as_str()).collect();
    let name = &given.value.value;
    if names.contains(&name.as_str()) {
        return Some(name.clone());
    }
    let mend = match nearest(name, names) {
        Some(known) => format!("did you mean {known:?}?"),
        None => "name a pipeline of this file".to_owned(),
    };
    reader.notes.error(&given.place, format!("there is no pipeline {}", given.value), mend);
    None
}

fn known_code(given: &Given<Text>, reader: &mut Reader<'_>) -> Option<String> {
    let code = &given.value.value;
    let begins =
        |known: &str| known.strip_prefix(code.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if Code::ALL.iter().any(|known| begins(known.as_str())) {
        return Some(code.clone());
    }
    let mend = match nearest(code, Code::ALL.iter().map(|known| known.as_str())) {
        Some(known) => format!("did you mean {known:?}?"),
        None => "docs/dead-letters.md lists the codes".to_owned(),
    };
    reader.notes.error(&given.place, format!("there is no code {}", given.value), mend);
    None
}

fn segments(given: &Given<Text>, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    match given.value.value.strip_prefix('/') {
        Some(path) => Some(path.split('/').map(str::to_owned).collect()),
        None => {
            let mend = "it starts with \"/\", such as \"/legs/*/gate\"";
            reader.notes.error(&given.place, format!("{} is not a path", given.value), mend);
            None
        }
    }
}

/// The one thing the rule does.
fn action(given: &Given<raw::DlqRule>, reader: &mut Reader<'_>) -> Option<RuleAction> {
    let rule = &given.value;
    let mut actions: Vec<(&Place, Option<RuleAction>)> = Vec::new();
    if let Some(title) = &rule.merge {
        actions.push((&title.place, merge(title, reader)));
    }
    if let Some(by) = &rule.split {
        actions.push((&by.place, Some(RuleAction::Split(by.value))));
    }
    if let Some(rank) = &rule.primary {
        actions.push((&rank.place, primary(rank, reader)));
    }
    match actions.len() {
        0 => {
            reader.notes.error(&given.place, "does nothing", "add merge, split or primary");
            None
        }
        1 => actions.remove(0).1,
        _ => {
            let place = actions[1].0;
            reader.notes.error(
                place,
                "stands beside another thing to do",
                "keep one of them, or make it a rule of its own",
            );
            None
        }
    }
}

fn merge(given: &Given<Text>, reader: &mut Reader<'_>) -> Option<RuleAction> {
    let title = &given.value.value;
    if title.chars().count() > TITLE_MAX || title.chars().any(char::is_control) || title.trim().is_empty() {
        let problem = format!("is no title: empty, longer than {TITLE_MAX} characters, or with control characters");
        reader.notes.error(&given.place, problem, "write a short title in one line");
        return None;
    }
    Some(RuleAction::Merge(title.clone()))
}

fn primary(given: &Given<i64>, reader: &mut Reader<'_>) -> Option<RuleAction> {
    let rank = given.value;
    if !(-RANK_MAX..=RANK_MAX).contains(&rank) {
        let mend = format!("set it between -{RANK_MAX} and {RANK_MAX}");
        reader.notes.error(&given.place, format!("{rank} is out of range"), mend);
        return None;
    }
    Some(RuleAction::Primary(rank))
}
