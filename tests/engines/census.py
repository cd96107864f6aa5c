"""Counts, with DuckDB and by plain glob, where numbered events of a run with faults have ended up.

    python census.py STORE NUMBERS UNCONFIRMED BAD_EVERY BAD_AT

STORE holds `data/` and `dlq/`. Events 0 to NUMBERS - 1 were published; UNCONFIRMED is a file with the numbers of those
that the broker may have or not, one a line. Event n is bad, and belongs into the dead letters, where n % BAD_EVERY ==
BAD_AT; else it is good, has the id `order-n` and belongs into the archive. Each message is called `m-n`.

Prints one line of JSON.
"""

import json
import sys

import duckdb

SAMPLES = 5


def main() -> None:
    store, numbers, unconfirmed, bad_every, bad_at = sys.argv[1:]
    con = duckdb.connect()
    con.execute(
        f"""
        create table rows as
            select try_cast(regexp_extract(_event_id, '^order-(\\d+)$', 1) as bigint) as n, count(*) as times,
                   count(*) filter (_redelivered) as redelivered
            from read_parquet('{store}/data/**/*.parquet', hive_partitioning = false) group by 1;
        create table letters as
            select try_cast(regexp_extract(message_id, '^m-(\\d+)$', 1) as bigint) as n, count(*) as times
            from read_parquet('{store}/dlq/records/**/*.parquet', hive_partitioning = false) group by 1;
        create table unconfirmed as select column0 as n from read_csv('{unconfirmed}', header = false, columns = {{'column0': 'bigint'}});
        create table events as
            select range as n, range % {bad_every} = {bad_at} as bad, range in (select n from unconfirmed) as unsure
            from range({numbers});
        create table places as
            select e.n, e.bad, e.unsure, coalesce(r.times, 0) as archived, coalesce(l.times, 0) as dead
            from events e left join rows r on e.n = r.n left join letters l on e.n = l.n;
        """
    )

    def one(query: str) -> int:
        return int(con.execute(query).fetchone()[0] or 0)

    def count(condition: str) -> dict:
        samples = con.execute(f"select n from places where {condition} order by n limit {SAMPLES}").fetchall()
        return {"count": one(f"select count(*) from places where {condition}"), "samples": [n for (n,) in samples]}

    print(
        json.dumps(
            {
                "rows": one("select sum(times) from rows"),
                "letters": one("select sum(times) from letters"),
                "rows_redelivered": one("select sum(redelivered) from rows"),
                "repeats_not_flagged": one("select count(*) from rows where times - redelivered > 1"),
                "unsure_there": one("select count(*) from places where unsure and archived + dead > 0"),
                "unknown": one(f"select coalesce(sum(times), 0) from (from rows select n, times union all from letters select n, times) where n is null or n >= {numbers}"),
                "missing": count("not unsure and (case when bad then dead else archived end) = 0"),
                "rows_repeated": count("archived > 1"),
                "letters_repeated": count("dead > 1"),
                "in_both": count("archived > 0 and dead > 0"),
                "misplaced": count("(bad and archived > 0) or (not bad and dead > 0)"),
            }
        )
    )


if __name__ == "__main__":
    main()
