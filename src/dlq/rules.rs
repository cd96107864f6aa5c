//! Rules of the configuration about which group an issue belongs to, and which issue of a letter counts. They are applied
//! when a letter is made; what no rule is for keeps its id and its sentence.

use std::collections::HashSet;

use super::fingerprint::{GroupId, Signature};
use super::record::{DeadLetter, IssueRecord};
use super::sentence;
use crate::config::{DlqRule, RuleAction, SplitBy};
use crate::rejection::{Issue, Rejection};

/// Values told apart by one rule for as long as one shard runs; further ones are one group.
const VALUES_MAX: usize = 256;

/// The rules of one pipeline, with what they have seen.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<DlqRule>,
    /// The values seen, by rule.
    seen: Vec<HashSet<Option<String>>>,
}

/// What a split tells letters apart by.
enum Part {
    Value(String),
    Absent,
    /// Too many values: which one does not count.
    Other,
}

impl Rules {
    pub fn new(rules: &[DlqRule]) -> Self {
        Self { rules: rules.to_vec(), seen: vec![HashSet::new(); rules.len()] }
    }

    /// `rejection`, of a body of `body_bytes`, with the issue first that ranks highest.
    pub fn ranked(&self, rejection: Rejection, body_bytes: u64) -> Rejection {
        let ranks = |rule: &DlqRule| matches!(rule.action, RuleAction::Primary(_));
        if !self.rules.iter().any(ranks) {
            return rejection;
        }
        rejection.ranked(|issue| {
            let Issue { code, path, expected, actual, offset, .. } = issue;
            let signature = Signature::new(code.as_str(), path, expected, actual, *offset, body_bytes);
            let rank = |rule: &DlqRule| match rule.action {
                RuleAction::Primary(rank) if matches(rule, &signature) => Some(rank),
                _ => None,
            };
            self.rules.iter().find_map(rank).unwrap_or_default()
        })
    }

    /// Gives the issues of a new letter the groups that the rules say.
    pub fn apply(&mut self, letter: &mut DeadLetter) {
        if self.rules.is_empty() {
            return;
        }
        let mut issues = std::mem::take(&mut letter.issues);
        for issue in &mut issues {
            self.regroup(issue, letter);
        }
        for attempt in &mut letter.attempts {
            attempt.group = issues[0].group.clone();
        }
        letter.issues = issues;
    }

    fn regroup(&mut self, issue: &mut IssueRecord, letter: &DeadLetter) {
        let pipeline = &letter.origin.pipeline;
        let signature = issue.signature(letter.message.body.len() as u64);
        let groups = |rule: &DlqRule| !matches!(rule.action, RuleAction::Primary(_)) && matches(rule, &signature);
        let Some(number) = self.rules.iter().position(groups) else { return };
        let (group, title) = match &self.rules[number].action {
            RuleAction::Primary(_) => return,
            RuleAction::Merge(title) => (GroupId::merged(pipeline, title), title.clone()),
            RuleAction::Split(by) => {
                let part = part_of(letter, *by, &mut self.seen[number]);
                let by = by.as_str();
                let (value, told) = match &part {
                    Part::Value(value) => (Some(value.as_str()), format!("{by} {value}")),
                    Part::Absent => (None, format!("no {by}")),
                    Part::Other => (Some(""), format!("another {by}")),
                };
                (signature.split(pipeline, by, value), format!("{} ({told})", sentence::of(&signature)))
            }
        };
        issue.group = group;
        issue.title = Some(title);
    }
}

fn part_of(letter: &DeadLetter, by: SplitBy, seen: &mut HashSet<Option<String>>) -> Part {
    let message = &letter.message;
    let value = match by {
        SplitBy::AppId => message.properties.app_id.as_deref(),
        SplitBy::Type => message.properties.kind.as_deref(),
        SplitBy::RoutingKey => Some(message.routing_key.as_str()),
        SplitBy::Exchange => Some(message.exchange.as_str()),
        SplitBy::Schema => Some(letter.origin.schema.as_str()),
    };
    // An empty one is as good as none.
    let value = value.filter(|value| !value.is_empty()).map(str::to_owned);
    if !seen.contains(&value) {
        if seen.len() >= VALUES_MAX {
            return Part::Other;
        }
        seen.insert(value.clone());
    }
    value.map_or(Part::Absent, Part::Value)
}

fn matches(rule: &DlqRule, signature: &Signature<'_>) -> bool {
    let code = rule.code.as_deref().is_none_or(|code| {
        signature.code.strip_prefix(code).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    code && rule.path.as_deref().is_none_or(|pattern| path_matches(pattern, signature.path))
}

fn path_matches(pattern: &[String], path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let segments = path.split('/');
    segments.clone().count() == pattern.len()
        && segments.zip(pattern).all(|(segment, wanted)| wanted == "*" || wanted == segment)
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::{letter, nulls};
    use super::*;
    use crate::rejection::Code;

    fn rule(code: Option<&str>, path: Option<&str>, action: RuleAction) -> DlqRule {
        let segments = |path: &str| path.trim_start_matches('/').split('/').map(str::to_owned).collect();
        DlqRule { code: code.map(str::to_owned), path: path.map(segments), action }
    }

    /// A letter of two nulls, as the rules make it.
    fn ruled(rules: &[DlqRule]) -> DeadLetter {
        let mut rules = Rules::new(rules);
        let rejection = rules.ranked(nulls(), 2);
        let mut letter = letter("flights", 0, 1, b"{}", &rejection);
        rules.apply(&mut letter);
        letter
    }

    fn plain() -> DeadLetter {
        letter("flights", 0, 1, b"{}", &nulls())
    }

    #[test]
    fn what_no_rule_is_for_stays_as_it_is() {
        let merge = RuleAction::Merge("m".into());
        for rules in [
            vec![],
            vec![rule(Some("validate.required"), None, merge.clone())],
            vec![rule(Some("valid"), None, merge.clone())],
            vec![rule(None, Some("/arrival"), merge.clone())],
            vec![rule(None, Some("/arrival/delay_min/*"), merge.clone())],
            vec![rule(Some("validate.type"), Some("/other"), merge)],
            vec![rule(Some("decode"), None, RuleAction::Primary(5))],
        ] {
            assert_eq!(ruled(&rules), plain(), "{rules:?}");
        }
    }

    #[test]
    fn what_is_merged_is_one_group_with_its_title() {
        let letter = ruled(&[rule(Some("validate"), None, RuleAction::Merge("nulls of the tower".into()))]);
        let [delay, tail] = letter.issues.as_slice() else { panic!("two issues") };
        assert_eq!((&delay.group, delay.title.as_deref()), (&tail.group, Some("nulls of the tower")));
        assert_ne!(delay.group, plain().issues[0].group);
        assert_eq!(letter.attempts[0].group, delay.group);
        let elsewhere = GroupId::merged("orders", "nulls of the tower");
        assert_ne!(delay.group, elsewhere, "a group is a pipeline's own");
        assert_eq!(delay.group, GroupId::merged("flights", "nulls of the tower"));
    }

    #[test]
    fn the_first_rule_that_matches_decides_the_group() {
        let letter = ruled(&[
            rule(None, Some("/*/delay_min"), RuleAction::Merge("delays".into())),
            rule(Some("validate"), None, RuleAction::Merge("all".into())),
        ]);
        let titles: Vec<_> = letter.issues.iter().map(|issue| issue.title.as_deref()).collect();
        assert_eq!(titles, [Some("delays"), Some("all")]);
    }

    #[test]
    fn what_is_split_is_a_group_for_each_value_which_is_hashed_and_named() {
        let split = |by| {
            let letter = ruled(&[rule(None, Some("/tailnum"), RuleAction::Split(by))]);
            let tail = letter.issues[1].clone();
            (tail.group, tail.title.expect("a rule made it"))
        };
        let sentence = "`/tailnum` is null, the schema asks for string";
        let (tower, title) = split(SplitBy::AppId);
        assert_eq!(title, format!("{sentence} (app_id tower)"));
        let (key, title) = split(SplitBy::RoutingKey);
        assert_eq!(title, format!("{sentence} (routing_key flight.jfk)"));
        let (kind, title) = split(SplitBy::Type);
        assert_eq!(title, format!("{sentence} (no type)"));
        assert_eq!(split(SplitBy::Schema).1, format!("{sentence} (schema flight@1)"));
        let groups = HashSet::from([tower.clone(), key, kind, plain().issues[1].group.clone()]);
        assert_eq!(groups.len(), 4);
        assert_eq!(split(SplitBy::AppId).0, tower, "the same value is the same group");
    }

    #[test]
    fn beyond_a_number_of_values_a_split_tells_no_more_apart() {
        let mut rules = Rules::new(&[rule(Some("validate"), None, RuleAction::Split(SplitBy::AppId))]);
        let mut groups = HashSet::new();
        for n in 0..VALUES_MAX + 50 {
            let mut letter = plain();
            letter.message.properties.app_id = Some(format!("producer {n}"));
            rules.apply(&mut letter);
            groups.insert(letter.issues[0].group.clone());
        }
        assert_eq!(groups.len(), VALUES_MAX + 1);
        let mut known = plain();
        known.message.properties.app_id = Some("producer 3".to_owned());
        rules.apply(&mut known);
        assert!(known.issues[0].title.as_deref().is_some_and(|title| title.ends_with("(app_id producer 3)")));
    }

    #[test]
    fn the_issue_that_ranks_highest_is_the_one_that_counts() {
        let tail_first = ruled(&[rule(None, Some("/tailnum"), RuleAction::Primary(1))]);
        assert_eq!(tail_first.issues[0].path, "/tailnum");
        assert_eq!(tail_first.attempts[0].group, tail_first.issues[0].group);
        assert_eq!(tail_first.group(), &plain().issues[1].group, "its group is what it was");
        let delay_last = ruled(&[rule(None, Some("/arrival/*"), RuleAction::Primary(-1))]);
        assert_eq!(delay_last.issues[0].path, "/tailnum");
        let mut issues = nulls().issues().to_vec();
        issues.push(Issue::whole(Code::JsonSyntax));
        let rejection = Rejection::new(issues).with_dropped(3);
        let rules = Rules::new(&[rule(Some("decode"), None, RuleAction::Primary(100))]);
        let ranked = rules.ranked(rejection, 2);
        assert_eq!((ranked.code(), ranked.issues().len(), ranked.issues_dropped()), (Code::JsonSyntax, 3, 3));
        assert_eq!(ranked.issues()[1].path, "/arrival/delay_min", "equals stay in their order");
    }
}
