# Two commands for a newcomer: `make demo` and `make test`. Each installs what it lacks.

CARGO ?= cargo

.PHONY: help demo devnet test build deps

help:
	@echo 'make demo     found four validators here, submit, kill one, audit (a minute, once built)'
	@echo 'make devnet   keep such a consortium running in ./devnet, to play with'
	@echo 'make test     run all tests'
	@echo 'make build    build the programs quorate and quorate-node'

demo: build
	@$(CARGO) run --quiet --release --package quorate-tests --bin demo

devnet: build
	@$(CARGO) run --quiet --release --package quorate-tests --bin devnet

# The end-to-end tests start the real programs: cargo builds those before it runs anything.
test: deps
	$(CARGO) test --release --workspace --no-fail-fast

build: deps
	$(CARGO) build --release --workspace --bins

# RocksDB is compiled from source: that takes a C++ compiler and libclang.
deps:
	@sh .ci/install
