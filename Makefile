# The same commands that CI and the README use. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup dashboard build run test test-dashboard check openapi test-cluster test-sdk fmt fmt-check lint deny quick-tests all-tests test-edge test-arm cross deb bench load fuzz clean
SHELL := /bin/bash

# Stories that concern no store: they need not run on PostgreSQL as well.
NO_STORE := cameras:: deploy:: detection:: inference:: manifests:: postgres:: ranks:: rtsp:: strangers::
# Stories that keep both cores busy for a minute and more: of many commands, deliveries, statuses.
SLOW := schemathesis:: all_that_a_device_missed ten_thousand_deliveries every_status
# Most stories wait for a program, a clock or a disk: more of them at once than there are cores.
STORIES := --test-threads 10
FUZZ_TARGETS := frame frame_stream join_token ids task_parse
FUZZ_SECONDS ?= 30
# What the dashboard is built from; the types of the API are made while it is built.
PAGES := hub/dashboard
PAGES_FROM := $(shell find $(PAGES)/src $(PAGES)/public -type f ! -name schema.ts) docs/openapi.json \
	$(addprefix $(PAGES)/,index.html pack.mjs package.json tsconfig.json vite.config.ts)
# Node.js that deploy/setup.sh fetched comes before an older one of the system.
NPM := PATH="$(CURDIR)/.cache/node/bin:$$PATH" PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm --prefix $(PAGES)
DEB_ARCH ?= $(shell dpkg --print-architecture 2>/dev/null)
AGENT_VERSION = $$(cargo metadata --no-deps --format-version 1 | jq -r '.packages[] | select(.name == "cloudcore-agent").version')

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install system packages, fetch the model and the photographs
	deploy/setup.sh

dashboard: $(PAGES)/dist/index.html ## Build the dashboard, which cargo then puts into the hub

$(PAGES)/dist/index.html: $(PAGES)/node_modules/.package-lock.json $(PAGES_FROM)
	$(NPM) run --silent build

$(PAGES)/node_modules/.package-lock.json: $(PAGES)/package-lock.json
	deploy/setup.sh dashboard
	$(NPM) ci --no-audit --no-fund
	touch $@

build: dashboard ## Build hub and agent, optimised but without link-time optimisation
	cargo build --profile quick -p cloudcore-hub -p cloudcore-agent

run: setup build ## Start a hub and an agent that has joined it, on this machine
	deploy/run.sh

test: ## Set up and run all tests, on SQLite and on PostgreSQL
	deploy/setup.sh test
	@$(MAKE) --no-print-directory all-tests

check: ## While you work: format, lints, dependencies, and all tests but the slow and PostgreSQL's
	deploy/setup.sh test
	@$(MAKE) --no-print-directory fmt-check
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory deny
	@$(MAKE) --no-print-directory quick-tests

openapi: ## Write docs/openapi.json, which a test compares
	cargo build --workspace --bins
	target/debug/cloudcore-hub openapi > docs/openapi.json

fmt: ## Format the sources
	cargo fmt --all

fmt-check:
	cargo fmt --all --check

lint: ## Clippy, with warnings as errors
	cargo clippy --workspace --all-targets -- -D warnings

deny: ## Check licences, banned and duplicate crates, sources, advisories
	cargo deny check licenses bans sources
	deploy/advisories.sh

# The end-to-end tests start the binaries, and `cargo test` alone does not build those.
quick-tests: dashboard
	cargo build --workspace --bins
	cargo test --workspace -- $(STORIES) $(addprefix --skip ,$(SLOW))

all-tests: dashboard
	cargo build --workspace --bins
	cargo test --workspace -- $(STORIES)
	CLOUDCORE_TEST_DB=postgres cargo test --package cloudcore-tests --test it -- $(STORIES) \
		$(addprefix --skip ,$(NO_STORE))

test-dashboard: dashboard ## The dashboard in Chromium, with a real hub and real agents, and a picture of each page
	deploy/setup.sh test
	cargo build --workspace --bins
	$(NPM) test

test-cluster: ## The stories of the cluster on the API server of KUBECONFIG_TEST, or on a scripted one
	cargo build --workspace --bins
	cargo test --package cloudcore-tests --test it -- cluster:: $(if $(KUBECONFIG_TEST),--test-threads 1)

test-sdk: ## The Python SDK: lints, types, tests on a real hub, packages; SDK_PYTHON=python3.9 for another Python
	deploy/setup.sh sdk
	$(if $(CLOUDCORE_BIN),,cargo build --workspace --bins)
	SDK_PYTHON=$(SDK_PYTHON) sdk/python/check.sh

test-edge: ## The edge in rigs of its own, each a line: emulated machines take minutes
	deploy/setup.sh edge
	cargo build --workspace --bins
	target/debug/vm-cameras
	tests/edge/systemd.sh

test-arm: ## The agent for a Raspberry Pi, built, and emulated beside a hub of this machine
	deploy/setup.sh arm
	cargo build --workspace --bins
	CARGO_PROFILE_DEV_DEBUG=false deploy/cross.sh --bin cloudcore-agent
	target/debug/arm-agent

cross: ## The agent for a 64-bit Raspberry Pi, into target/aarch64-unknown-linux-gnu/release
	deploy/setup.sh cross
	deploy/cross.sh --release --bin cloudcore-agent

deb: ## A Debian package of the agent into target/deb; DEB_ARCH=arm64 for a Raspberry Pi
ifeq ($(DEB_ARCH),$(shell dpkg --print-architecture 2>/dev/null))
	cargo build --release -p cloudcore-agent --bin cloudcore-agent
	deploy/deb/build.sh $(AGENT_VERSION) $(DEB_ARCH) target/release/cloudcore-agent target/deb
else
	@$(MAKE) --no-print-directory cross
	deploy/deb/build.sh $(AGENT_VERSION) arm64 target/aarch64-unknown-linux-gnu/release/cloudcore-agent target/deb
endif

bench: ## Detection, command round trip and footprint, each beside a peer
	deploy/setup.sh bench
	@$(MAKE) --no-print-directory build
	cargo build --release -p cloudcore-agent --bin cloudcore-agent --no-default-features
	cp target/release/cloudcore-agent target/release/cloudcore-agent-small
	cargo build --release -p cloudcore-agent --bin cloudcore-agent
	cargo run --profile quick -p cloudcore-tests --bin bench

load: ## A hub under ten thousand agents, for LOAD="--agents 1000 --seconds 30 ..." fewer
	deploy/setup.sh test
	@$(MAKE) --no-print-directory build
	cargo run --profile quick -p cloudcore-tests --bin load -- $(LOAD)

fuzz: ## Fuzz each decoder for FUZZ_SECONDS; needs nightly and cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
		cargo +nightly fuzz run --fuzz-dir protocol/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

clean: ## Remove what was built; keeps .cache with model, photographs and the state of `make run`
	cargo clean
