//! A plan in the place of another while its pipeline runs: what differs, and whether rows of both may lie in one dataset.

use crate::ingest::{EventPlan, Plan};
use crate::schema::SchemaError;
use crate::schema::compat::Comparison;

/// What differs for one type of events.
#[derive(Clone, Debug)]
pub struct Difference {
    /// `name@version`.
    pub label: String,
    pub comparison: Comparison,
}

/// Why a plan cannot take the place of another; mended in the schema.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("{label}: column {change}")]
    Column { label: String, change: String },
    #[error("{label}: directories would be called {to}, and are called {from}")]
    Directories { label: String, from: String, to: String },
}

impl EventPlan {
    /// Whether the schema, or the rules beside it, say the same as those of `newer`.
    fn says_what(&self, newer: &Self) -> bool {
        let hash = |rules: &Self| rules.rules.as_ref().map(|rules| rules.hash().to_owned());
        self.schema.hash() == newer.schema.hash() && hash(self) == hash(newer)
    }

    /// What changes with `newer`, for those who write events and for the files.
    fn compared(&self, newer: &Self) -> Result<Comparison, SchemaError> {
        let mut found = Comparison::of((&self.schema, &self.columns), (&newer.schema, &newer.columns))?;
        if let (Some(old), Some(new)) = (&self.rules, &newer.rules) {
            let rules = Comparison::of((old, &self.columns), (new, &self.columns))?;
            found.backward.extend(rules.backward);
            found.forward.extend(rules.forward);
        }
        Ok(found)
    }

    /// What changes with `newer`, whose rows are to lie beside those of this one.
    ///
    /// # Errors
    /// See [`SuccessionError`].
    pub fn succeeded_by(&self, newer: &Self) -> Result<Comparison, SuccessionError> {
        let label = || newer.schema.label();
        let comparison = self.compared(newer)?;
        if let Some(change) = comparison.unfit_for_one_version() {
            return Err(SuccessionError::Column { label: label(), change: change.to_string() });
        }
        // They give way to columns of their name.
        let directories = |plan: &Self| plan.layout.partitioner().names().collect::<Vec<_>>().join("/");
        let (from, to) = (directories(self), directories(newer));
        if from != to {
            return Err(SuccessionError::Directories { label: label(), from, to });
        }
        Ok(comparison)
    }
}

impl Plan {
    /// What differs in `newer`, which is compiled from the same configuration; nothing, if it says the same.
    ///
    /// # Errors
    /// Why it cannot take this one's place.
    pub fn succeeded_by(&self, newer: &Self) -> Result<Vec<Difference>, SuccessionError> {
        let differing = self.events.iter().zip(&newer.events).filter(|(old, new)| !old.says_what(new));
        let compared = differing
            .map(|(old, new)| Ok(Difference { label: new.schema.label(), comparison: old.succeeded_by(new)? }));
        compared.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::config;
    use crate::ingest::worker::tests::pipeline;
    use crate::schema::compat::Verdict;

    fn event(config: &config::Pipeline, schema: &Value) -> EventPlan {
        let read = |_: &Path| Ok(schema.to_string().into_bytes());
        EventPlan::new(config, &config.events[0], &Default::default(), &read).expect("it compiles")
    }

    /// What comes of it, when the one follows the other.
    fn succession(config: &config::Pipeline, old: &Value, new: &Value) -> Result<Comparison, String> {
        event(config, old).succeeded_by(&event(config, new)).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_may_come_and_may_neither_go_nor_turn() {
        let config = pipeline();
        let of = |properties: Value| json!({"type": "object", "properties": properties});
        let (text, number) = (json!({"type": "string"}), json!({"type": "number"}));
        let one = of(json!({"id": text, "a": text}));
        let more = of(json!({"b": number, "id": text, "a": text}));
        let found = succession(&config, &one, &more).expect("a column more");
        assert_eq!((found.backward(), found.storage.len()), (Verdict::Yes, 1));
        for (new, said) in [
            (of(json!({"id": text})), "column a: gone, was Utf8"),
            (of(json!({"id": text, "a": number})), "column a: was Utf8, is Float64"),
            (of(json!({"id": text, "a": {}})), "column a: was Utf8, is JSON text"),
        ] {
            let refused = succession(&config, &one, &new).expect_err("a column less, or another");
            assert!(refused.contains(said) && refused.contains("order@1"), "{refused}");
        }
        let (dotted, plain) = (of(json!({"x.y": text})), of(json!({"x_y": text})));
        let refused = succession(&config, &dotted, &plain).expect_err("its field id is another");
        assert!(refused.contains("x_y: was /x.y, is /x_y, another property"), "{refused}");
    }

    #[test]
    fn a_column_that_takes_a_directory_s_name_needs_a_version_of_its_own() {
        let mut config = pipeline();
        let pointer = crate::value::Pointer::parse("/tenant").expect("a pointer");
        config.events[0].partition_by = vec![config::PartitionKey::Field { name: "tenant".to_owned(), pointer }];
        let text = json!({"type": "string"});
        let old = json!({"type": "object", "properties": {"id": text}});
        let new = json!({"type": "object", "properties": {"id": text, "tenant": text}});
        let refused = succession(&config, &old, &new).expect_err("the directories");
        assert!(refused.contains("tenant_key, and are called tenant"), "{refused}");
    }
}
