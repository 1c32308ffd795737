# `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
WASM := --manifest-path plugins/Cargo.toml --target wasm32-wasip2
BUILT := plugins/target/wasm32-wasip2/release
PLUGINS := cart order
GUESTS := $(notdir $(patsubst %/,%,$(wildcard tests/guests/*/)))
# How often each part of the host runs under load, and where the one that counts leaves what it
# counted. What has changed since is compiled as if it had no count.
PROFILE := host/hotdock.profdata.gz
COUNTS := $(CURDIR)/target/counting/counts
UNUSED := target/tools/bin/cargo-machete
BOOK := target/tools/bin/mdbook
# Where `make install` puts the host.
PREFIX ?= $(HOME)/.local

# Cargo says what it compiles, but not that there was nothing to do.
unless_idle = 2>&1 | { grep --line-buffered -v '^ *Finished ' || true; }

.PHONY: help setup run quick build host install docs profile plugins guests other-guests registry slowhttptest test soak slow api bench instructions lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## add the toolchain's wasm32-wasip2 target if it isn't there
	@bash .ci/wasm-target.sh

run: quick plugins ## build everything quickly, then serve cart and order on 127.0.0.1:8080
	@exec target/debug/hotdock up target/plugins

quick: ## target/debug/hotdock: not optimised, built in a fraction of the time
	@$(CARGO) build --bin hotdock $(unless_idle)

build: host plugins ## the optimised target/release/hotdock, and target/plugins/ with cart and order

host: ## the optimised target/release/hotdock
	@used=$$(bash .ci/place-profile.sh $(PROFILE)); \
	RUSTFLAGS="$${RUSTFLAGS-} -Cprofile-use=$$used -Cllvm-args=-no-pgo-warn-mismatch" \
	    $(CARGO) build --release --bin hotdock $(unless_idle)

install: host ## the optimised host in ~/.local/bin, or PREFIX/bin, without its symbols
	@install -d '$(PREFIX)/bin' '$(PREFIX)/lib/debug'
	@objcopy --only-keep-debug target/release/hotdock '$(PREFIX)/lib/debug/hotdock.debug'
	@objcopy --strip-all --add-gnu-debuglink='$(PREFIX)/lib/debug/hotdock.debug' \
	    target/release/hotdock '$(PREFIX)/bin/hotdock'
	@echo 'installed $(PREFIX)/bin/hotdock; its symbols are in $(PREFIX)/lib/debug/hotdock.debug'

docs: $(if $(shell command -v mdbook),,$(BOOK)) ## target/book/index.html, the documentation as a book
	@PATH="$$PWD/target/tools/bin:$$PATH" mdbook build docs

profile: plugins guests other-guests ## count how often each part of the host runs, for `make host` to compile by
	@RUSTFLAGS="$${RUSTFLAGS-} -Cprofile-generate=$(COUNTS)" CARGO_TARGET_DIR=target/counting \
	    $(CARGO) build --release --bin hotdock $(unless_idle)
	@rm -rf $(COUNTS)
	@python3 -B tests/bench/train.py target/counting/release/hotdock $(COUNTS) $(PROFILE)

plugins: setup ## target/plugins/<name>.wasm and <name>.toml
	@$(CARGO) build --release $(WASM) $(addprefix -p ,$(PLUGINS)) $(unless_idle)
	@for name in $(PLUGINS); do \
	    bash .ci/place.sh plugins/$$name/$$name.toml $(BUILT)/$$name.wasm target/plugins; \
	done

guests: setup ## target/test-guests/<name>.wasm, the components that tests deploy
	@$(CARGO) build --release $(WASM) $(addprefix -p ,$(GUESTS)) $(unless_idle)
	@for name in $(GUESTS); do \
	    manifest=tests/guests/$$name/$$name.toml; \
	    [ -e $$manifest ] || manifest=; \
	    bash .ci/place.sh $$manifest $(BUILT)/$$name.wasm target/test-guests; \
	done

other-guests: ## target/test-guests/js.wasm and py.wasm, where npm and pip are there
	@bash tests/guests-other/build.sh

registry: ## target/tools/bin/docker-registry, where it isn't on PATH and apt has it
	@bash .ci/docker-registry.sh

slowhttptest: ## target/tools/bin/slowhttptest, where it isn't on PATH and apt has it
	@bash .ci/slowhttptest.sh

test: plugins guests other-guests registry slowhttptest ## build everything, then run all tests
	@$(CARGO) test --quiet --manifest-path plugins/Cargo.toml
	@if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run; else $(CARGO) test; fi

soak: plugins guests ## crash, cut the power and fail 1 000, 300 and 2 000 times; an hour of mixed load; 30 minutes of SQL
	@HOTDOCK_SOAK=1 $(CARGO) nextest run --cargo-quiet --profile soak --no-capture \
	    -E 'test(/^events::(crash|faults|power)::/) | test(/^ends::soak::/)'
	@HOTDOCK_FUZZ_SECONDS=1800 $(CARGO) nextest run --cargo-quiet --profile soak --no-capture \
	    -E 'test(/^state::fuzz::/)'

slow: guests slowhttptest ## attack with slowhttptest in its four modes, with 4 000 connections for a minute each
	@HOTDOCK_SLOW=1 $(CARGO) nextest run --cargo-quiet --profile soak --no-capture \
	    -E 'test(/^http::slow::/)'

# The host as the tests have it: by itself it would be compiled anew, with all that it needs.
api: guests ## ask the admin API all that its document allows, and much that it doesn't
	@$(CARGO) build --tests $(unless_idle)
	@python3 -B tests/api/run.py

bench: build guests other-guests ## measure beside others that can do the same; QUICK=1: 5 minutes
	@$(CARGO) build --release -p native $(unless_idle)
	@python3 -B tests/bench/run.py

instructions: host plugins guests ## count a request's instructions, compare with the record; UPDATE=1: renew it
	@python3 -B tests/bench/instructions.py

lint: setup $(if $(shell command -v cargo-machete),,$(UNUSED)) ## format, clippy, documentation, unused dependencies
	@$(CARGO) fmt --all --check
	@$(CARGO) fmt --all --check --manifest-path plugins/Cargo.toml
	@$(CARGO) clippy --workspace --all-targets -- -D warnings $(unless_idle)
	@$(CARGO) clippy --workspace $(WASM) -- -D warnings $(unless_idle)
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps $(unless_idle)
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps $(WASM) $(unless_idle)
	@for folder in host plugins tests/bench/native tests/guests; do \
	    PATH="$$PWD/target/tools/bin:$$PATH" $(CARGO) machete $$folder; \
	done

$(BOOK):
	@$(CARGO) install --quiet --root target/tools --locked mdbook

$(UNUSED):
	@$(CARGO) install --quiet --root target/tools --locked cargo-machete

clean: ## remove everything that was built
	@rm -rf target plugins/target
