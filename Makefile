# What a person or a machine does with this project. `make` alone tells.

# Servers and nbd-client lie in sbin, which a user's PATH may lack.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

CARGO ?= cargo

.PHONY: help run peers test lint fmt bench golden

help:
	@echo 'make run     test the reference server with every scenario'
	@echo 'make test    everything that must hold before a change lands; installs the peers if it may'
	@echo 'make lint    formatting and lints only'
	@echo 'make fmt     format'
	@echo 'make bench   measure'
	@echo 'make golden  record the golden captures again and accept what they decode to'
	@echo 'make peers   install the programs that the tests run against'

run:
	$(CARGO) run --release -- run

# program:package, as Debian names them. Libraries are looked up below.
PROGRAMS = qemu-nbd:qemu-utils qemu-img:qemu-utils qemu-io:qemu-utils qemu-storage-daemon:qemu-utils \
  nbdkit:nbdkit nbd-server:nbd-server nbd-client:nbd-client nbdinfo:libnbd-bin nbdcopy:libnbd-bin \
  nbdsh:python3-libnbd tshark:tshark tcpdump:tcpdump fio:fio certtool:gnutls-bin psktool:gnutls-bin \
  pkg-config:pkg-config cc:gcc ip:iproute2
LIBRARIES = libpcap:libpcap-dev openssl:libssl-dev

# Prints the packages of what is missing.
define missing
{ for pair in $(PROGRAMS); do command -v "$${pair%%:*}" >/dev/null || echo "$${pair#*:}"; done; \
  for pair in $(LIBRARIES); do pkg-config --exists "$${pair%%:*}" 2>/dev/null || echo "$${pair#*:}"; done; \
} | sort -u | xargs
endef

peers:
	@packages=$$($(missing)); \
	if [ -z "$$packages" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "missing: $$packages" >&2; \
	  echo "hint: as root, \`apt-get install $$packages\`" >&2; exit 1; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -q >/dev/null && apt-get install -qy --no-install-recommends $$packages >/dev/null || exit 1; \
	packages=$$($(missing)); \
	if [ -n "$$packages" ]; then echo "still missing after the installation: $$packages" >&2; exit 1; fi

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings

# With NBDCHECK_REQUIRE_PEERS a test fails, rather than passes, for lack of a program.
test: peers lint
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  NBDCHECK_REQUIRE_PEERS=1 $(CARGO) nextest run --locked --workspace --all-features --profile ci \
	  && $(CARGO) test --locked --workspace --all-features --doc --quiet; \
	else \
	  NBDCHECK_REQUIRE_PEERS=1 $(CARGO) test --locked --workspace --all-features; \
	fi

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
