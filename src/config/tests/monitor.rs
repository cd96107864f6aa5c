//! `[pipeline.monitor]`: what is read, and what is refused.

use super::{lines, sound, with};

fn monitor(text: &str) -> String {
    with("pipeline", &format!("monitor = {{ {text} }}"))
}

#[test]
fn a_monitor_is_read_with_its_units_and_what_is_masked_is_expected() {
    assert!(sound(super::SOUND).config.pipelines[0].monitor.is_none(), "nothing is asked by default");
    let text = monitor(
        "rate_min = \"30/m\", rate_max = \"5/s\", silence = \"10m\", personal_data = \"dead-letter\", personal_kinds = [\"iban\"], \
         field = [{ name = \"amount\", path = \"/items/*/amount\", min = -1.5, max = 7, fresh = \"15m\" }]",
    );
    let text = text.replace("[dlq]\n", "[dlq]\nmask = [\"/customer/email\"]\n");
    let config = sound(&text).config;
    let found = config.pipelines[0].monitor.as_ref().expect("a monitor");
    assert_eq!((found.rate_min, found.rate_max, found.looks_max), (Some(0.5), Some(5.0), 1000.0));
    assert_eq!((found.rate_within.as_secs(), found.silence.map(|silence| silence.as_secs())), (300, Some(600)));
    let rule = &found.rules[0];
    assert_eq!(
        (rule.name.as_str(), rule.path.as_str(), rule.min, rule.max),
        ("amount", "/items/*/amount", Some(-1.5), Some(7.0))
    );
    let personal = found.personal.as_ref().expect("it is looked for");
    assert!(personal.dead_letter && personal.kinds.iter().eq([crate::personal::Kind::Iban]));
    assert_eq!(personal.expected[0].as_str(), "/customer/email");
}

#[test]
fn what_a_monitor_cannot_ask_is_refused() {
    for (text, finding) in [
        (
            "rate_min = 5",
            "9: pipeline.monitor.rate_min: is a number: write a rate with its unit, such as \"100/s\" (/s, /m, /h, /d)",
        ),
        (
            "rate_min = \"5/w\"",
            "9: pipeline.monitor.rate_min: \"5/w\" is not a rate: write a rate with its unit, such as \"100/s\" (/s, /m, /h, /d)",
        ),
        (
            "rate_min = \"5/s\", rate_max = \"5/m\"",
            "9: pipeline.monitor.rate_max: is less than rate_min: set it to rate_min or more",
        ),
        (
            "field = [{ name = \"a\", path = \"/a\" }]",
            "9: pipeline.monitor.field: asks for nothing: add min, max, one_of, regex, not_empty or fresh",
        ),
        (
            "field = [{ name = \"a\", path = \"/a\", min = 1 }, { name = \"a\", path = \"/b\", min = 1 }]",
            "9: pipeline.monitor.field.name: \"a\" is also the rule of line 9: give each rule its own name",
        ),
        (
            "field = [{ name = \"a\", path = \"a\", min = 1 }]",
            "9: pipeline.monitor.field.path: \"a\" is not a JSON pointer: it starts with \"/\", such as \"/items/*/amount\"",
        ),
        (
            "field = [{ name = \"a\", path = \"/a\", min = 2, max = 1 }]",
            "9: pipeline.monitor.field.max: is less than min: set it to min or more",
        ),
        (
            "field = [{ name = \"a\", path = \"/a\", regex = \"(\" }]",
            "9: pipeline.monitor.field.regex: \"(\" is not a regular expression that can be used: write it as the crate regex has it: no look-around, no back references",
        ),
        (
            "field = [{ name = \"a\", path = \"/a\", min = 1, event = \"placed\" }]",
            "9: pipeline.monitor.field.event: there is no type of events \"placed\": name a [[pipeline.event]] of this pipeline, or leave it out",
        ),
        (
            "personal_kinds = [\"card\"]",
            "9: warning: pipeline.monitor.personal_kinds: is not used: add personal_data = \"count\", or remove it",
        ),
    ] {
        assert_eq!(lines(&monitor(text)), [finding], "{text}");
    }
}
