"""What the dashboards show. `scripts/dashboards` writes them to dashboards/grafana."""

from .grafana import COLORS, dashboard, heatmap, lines, row, stat, states, table, variable

# Which installation, process and flow.
OURS = 'job=~"$job", instance=~"$instance", pipeline=~"$pipeline"'
# The store is a process's, not a pipeline's; what is recorded is an installation's.
STORE = 'job=~"$job", instance=~"$instance"'
RECORDED = 'job=~"$job", pipeline=~"$pipeline"'
QUEUES = 'queue=~"$queue"'

RATE = "[$__rate_interval]"

# Of the objective that 99.9 % of the events are archived.
BUDGET = 0.001

# The defaults of what a bound stands for, in seconds: `run.unacked_age_max`, and RabbitMQ's consumer timeout.
UNACKED_AGE_MAX = 600
CONSUMER_TIMEOUT = 1800


def rate(metric: str, by: str = "pipeline", selector: str = OURS) -> str:
    return f"sum by ({by}) (rate({metric}{{{selector}}}{RATE}))"


def mean(histogram: str) -> str:
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"


def quantiles(histogram: str, by: str = "") -> list[tuple[str, str]]:
    """The median and the 99th percentile; with `by`, of each value of that label."""
    name = f"{{{{{by}}}}} " if by else ""
    labels = f"le, {by}" if by else "le"
    buckets = rate(f"{histogram}_bucket", labels)
    return [(f"histogram_quantile({q}, {buckets})", name + word) for q, word in ((0.5, "median"), (0.99, "99 %"))]


def total(metric: str) -> str:
    return f"sum({metric}{{{OURS}}})"


def or_none(expr: str) -> str:
    """A counter with labels does not exist before it counts."""
    return f"({expr} or vector(0))"


DELIVERIES, ARCHIVED = total("parqueduct_deliveries_total"), total("parqueduct_archived_total")
DEAD, SUPPRESSED = or_none(total("parqueduct_dead_lettered_total")), total("parqueduct_duplicates_suppressed_total")
REQUEUED, IN_FLIGHT = or_none(total("parqueduct_requeued_total")), total("parqueduct_in_flight")
SINCE_COMMIT = f"time() - max by (pipeline) (parqueduct_last_commit_timestamp_seconds{{{OURS}}})"
OLDEST = f"max by (pipeline) (parqueduct_oldest_unacked_seconds{{{OURS}}})"

VARIABLES = [
    variable("job", "Installation", "label_values(parqueduct_build_info, job)"),
    variable("instance", "Process", 'label_values(parqueduct_build_info{job=~"$job"}, instance)'),
    variable("pipeline", "Pipeline", 'label_values(parqueduct_deliveries_total{job=~"$job"}, pipeline)'),
]

HELD_BOUNDS = [(UNACKED_AGE_MAX, "red")]


def share(window: str) -> str:
    """Dead letters of all events, as the rules record them; a pipeline of kind `dead-letter` has nothing else, and no objective."""
    dead, events = f"pipeline:parqueduct_dead_letters:increase{window}", f"pipeline:parqueduct_events:increase{window}"
    none = 'last_over_time(parqueduct_dead_lettered_total{stage="broker"}[1d])'
    return f"({dead}{{{RECORDED}}} / {events}{{{RECORDED}}} unless on (job, pipeline) {none})"


def worst_share(window: str) -> str:
    return f"max({share(window)} >= 0)"


def overview() -> dict:
    now = row(
        "Now",
        stat("Alerts", "Those of dashboards/alerts that fire. docs/operate.md says what to do about each.",
             'count(ALERTS{job=~"$job", alertname=~"Parqueduct.*", alertstate="firing"}) or vector(0)', bounds=[(1, "red")]),
        stat("Processes", "Scraped just now.", f"count(parqueduct_build_info{{{STORE}}}) or vector(0)",
             bounds=[(1, "green")], base="red", to="pipeline"),
        stat("Consumers", "Shards that have a live consumer. None: nothing gets through.",
             total("parqueduct_broker_connected"), bounds=[(1, "green")], base="red", to="broker-and-store"),
        stat("Store takes writes", "Of every process. While it does not, deliveries are held, or wait in the queue.",
             f"min(parqueduct_store_up{{{STORE}}})", words={"0": ("no", "red"), "1": ("yes", "green")}, to="broker-and-store"),
        stat("Oldest unacked", f"The delivery that has waited longest for its flush. From {UNACKED_AGE_MAX} s on /readyz says no; RabbitMQ takes "
             "deliveries back after 30 minutes.", f"max(parqueduct_oldest_unacked_seconds{{{OURS}}})",
             unit="s", bounds=[(UNACKED_AGE_MAX / 2, "yellow"), (UNACKED_AGE_MAX, "red")], to="broker-and-store"),
        stat("Since last commit", "Time since any flush became durable. It grows on a queue to which nothing comes, too.",
             f"min({SINCE_COMMIT})", unit="s", bounds=[(UNACKED_AGE_MAX, "yellow")], to="pipeline"),
        stat("Dead letters of an hour", "Their share of all events within the last hour, in the worst pipeline. 0.1 % is the objective; "
             "1.44 % pages.", worst_share("1h"), unit="percentunit",
             bounds=[(BUDGET, "yellow"), (14.4 * BUDGET, "red")], decimals=2, to="dead-letters"),
        stat("Not accounted for", "Deliveries that are in no place of the ledger: 0, but for what changes during a scrape. "
             "If it stays, it is a defect.",
             f"abs({DELIVERIES} - {ARCHIVED} - {DEAD} - {SUPPRESSED} - {REQUEUED} - {IN_FLIGHT})", bounds=[(1, "red")]),
    )
    ledger = row(
        "The ledger: deliveries = archived + dead letters + suppressed + requeued + in flight",
        stat("Deliveries", "Received since the processes started, redeliveries included.", DELIVERIES, base="blue", size=(4, 4)),
        stat("Archived", "Durable as rows.", ARCHIVED, size=(4, 4)),
        stat("Dead letters", "Durable as dead letters.", DEAD, base="red", size=(4, 4)),
        stat("Suppressed", "Repeats: their row or dead letter was durable already.", SUPPRESSED, base="purple", size=(4, 4)),
        stat("Requeued", "Back in the queue; they come again, as deliveries of their own.", REQUEUED, base="orange", size=(4, 4)),
        stat("In flight", "Received and not yet settled; a shard holds `prefetch` at most.", IN_FLIGHT, base="yellow", size=(4, 4)),
    )
    flow = row(
        "Flow and lag",
        lines("Events a second", "What comes and what becomes durable. Archived follows delivered in steps, one a flush.",
              [(f"sum(rate(parqueduct_deliveries_total{{{OURS}}}{RATE}))", "delivered"),
               (f"sum(rate(parqueduct_archived_total{{{OURS}}}{RATE}))", "archived"),
               (f"sum(rate(parqueduct_dead_lettered_total{{{OURS}}}{RATE}))", "dead letters"),
               (f"sum(rate(parqueduct_duplicates_suppressed_total{{{OURS}}}{RATE}))", "suppressed"),
               (f"sum(rate(parqueduct_requeued_total{{{OURS}}}{RATE}))", "requeued")],
              unit="ops", colors=COLORS),
        lines("Events a second, by pipeline", "Delivered, redeliveries included.",
              [(rate("parqueduct_deliveries_total"), "{{pipeline}}")], unit="ops"),
        lines("Bytes a second, by pipeline", "Message bodies as received.",
              [(rate("parqueduct_received_bytes_total"), "{{pipeline}}")], unit="Bps"),
        lines("Age of the oldest unacked", f"A saw tooth: each flush resets it. The lines are {UNACKED_AGE_MAX} s, where /readyz says no and "
              "ParqueductOldestUnacked fires, and 30 minutes, where RabbitMQ takes deliveries back.",
              [(OLDEST, "{{pipeline}}")], unit="s", bounds=[(UNACKED_AGE_MAX, "orange"), (CONSUMER_TIMEOUT, "red")]),
        lines("Since the last commit", "Time since a flush became durable, by pipeline.",
              [(SINCE_COMMIT, "{{pipeline}}")], unit="s"),
        lines("In flight", "Deliveries received and not yet settled. It is what memory grows with.",
              [(f"sum by (pipeline) (parqueduct_in_flight{{{OURS}}})", "{{pipeline}}")]),
    )
    failures = row(
        "Failures",
        lines("Dead letters a second, by code", "By the code of their first issue. `parqueduct dlq groups` says which fields.",
              [(rate("parqueduct_dead_lettered_total", "code"), "{{code}}")], unit="ops", stacked=True),
        lines("Requeued a second, by cause", "What went back to the queue, and why. `dropped` is a defect, though nothing is lost.",
              [(rate("parqueduct_requeued_total", "cause"), "{{cause}}")], unit="ops", stacked=True),
        states("Alerts over time", "Each alert of dashboards/alerts, while it waits and while it fires.",
               'max by (alertname) (ALERTS{job=~"$job", alertname=~"Parqueduct.*", alertstate="firing"} * 2 '
               'or ALERTS{job=~"$job", alertname=~"Parqueduct.*", alertstate="pending"})',
               "{{alertname}}", {"1": ("pending", "yellow"), "2": ("firing", "red")}, (8, 8)),
    )
    return dashboard("overview", "Parqueduct", "What became of every delivery, and what holds it up.",
                     VARIABLES, [now, ledger, flow, failures])


def pipeline() -> dict:
    stages = row(
        "Stages",
        lines("Time to judge a batch", "Decode, validate and append, on a worker thread; of a batch that fills a flush, encoding, too.",
              quantiles("parqueduct_decode_seconds", "pipeline"), unit="s"),
        lines("Time to encode a flush", "Columns into Parquet, in memory.",
              quantiles("parqueduct_encode_seconds", "pipeline"), unit="s"),
        lines("Time of a flush", "From sealing to its outcome being durable. The line is where ParqueductFlushSlow fires, if one in ten takes longer.",
              quantiles("parqueduct_flush_seconds", "pipeline"), unit="s", bounds=[(30, "orange")]),
        lines("Busy, by stage", "Seconds of work a second, of all shards. A stage that comes near the number of shards is what holds the rest up.",
              [(f"sum(rate(parqueduct_decode_seconds_sum{{{OURS}}}{RATE}))", "judge"),
               (f"sum(rate(parqueduct_encode_seconds_sum{{{OURS}}}{RATE}))", "encode"),
               (f"sum(rate(parqueduct_flush_seconds_sum{{{OURS}}}{RATE}))", "write")], unit="s"),
        lines("Events a second, by process", "Competing consumers: RabbitMQ hands out as each has room.",
              [(rate("parqueduct_deliveries_total", "instance"), "{{instance}}")], unit="ops"),
        lines("Batches a second", "Deliveries that had arrived are judged together; fewer, larger batches are cheaper.",
              [(rate("parqueduct_decode_seconds_count"), "{{pipeline}}")], unit="ops"),
    )
    flush = row(
        "Flushes",
        lines("Flushes a minute", "Each writes at least one file for each of its partitions. `flush.age` sets the pace on quiet queues.",
              [(f"60 * {rate('parqueduct_flush_seconds_count')}", "{{pipeline}}")], unit="cpm"),
        lines("Deliveries of a flush", "On average, good and bad. `flush.rows` is the most.", [(mean("parqueduct_flush_rows"), "{{pipeline}}")]),
        lines("Bytes of a flush", "On average, of all its objects.", [(mean("parqueduct_flush_bytes"), "{{pipeline}}")], unit="bytes"),
        heatmap("How long flushes take", "How many flushes took how long, from sealing to durable.",
                f"sum by (le) (increase(parqueduct_flush_seconds_bucket{{{OURS}}}{RATE}))", unit="s", size=(12, 8)),
        heatmap("How many deliveries flushes settle", "How many flushes settled how many deliveries, good and bad.",
                f"sum by (le) (increase(parqueduct_flush_rows_bucket{{{OURS}}}{RATE}))", unit="short", size=(12, 8)),
    )
    files = row(
        "Files",
        lines("Files a minute, by what they hold", "Rows, dead letters, large bodies of dead letters, attempts to give letters back.",
              [(f"60 * {rate('parqueduct_files_total', 'kind')}", "{{kind}}")], unit="cpm", stacked=True),
        lines("Bytes of a file of rows", "On average. Below 1 MiB, the line, and a thousand a day, ParqueductSmallFiles makes a ticket: raise `flush.age`.",
              [(mean("parqueduct_file_bytes"), "{{pipeline}}")], unit="bytes", bounds=[(1 << 20, "orange")]),
        lines("Rows of a file", "On average.", [(mean("parqueduct_file_rows"), "{{pipeline}}")]),
        lines("Open partitions", "With rows not yet flushed; each becomes a file. `open_partitions_max` is the most.",
              [(f"sum by (pipeline) (parqueduct_open_partitions{{{OURS}}})", "{{pipeline}}")]),
        lines("Written a second", "Bytes of the objects of durable flushes.", [(rate("parqueduct_flush_bytes_sum"), "{{pipeline}}")], unit="Bps"),
        lines("Bytes in for each byte out", "Bodies received, over objects written: what Parquet and zstd save.",
              [(f"{rate('parqueduct_received_bytes_total')} / {rate('parqueduct_flush_bytes_sum')}", "{{pipeline}}")], unit="none"),
    )
    schemas = row(
        "Schemas",
        states("Schema in use", "By name and version: 1 while events are judged by it.",
               f"max by (pipeline, schema) (parqueduct_schema_info{{{OURS}}})", "{{pipeline}} {{schema}}",
               {"1": ("in use", "green")}, (8, 8)),
        states("A changed schema is refused", "1 while the files differ from what is in use, since they cannot be taken.",
               f"max by (pipeline) (parqueduct_schema_refused{{{OURS}}})", "{{pipeline}}",
               {"0": ("no", "green"), "1": ("yes", "red")}, (8, 8)),
        lines("Changed schemas", "Taken and refused, since the processes started.",
              [(f"sum by (pipeline, outcome) (parqueduct_schema_reloads_total{{{OURS}}})", "{{pipeline}} {{outcome}}")]),
        lines("Rows with undeclared fields a second", "What no column holds is in `_extra`: producers send more than the schema knows.",
              [(rate("parqueduct_undeclared_fields_total"), "{{pipeline}}")], unit="ops"),
        lines("Events of a wrong type a second", "A value is not of its declared type: producers and schema disagree.",
              [(rate("parqueduct_schema_conflicts_total"), "{{pipeline}}")], unit="ops"),
        lines("New fields of learned schemas", "With `schema = \"infer\"`: fields that are not declared, each once, since the processes started. The log names them.",
              [(f"sum by (pipeline) (parqueduct_schema_new_fields_total{{{OURS}}})", "{{pipeline}}")]),
        lines("Revision of learned schemas", "By process; 0 while the first is learned. All of a pipeline are at the same, but for seconds.",
              [(f"max by (pipeline, instance) (parqueduct_schema_revision{{{OURS}}})", "{{pipeline}} {{instance}}")]),
        lines("Questions to the schema registry", "By how they ended, since the processes started; while there is trouble, deliveries wait.",
              [(or_none(f"sum by (outcome) (parqueduct_registry_requests_total{{{STORE}}})"), "{{outcome}}")]),
        lines("Requests that sent spans", "By how they ended, since the processes started; those that fail are dropped.",
              [(or_none(f"sum by (outcome) (parqueduct_span_exports_total{{{STORE}}})"), "{{outcome}}")]),
    )
    asked = row(
        "Monitors: what the configuration asks of the events, and of how they flow",
        lines("Rate and its bounds", "Deliveries a second over `monitor.rate_within`, of all processes, and the bounds. Outside of them ParqueductRateLow and "
              "ParqueductRateHigh fire.",
              [(f"sum by (pipeline) (parqueduct_monitor_rate{{{OURS}}})", "{{pipeline}}"),
               (f"max by (pipeline, bound) (parqueduct_monitor_rate_bound{{{OURS}}})", "{{pipeline}} {{bound}}")], unit="ops", logarithmic=True),
        states("Monitors that say no", "Of each process: silence, and too few or too many deliveries.",
               f"max by (pipeline, bound) (parqueduct_monitor_out_of_band{{{OURS}}}) "
               f"or max by (pipeline) (parqueduct_monitor_silent{{{OURS}}})", "{{pipeline}} {{bound}}",
               {"0": ("well", "green"), "1": ("no", "red")}, (8, 8)),
        lines("Since the last delivery", "Longer than `monitor.silence`, to all processes: ParqueductFlowSilent.",
              [(f"time() - max by (pipeline) (parqueduct_monitor_last_delivery_timestamp_seconds{{{OURS}}})", "{{pipeline}}")], unit="s"),
        lines("Broken rules a minute", "Events that break a rule of `monitor.field`, by its name. They are archived.",
              [(f"60 * {rate('parqueduct_monitor_broken_total', 'pipeline, rule')}", "{{pipeline}} {{rule}}")], unit="cpm"),
        lines("Checked by rules, and left out, a second", "Events that rules were held against, and those that nothing looked at, since there were more than `monitor.sample_above`.",
              [(rate("parqueduct_monitor_checked_total", "pipeline, rule"), "{{pipeline}} {{rule}}"),
               (rate("parqueduct_monitor_events_total", "pipeline, outcome"), "{{pipeline}} {{outcome}}")], unit="ops"),
        lines("Personal data", "Texts of events with personal data where none should be, by kind and field, since the processes started.",
              [(or_none(f"sum by (pipeline, kind, path) (parqueduct_personal_data_total{{{OURS}}})"), "{{pipeline}} {{kind}} {{path}}")]),
    )
    memory = row(
        "Memory, delay and repeats",
        lines("Memory of a process, and its share by owner", "Resident memory, and what of it is known: bodies of deliveries, rows of open batches, and files that are not yet durable.",
              [(f"sum by (instance) (process_resident_memory_bytes{{{STORE}}})", "{{instance}} resident"),
               (f"sum by (instance, owner) (parqueduct_held_bytes{{{OURS}}})", "{{instance}} {{owner}}")], unit="bytes"),
        lines("Event delay", "From an event's own time to its arrival: how late producers, and what lies between, are.",
              quantiles("parqueduct_event_delay_seconds", "pipeline"), unit="s", logarithmic=True),
        lines("Held, by process", "Deliveries in flight. What a process takes grows with them; `prefetch` times shards is the most.",
              [(f"sum by (instance) (parqueduct_in_flight{{{OURS}}})", "{{instance}}")]),
        lines("Repeats a second", "Suppressed: durable already, so acked and not written. Id reused: another event with the same id, archived, too.",
              [(rate("parqueduct_duplicates_suppressed_total"), "{{pipeline}} suppressed"),
               (rate("parqueduct_id_reused_total"), "{{pipeline}} id reused")], unit="ops", colors={"id reused": "orange"}),
    )
    return dashboard("pipeline", "Parqueduct: pipeline", "Where the time goes, what is written, and what is held.",
                     VARIABLES, [stages, flush, files, schemas, asked, memory])


def dead_letters() -> dict:
    in_range = f"increase(parqueduct_dead_lettered_total{{{OURS}}}[$__range])"
    budget = row(
        "The objective: 99.9 % of the events of a pipeline are archived",
        stat("Of five minutes", "Share of dead letters in the worst pipeline.", worst_share("5m"), unit="percentunit",
             bounds=[(BUDGET, "yellow"), (14.4 * BUDGET, "red")], decimals=2),
        stat("Of an hour", "Share of dead letters in the worst pipeline. From 1.44 % on, if it still lasts, ParqueductBudgetBurnFast pages.",
             worst_share("1h"), unit="percentunit", bounds=[(BUDGET, "yellow"), (14.4 * BUDGET, "red")], decimals=2),
        stat("Of six hours", "Share of dead letters in the worst pipeline. From 0.6 % on, if it still lasts, ParqueductBudgetBurn pages.",
             worst_share("6h"), unit="percentunit", bounds=[(BUDGET, "yellow"), (6 * BUDGET, "red")], decimals=2),
        stat("Of a day", "Share of dead letters in the worst pipeline. From 0.3 % on, if it still lasts, ParqueductBudgetBurnSlow makes a ticket.",
             worst_share("1d"), unit="percentunit", bounds=[(BUDGET, "yellow"), (3 * BUDGET, "red")], decimals=2),
        stat("In the time shown", "Dead letters that were made. Those in the store are counted by `parqueduct dlq groups`.",
             f"sum({in_range}) or vector(0)", base="red", size=(4, 4)),
        stat("Breaker", "Whether most events of any pipeline fail, by their schema or by our doing.",
             f"max(parqueduct_breaker_open{{{OURS}}})", words={"0": ("closed", "green"), "1": ("open", "red")}, size=(4, 4)),
        stat("Made by a panic", "Letters with a code `internal.*`, since the processes started. A defect: please report it.",
             f'sum(parqueduct_dead_lettered_total{{{OURS}, code=~"internal.*"}}) or vector(0)', bounds=[(1, "red")], size=(4, 4)),
        lines("Burn rate", "How many times faster than evenly the budget of 30 days is spent. The lines are where the alerts are: 3 over a day, 6 "
              "over six hours, 14.4 over an hour.",
              [(f"{share(window)} / {BUDGET}", f"{{{{pipeline}}}} {window}") for window in ("1h", "6h", "1d")],
              bounds=[(3, "yellow"), (6, "orange"), (14.4, "red")], size=(12, 8), logarithmic=True),
        lines("Share of dead letters", "Of all events of the last five minutes, by pipeline.", [(share("5m"), "{{pipeline}}")],
              unit="percentunit", size=(12, 8)),
    )
    causes = row(
        "Causes",
        lines("Dead letters a second, by stage", "Where they failed. `broker`: what RabbitMQ itself had given up on.",
              [(rate("parqueduct_dead_lettered_total", "stage"), "{{stage}}")], unit="ops", stacked=True),
        lines("Dead letters a second, by code", "By the code of their first issue: docs/dead-letters.md has the list.",
              [(rate("parqueduct_dead_lettered_total", "code"), "{{code}}")], unit="ops", stacked=True),
        table("In the time shown", "Dead letters by pipeline, stage and code. `parqueduct dlq groups` says which fields.",
              f"round(sum by (pipeline, stage, code) ({in_range}))", columns=["pipeline", "stage", "code"], value="letters",
              size=(8, 8)),
        lines("Dead letters a second, by pipeline", "A pipeline of kind `dead-letter` has nothing else.",
              [(rate("parqueduct_dead_lettered_total"), "{{pipeline}}")], unit="ops"),
        states("Breaker, over time", "While most events of a pipeline fail: by their schema, or by our doing.",
               f"max by (pipeline, class) (parqueduct_breaker_open{{{OURS}}})", "{{pipeline}} {{class}}",
               {"0": ("closed", "green"), "1": ("open", "red")}, (8, 8)),
        lines("Breaker trips", "Times that most events began to fail, since the processes started.",
              [(f"sum by (pipeline, class) (parqueduct_breaker_trips_total{{{OURS}}})", "{{pipeline}} {{class}}")]),
    )
    groups = row(
        "Groups, counted every `dlq.groups_every`",
        lines("Groups, by state", "`parqueduct dlq groups` lists them. A regressed one was resolved and came back: ParqueductGroupRegressed.",
              [(f"max by (pipeline, state) (parqueduct_dlq_groups{{{OURS}}})", "{{pipeline}} {{state}}")], size=(8, 8)),
        lines("Age of the newest group", "Of those that nobody has dealt with. Below an hour ParqueductNewGroup fires.",
              [(f"time() - max by (pipeline) (parqueduct_dlq_newest_group_timestamp_seconds{{{OURS}}})", "{{pipeline}}")], unit="s",
              size=(8, 8), logarithmic=True),
        lines("Groups that rise", "Ten times as many letters within the last hour as in any hour of the day before: ParqueductGroupRising.",
              [(f"max by (pipeline) (parqueduct_dlq_groups_rising{{{OURS}}})", "{{pipeline}}")], size=(8, 8)),
    )
    upkeep = row(
        "In the store",
        lines("Files a minute", "Of dead letters, of bodies too large for their row, and of what became of letters given back.",
              [(f"60 * sum by (kind) (rate(parqueduct_files_total{{{OURS}, kind!=\"data\"}}{RATE}))", "{{kind}}")], unit="cpm", stacked=True, size=(6, 8)),
        lines("Files merged", "Small files made into larger ones, since the processes started. There is a round every 15 minutes.",
              [(f"sum by (pipeline) (parqueduct_dlq_files_merged_total{{{OURS}}})", "{{pipeline}}")], size=(6, 8)),
        lines("Letters removed, by why", "Kept long enough after they were recovered, or their group was resolved or ignored; since the processes started.",
              [(f"sum by (why) (parqueduct_dlq_letters_removed_total{{{OURS}}})", "{{why}}")], size=(6, 8)),
        lines("Rounds that failed", "Of merging and removing, since the processes started. What they left is done by a later one. "
              "More than five in three hours: ParqueductMergeFailing.",
              [(f"sum by (pipeline) (parqueduct_dlq_merge_failures_total{{{OURS}}})", "{{pipeline}}")], size=(6, 8)),
    )
    return dashboard("dead-letters", "Parqueduct: dead letters", "Which events fail, why, and what that costs of the objective.",
                     VARIABLES, [budget, causes, groups, upkeep])


def broker_and_store() -> dict:
    connections = row(
        "Consumers",
        lines("Consumers, by process", "Shards that have a live consumer.",
              [(f"sum by (instance) (parqueduct_broker_connected{{{OURS}}})", "{{instance}}")]),
        lines("Reconnects a minute", "Consumers that ended and were built anew.",
              [(f"60 * {rate('parqueduct_broker_reconnects_total')}", "{{pipeline}}")], unit="cpm"),
        lines("Oldest unacked, by process", f"The lines are {UNACKED_AGE_MAX} s, where /readyz says no, and 30 minutes, where RabbitMQ takes deliveries back.",
              [(f"max by (instance) (parqueduct_oldest_unacked_seconds{{{OURS}}})", "{{instance}}")], unit="s",
              bounds=[(UNACKED_AGE_MAX, "orange"), (CONSUMER_TIMEOUT, "red")]),
        lines("Waiting in the queues", "Ready messages, as asked every `rabbitmq.depth_every`. Growing while nothing is settled: ParqueductQueueGrows.",
              [(f"max by (pipeline) (parqueduct_queue_messages{{{OURS}}})", "{{pipeline}}")]),
        lines("Requeued, by cause", "Deliveries that went back to the queue, since the processes started.",
              [(f"sum by (cause) (parqueduct_requeued_total{{{OURS}}})", "{{cause}}")], stacked=True),
        lines("Settlements lost", "Acks that did not reach the broker after their flush was durable, since the processes started. "
              "The deliveries come back, and are suppressed.",
              [(f"sum by (pipeline) (parqueduct_settlements_lost_total{{{OURS}}})", "{{pipeline}}")]),
    )
    rabbitmq = row(
        "RabbitMQ, as its own plugin tells: rabbitmq_prometheus",
        lines("Ready, by queue", "Messages that wait. A queue that grows while its consumers are there: Parqueduct is too slow, or holds its window.",
              [(f"sum by (vhost, queue) (rabbitmq_detailed_queue_messages_ready{{{QUEUES}}})", "{{queue}}")]),
        lines("Unacked, by queue", "Messages that a consumer holds. Of a queue of ours this is about what is in flight.",
              [(f"sum by (vhost, queue) (rabbitmq_detailed_queue_messages_unacked{{{QUEUES}}})", "{{queue}}")]),
        lines("Consumers, by queue", "As the broker counts them: those of others, too.",
              [(f"sum by (vhost, queue) (rabbitmq_detailed_queue_consumers{{{QUEUES}}})", "{{queue}}")]),
        lines("Messages a second", "Of the whole broker: published to it, handed to consumers, handed out again, and acked.",
              [(f"sum(rate(rabbitmq_global_messages_received_total{RATE}))", "published"),
               (f"sum(rate(rabbitmq_global_messages_delivered_total{RATE}))", "delivered"),
               (f"sum(rate(rabbitmq_global_messages_redelivered_total{RATE}))", "redelivered"),
               (f"sum(rate(rabbitmq_global_messages_acknowledged_total{RATE}))", "acked")], unit="ops",
              colors={"published": "blue", "^delivered": "green", "redelivered": "orange", "acked": "purple"}),
        lines("Memory of the broker", "At its limit it blocks publishers; consuming goes on.",
              [("sum by (instance) (rabbitmq_process_resident_memory_bytes)", "{{instance}} used"),
               ("sum by (instance) (rabbitmq_resident_memory_limit_bytes)", "{{instance}} limit")], unit="bytes",
              colors={"limit": "red"}),
        lines("Disk of the broker", "Below the limit it blocks publishers.",
              [("sum by (instance) (rabbitmq_disk_space_available_bytes)", "{{instance}} free"),
               ("sum by (instance) (rabbitmq_disk_space_available_limit_bytes)", "{{instance}} limit")], unit="bytes",
              colors={"limit": "red"}),
    )
    store = row(
        "Object store",
        states("Takes writes", "By process: whether its last write succeeded.", f"max by (instance) (parqueduct_store_up{{{STORE}}})",
               "{{instance}}", {"0": ("no", "red"), "1": ("yes", "green")}, (8, 8)),
        lines("Failed requests a minute, by operation and kind", "What was asked of the store, and how it failed. `exists` and `not_found` are answers "
              "rather than trouble.", [(f"60 * {rate('parqueduct_store_errors_total', 'op, kind', STORE)}", "{{op}} {{kind}}")],
              unit="cpm", stacked=True),
        lines("Tried again, a minute, by operation", "Requests that failed in a way that may pass. A few are normal on S3.",
              [(f"60 * {rate('parqueduct_store_retry_total', 'op', STORE)}", "{{op}}")], unit="cpm", stacked=True),
        lines("Failed requests, by kind", "Since the processes started.",
              [(f"sum by (kind) (parqueduct_store_errors_total{{{STORE}}})", "{{kind}}")], size=(12, 8)),
        lines("Time of a flush", "From sealing to its outcome being durable: what a slow store shows in first. The line is where ParqueductFlushSlow "
              "fires, if one in ten takes longer.", quantiles("parqueduct_flush_seconds"), unit="s", bounds=[(30, "orange")], size=(12, 8)),
    )
    queue = variable("queue", "Queue", "label_values(rabbitmq_detailed_queue_messages_ready, queue)")
    return dashboard("broker-and-store", "Parqueduct: broker and store", "What Parqueduct stands between: RabbitMQ and the object store.",
                     [*VARIABLES, queue], [connections, rabbitmq, store])


BOARDS = {
    "overview": overview,
    "pipeline": pipeline,
    "dead-letters": dead_letters,
    "broker-and-store": broker_and_store,
}
