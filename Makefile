# `make help` says what there is. Everything is written below `target/` and `.parqueduct/`, which git ignores.

.DEFAULT_GOAL := help
.PHONY: help demo test chaos matrix engines check fmt bench bench-dlq overhead stack pictures fuzz

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

demo: ## carry 27,004 real flights from RabbitMQ into Parquet, and look at them
	@scripts/demo

test: ## set up what the tests need, and run all of them
	@scripts/test

chaos: ## the proof: a million events four times over, while everything around the program fails
	@scripts/chaos

matrix: ## the tests that touch a broker, on RabbitMQ 3.10 and 4.x, with classic and quorum queues
	@scripts/matrix

engines: ## six engines read one archive by the recipes of docs/query.md, and give the same answers
	@scripts/engines

stack: ## the live stack: do the alerts tell what goes wrong, and nothing else? twenty-five minutes
	@scripts/stack

pictures: ## draw the dashboards from what the last `make stack` recorded
	@scripts/pictures

check: ## the fast lane: format, clippy, unit tests
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	@scripts/nextest run --locked --lib

fmt: ## format the code
	cargo fmt

bench: ## as fast as the broker? against lapin alone, Python and DuckDB; twenty minutes. BENCH=--help tells of options
	@scripts/bench $(BENCH)

bench-dlq: ## make a million dead letters, and time finding them
	@scripts/bench-dlq

overhead: ## what the care against repeats costs while nothing goes wrong, in instructions
	@scripts/overhead

fuzz: ## ten million executions of each fuzz target; hours. FUZZ_RUNS sets another number
	@scripts/fuzz
