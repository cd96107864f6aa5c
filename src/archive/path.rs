//! Where files land, below the store's root.

/// The directory of the rows of a schema's major version: `data/<pipeline>[/<type of events>]/v<major>`.
pub fn dataset(pipeline: &str, event: Option<&str>, major: u32) -> String {
    match event {
        Some(event) => format!("data/{pipeline}/{event}/v{major}"),
        None => format!("data/{pipeline}/v{major}"),
    }
}

/// The path of file `number` of a flush: `<dataset>[/<partition>]/<flush>-<instance>-<shard>-<number>.parquet`.
///
/// `flush` is the flush's ULID, so that listings are in the order of time; `partition` is as [`super::Partitioner::write`]
/// gives it. All parts are made of characters that need no escape.
pub fn path(dataset: &str, partition: &str, flush: &str, instance: &str, shard: u16, number: usize) -> String {
    let slash = if partition.is_empty() { "" } else { "/" };
    format!("{dataset}/{partition}{slash}{flush}-{instance}-{shard}-{number}.parquet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_contract() {
        let flush = "01HZX3V5T0000000000000000";
        assert_eq!(
            path(&dataset("flights", None, 1), "date=2013-01-01/hour=7", flush, "a_1", 0, 3),
            "data/flights/v1/date=2013-01-01/hour=7/01HZX3V5T0000000000000000-a_1-0-3.parquet"
        );
        assert_eq!(
            path(&dataset("f", Some("e"), 2), "", flush, "a", 1, 0),
            "data/f/e/v2/01HZX3V5T0000000000000000-a-1-0.parquet"
        );
    }
}
