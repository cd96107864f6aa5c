//! The examples of `docs/fixes.md`, run.

use super::*;

const GUIDE: &str = include_str!("../../../../docs/fixes.md");

/// The fenced blocks of the guide: what stands behind the fence, and what is within it.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut parts = GUIDE.split("```");
    let mut blocks = Vec::new();
    parts.next();
    while let (Some(block), _) = (parts.next(), parts.next()) {
        blocks.push(block.split_once('\n').expect("a fence has its line"));
    }
    blocks
}

/// Each fix of the guide, with the blocks that follow it up to the next one.
fn examples() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let mut examples: Vec<(&str, Vec<_>)> = Vec::new();
    for (info, text) in blocks() {
        match info {
            "toml" => examples.push((text, Vec::new())),
            _ => examples.last_mut().expect("a fix stands first").1.push((info, text.trim_end())),
        }
    }
    examples
}

#[test]
fn every_example_of_the_guide_does_what_it_says() {
    let mut run = 0;
    for (text, rest) in examples() {
        let fix = fix(text);
        // Those with a jq program are run by `tests/it/fixes.rs`, where there is an executable to run it.
        if fix.jq.is_some() {
            continue;
        }
        match rest.as_slice() {
            [] => {}
            [("json before", before), ("json after", after)] => gives(text, before, after),
            [("json before", before), ("text fails", failure)] => fails(text, before, failure),
            other => panic!("{text} is followed by {other:?}"),
        }
        run += usize::from(!rest.is_empty());
    }
    assert!(run >= 14, "only {run} examples were found");
}

#[test]
fn the_guide_has_an_example_of_every_step_and_names_all_that_is_locked() {
    let all: String = examples().iter().map(|(text, _)| *text).collect();
    for action in read::ACTIONS {
        assert!(all.contains(&format!("\n{action} = {{")), "{action} has no example");
    }
    for locked in envelope::LOCKED_HEADERS {
        assert!(GUIDE.contains(&format!("`{locked}`")) || *locked == "x-death*", "{locked} is not named");
    }
    for shape in time::Shape::NAMES {
        assert!(GUIDE.contains(&format!("`{shape}`")), "{shape} is not named");
    }
}
