# What people and CI run. `make demo` needs Rust and apt only; `make test` installs what the tests need.

CARGO ?= cargo
# Tests that run at once: each may start a proxy, and some start a cluster of their own.
TEST_THREADS ?= 4
# Part of a test's name, to run only those: make e2e ONLY=failover
ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help demo test unit e2e e2e-build setup lint file-length deny bench regress oracle fuzz differential isolation freshness

help:
	@echo "make demo    a primary, two replicas and pgconvoy on 127.0.0.1:5430, until Ctrl-C"
	@echo "make test    everything that is tested (installs PostgreSQL and the drivers if missing)"
	@echo "make lint    formatting, clippy, dependencies, file lengths"
	@echo "make regress PostgreSQL's own regression suite, direct and through pgconvoy, and the difference;"
	@echo "             with reads split: REPLICAS=2 MODE=remote_apply|async"
	@echo "make oracle  what would go to a replica is run on one, and compared with the primary: nothing may differ"
	@echo "make fuzz    the router's fuzz targets: SECONDS=60 for each (needs cargo-fuzz and a nightly compiler)"
	@echo "make differential made-up pipelines, direct and through pgconvoy: COUNT=50000 SEED=1"
	@echo "make isolation 200 clients' session state over 5 server connections: SECONDS=60 SEED=1"
	@echo "make freshness inserts read back by 50 clients while replay stands still: SECONDS=60"
	@echo "make bench   the same load direct, through pgbouncer and through pgconvoy"

demo:
	@scripts/setup.sh server
	$(CARGO) build --release -p pgconvoy
	@scripts/demo.sh

setup:
	@scripts/setup.sh tests

test: setup unit e2e

# Unit tests, and the harness' and the benches' own: all that needs no pgconvoy binary.
unit:
	$(CARGO) test --workspace --exclude pgconvoy-tests

e2e-build:
	$(CARGO) build -p pgconvoy --profile e2e

e2e: setup e2e-build
	$(CARGO) test -p pgconvoy-tests -- --test-threads $(TEST_THREADS) $(ONLY)

lint: file-length deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

file-length:
	@scripts/file-length.sh

deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "lint: cargo-deny is not installed: deny.toml is NOT checked (cargo install cargo-deny)"; fi

# Under 15 minutes after the build; make bench QUICK=1 under 3. More: scripts/bench.sh --help.
bench:
	@scripts/bench.sh $(if $(QUICK),--quick)

# One minute after the build; make regress ONLY="date guc" runs some of it.
regress:
	$(CARGO) build --release -p pgconvoy
	@REPLICAS=$(or $(REPLICAS),0) MODE=$(or $(MODE),remote_apply) scripts/regress.sh $(ONLY)

# A quarter of an hour; make oracle ONLY="date guc" looks at some of it.
oracle:
	$(CARGO) build --release -p pgconvoy
	$(CARGO) build --profile e2e -p pgconvoy-tests --bin oracle
	@scripts/oracle.sh $(ONLY)

# make fuzz ONLY=lexer runs one of them.
fuzz: SECONDS = 60
fuzz:
	@FUZZ_SECONDS=$(SECONDS) scripts/fuzz.sh $(ONLY)

# Each difference is told once, with the shortest session that shows it. The same seed makes the same sessions.
COUNT ?= 50000
SEED ?= 1
SESSION ?=
differential: setup e2e-build
	DIFFERENTIAL_COUNT=$(COUNT) DIFFERENTIAL_SEED=$(SEED) DIFFERENTIAL_SESSION=$(SESSION) \
		$(CARGO) test -p pgconvoy-tests -- --test-threads 1 differential

# bash counts in a variable of this name: it has to come from make's command line.
isolation: SECONDS = 60
isolation: setup e2e-build
	ISOLATION_SECONDS=$(SECONDS) ISOLATION_SEED=$(SEED) $(CARGO) test -p pgconvoy-tests -- --test-threads 1 isolation

freshness: SECONDS = 60
freshness: setup e2e-build
	FRESHNESS_SECONDS=$(SECONDS) $(CARGO) test -p pgconvoy-tests -- --nocapture no_read_is_stale
