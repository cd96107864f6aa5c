//! Where files land, below the store's root.

/// The path of file `number` of a flush: `data/<pipeline>/v<major>[/<partition>]/<flush>-<instance>-<shard>-<number>.parquet`.
///
/// `flush` is the flush's ULID, so that listings are in the order of time; `partition` is as [`super::Partitioner::write`]
/// gives it. All parts are made of characters that need no escape.
pub fn path(
    pipeline: &str,
    major: u32,
    partition: &str,
    flush: &str,
    instance: &str,
    shard: u16,
    number: usize,
) -> String {
    let slash = if partition.is_empty() { "" } else { "/" };
    format!("data/{pipeline}/v{major}/{partition}{slash}{flush}-{instance}-{shard}-{number}.parquet")
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths_are_those_of_the_contract() {
        let flush = "01HZX3V5T0000000000000000";
        assert_eq!(
            path("flights", 1, "date=2013-01-01/hour=7", flush, "a_1", 0, 3),
            "data/flights/v1/date=2013-01-01/hour=7/01HZX3V5T0000000000000000-a_1-0-3.parquet"
        );
        assert_eq!(path("f", 2, "", flush, "a", 1, 0), "data/f/v2/01HZX3V5T0000000000000000-a-1-0.parquet");
    }
}
