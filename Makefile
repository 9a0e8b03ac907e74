# Floodgate. `make help` lists what there is to do.

PORT ?= 6379
export PORT
# rustup's programs are not on the PATH of a shell older than rustup.
export PATH := $(PATH):$(HOME)/.cargo/bin
# CI takes Cargo.lock as it is committed.
LOCKED := $(if $(CI),--locked)

# Where cargo builds, whatever a configuration of cargo says: the scripts look there.
build run demo replay envoy package libraries images-context images-test bench bench-check monitor-test instructions: \
	export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

.DEFAULT_GOAL := help
.PHONY: help build run demo replay envoy lint advisories test test-servers test-litellm torture monitor monitor-check monitor-test bench bench-check instructions reference package libraries images-context images-test walk clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-14s %s\n' "$$name" "$$text"; done || [ $$? -eq 141 ] # a reader that stops early

# The revision is told, not looked for: the package says also whether the tree was
# changed, and one build serves all.
build: ## Build the module: target/release/libfloodgate.so
	@scripts/setup.sh
	@FLOODGATE_REVISION="$$(git describe --always --dirty --abbrev=12 2>/dev/null)" cargo build --release $(LOCKED)

run: build ## Start redis-server with the module in the foreground (PORT=6379)
	@scripts/run.sh

demo: build ## Replay a web server's log (LOG=file, LIMITS=10/s) and show who is slowed down
	@scripts/setup.sh demo
	@scripts/demo.py

# Its own profile: the module's whole-program optimisation would take minutes
# and gain nothing, for the time goes into reading. LOG is one file, whose name may
# have blanks, or names and patterns as the shell takes them.
replay: ## What would limits have done to a log? LOG=access.log LIMITS='30/m,1000/h' [FIELDS='time=ts,key=request.client_ip' BY=user TOP=n CSV=file TIMELINE=file PICTURE=file.svg]
	$(if $(LOG),,@echo 'replay: no log was given: name a file, for example LOG=access.log' >&2; exit 1)
	@scripts/setup.sh
	@if [ -x "$${CARGO_TARGET_DIR:-target}/replay/replay" ]; then quiet=--quiet; else quiet=; \
		echo 'replay: building the tool, once; that takes about two minutes' >&2; fi; \
	cargo build $$quiet --profile replay --features replay --bin replay $(LOCKED)
	@if [ -e "$$LOG" ]; then set -- "$$LOG"; else set -- $(LOG); fi; \
	"$${CARGO_TARGET_DIR:-target}/replay/replay" $(if $(LIMITS),--limits '$(LIMITS)') $(if $(BY),--by '$(BY)') \
		$(if $(FIELDS),--fields '$(FIELDS)') \
		$(if $(TOP),--top '$(TOP)') $(if $(CSV),--csv '$(CSV)') $(if $(TIMELINE),--timeline '$(TIMELINE)') \
		$(if $(PICTURE),--picture '$(PICTURE)') -- "$$@"

envoy: ## Build the rate limit service for Envoy: target/replay/floodgate-envoy (src/bin/envoy/README.md)
	@scripts/setup.sh
	@cargo build --profile replay --features envoy --bin floodgate-envoy $(LOCKED)

package: build envoy ## Build target/packages: .deb, .tar.gz, bills of materials, SHA-256 sums, the crate, and the packages for Node and Python where these are
	@scripts/setup.sh package
	@scripts/package/build.sh "$${CARGO_TARGET_DIR:-target}/release/libfloodgate.so" "$${CARGO_TARGET_DIR:-target}/packages"
	@scripts/package/envoy.sh "$${CARGO_TARGET_DIR:-target}/replay/floodgate-envoy" "$${CARGO_TARGET_DIR:-target}/packages"
	@scripts/package/node.sh "$${CARGO_TARGET_DIR:-target}/packages" || [ $$? -eq 3 ]
	@scripts/package/rust.sh "$${CARGO_TARGET_DIR:-target}/packages" || [ $$? -eq 3 ]
	@scripts/package/python.sh "$${CARGO_TARGET_DIR:-target}/packages" || [ $$? -eq 3 ]
	@scripts/package/sums.sh "$${CARGO_TARGET_DIR:-target}/packages"

libraries: ## Build the library for musl and for arm64: target/packages/libfloodgate-*.so
	@scripts/setup.sh
	@scripts/package/libraries.sh "$${CARGO_TARGET_DIR:-target}/packages"

images-context: build ## Gather what the images of scripts/images are built from: target/images
	@cd "$${CARGO_TARGET_DIR:-target}" && others=$$(ls packages/libfloodgate-*.so 2>/dev/null || true) && \
		"$(CURDIR)/scripts/images/context.sh" images release/libfloodgate.so $$others

images-test: libraries images-context ## Build the images as root, run RL.ACQUIRE in them, and load the other libraries
	@scripts/setup.sh images
	@scripts/images/test.sh "$${CARGO_TARGET_DIR:-target}/images"

test: ## Check format, lints and documentation, and run all tests; the last line is the verdict
	@LOCKED='$(LOCKED)' scripts/test.sh

lint: ## Check scripts, workflows and dependencies (shellcheck, ruff, actionlint, cargo-deny)
	@scripts/setup.sh test
	@scripts/lint/run.sh

advisories: ## Ask the database of advisories, which is fetched from elsewhere, about the dependencies
	@scripts/lint/install.sh
	@"$${FLOODGATE_CACHE:-.cache}/lint/bin/cargo-deny" --all-features --locked check advisories

test-servers: ## Run the integration tests on real servers of six versions
	@scripts/setup.sh servers
	@scripts/test-servers.sh

test-litellm: ## Run the plug-in for LiteLLM in LiteLLM and its proxy, which `make test` does not install
	@scripts/setup.sh
	@LOCKED='$(LOCKED)' scripts/test-litellm.sh

torture: ## Kill, cut, forge, fuzz and reshard on every server, and show what was lost (PARTS='kills fuzz' SERVERS=redis-7.0)
	@scripts/setup.sh torture
	@PARTS='$(PARTS)' SERVERS='$(SERVERS)' scripts/torture.sh

bench: build ## What a decision costs, beside SET and what people use today (BENCH='--help' for its options)
	@scripts/setup.sh bench
	@python3 scripts/bench $(BENCH)

monitor: ## Start exporter, Prometheus and Alertmanager beside a running server (PORT=6379)
	@scripts/setup.sh monitor
	@python3 scripts/monitoring/monitor.py

monitor-check: ## Check the monitoring files with promtool and amtool
	@scripts/setup.sh test
	cd scripts/monitoring && promtool check rules rules.yml && promtool check config prometheus.yml && \
		promtool test rules rules.test.yml && amtool check-config alertmanager.yml

monitor-test: build monitor-check ## Then make each alert fire, arrive and resolve (3 minutes)
	@scripts/setup.sh monitor
	@scripts/monitoring/check-dashboard.sh
	python3 scripts/monitoring/test.py "$${CARGO_TARGET_DIR:-target}/release/libfloodgate.so" $(PICTURE)

instructions: ## Count the instructions of a command anew: tests/instructions.txt
	@scripts/setup.sh
	cargo build $(LOCKED)
	@FLOODGATE_BUILD=debug python3 scripts/bench/instructions.py --write tests/instructions.txt

bench-check: build ## Fail when a figure misses its bound by more than the noise of the run
	@scripts/setup.sh bench
	@python3 -m unittest -q scripts/bench/test_bench.py
	@python3 scripts/bench --check --most-keys 1000000 \
		--parts visits,keys,cost,hot,windows,latency,growth,replication,memory $(BENCH)

# First the replies in the pages, then the file that is made of them.
reference: ## Run the examples of the reference, write their replies and COMMANDS.md anew
	UPDATE_REFERENCE=1 cargo test $(LOCKED) --all-features --test server reference::examples
	UPDATE_REFERENCE=1 cargo test $(LOCKED) --all-features --test server commands_md

walk: ## Do what README says in a clean Debian root, as root, and time each step (WALK_TEST=1 PORT=6379)
	@scripts/walk.sh

clean: ## Remove everything built or fetched
	cargo clean
	rm -rf .cache
