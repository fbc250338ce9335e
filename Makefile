# What a person or a machine does with this project. `make` alone tells.

# Servers and nbd-client lie in sbin, which a user's PATH may lack.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

CARGO ?= cargo

.PHONY: help run peers test test-waiting test-computing lint fmt bench golden made

help:
	@echo 'make run     test the reference server with every scenario'
	@echo 'make test    everything that must hold before a change lands; installs the peers if it may'
	@echo 'make lint    formatting and lints only'
	@echo 'make fmt     format'
	@echo 'make bench   measure'
	@echo 'make golden  record the golden captures again and accept what they decode to'
	@echo 'make made    write golden/made and the seeds of the fuzz target for TLS again'
	@echo 'make peers   install the programs that the tests run against'

run:
	$(CARGO) run --release -- run

peers:
	@.ci/peers install

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings

# Many tests wait for servers that are slow to answer: without nextest, more run than there are cores.
# A test passes over a program that is missing, unless NBDCHECK_REQUIRE_PEERS names it.
test: peers lint
	export NBDCHECK_REQUIRE_PEERS="$$(.ci/peers list)"; \
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked --workspace --all-features --profile ci \
	  && $(CARGO) test --locked --workspace --all-features --doc --quiet; \
	else \
	  $(CARGO) test --locked --workspace --all-features --no-run \
	  && $(MAKE) --no-print-directory --jobs=2 --output-sync=target test-waiting test-computing \
	  && $(CARGO) test --locked --workspace --all-features --doc --quiet; \
	fi

# Without nextest: the tests that mostly wait for servers, beside all others.
WAITING := strangers strange_clients
COMPUTING := $(filter-out $(WAITING),$(sort $(basename $(notdir $(wildcard */tests/*.rs)))))

test-waiting:
	RUST_TEST_THREADS=4 $(CARGO) test --locked --workspace --all-features $(WAITING:%=--test %)

test-computing:
	RUST_TEST_THREADS=3 $(CARGO) test --locked --workspace --all-features --lib --bins --examples $(COMPUTING:%=--test %)

fmt:
	$(CARGO) fmt --all

# Takes minutes and 5 GB in the temporary directory; dissector/benches/decode.rs tells how to make it smaller.
bench:
	$(CARGO) build --release
	NBDCHECK="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/nbdcheck" $(CARGO) bench --package nbdcheck-dissector --bench decode

# Needs root. Look at the changed snapshots before you commit them: each line is a claim.
golden: peers
	$(CARGO) build --release
	NBDCHECK="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/nbdcheck" golden/record.sh
	INSTA_UPDATE=always $(CARGO) test --package nbdcheck-dissector --test golden

# What is made from code: tests say when it must be made again.
made:
	$(CARGO) test --package nbdcheck-dissector --lib --test golden -- --ignored make_captures make_tls_seeds
