# `make` alone lists the targets. What needs root uses sudo when not root.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)
BENCH   ?= .
N       ?= 10000

export PATH := $(PATH):/usr/sbin:/sbin:/usr/local/go/bin

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/nlbd, bin/nlbctl and bin/nlblab (needs Go only)
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: demo
demo: build ## the whole thing on one machine; ARGS="--mode igmp"
	@$(SUDO) scripts/install-deps demo
	$(SUDO) bin/nlblab demo $(ARGS)

.PHONY: test
test: ## run all tests, as root; a skipped test is a failure
	@$(SUDO) scripts/install-deps
	scripts/test

.PHONY: soak
soak: ## run all tests with the long acceptance series
	@$(SUDO) scripts/install-deps
	NLB_SOAK=1 scripts/test

.PHONY: check
check: format vet lint generated tidy shellcheck ## formatting, vet, lint, generated files, go.mod, scripts

.PHONY: format
format:
	@unformatted=$$(find . -name '*.go' -not -path './.git/*' -exec gofmt -l {} +); \
	[ -z "$$unformatted" ] || { echo "Run gofmt -w on: $$unformatted" >&2; exit 1; }

.PHONY: vet
vet:
	go vet ./...
	go vet -tags sim ./converge

.PHONY: lint
lint: ## run golangci-lint, as configured in .golangci.yml
	scripts/lint

.PHONY: generate
generate: ## generate the eBPF objects and bindings again (Debian 12's clang)
	go generate ./...

.PHONY: generated
generated:
	scripts/check-generated

.PHONY: tidy
tidy:
	go mod tidy -diff

.PHONY: shellcheck
shellcheck:
	grep -rlE '^#!.*(ba)?sh' scripts .ci deploy | xargs shellcheck

.PHONY: bench
bench: ## run the benchmarks; BENCH=regexp chooses
	go test -run='^$$' -bench='$(BENCH)' -benchmem $(if $(SUDO),-exec='$(SUDO) env PATH=$(PATH)') ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (default 30s)
	scripts/fuzz

.PHONY: sim
sim: ## simulate N random schedules of the agreement protocol (default 10000)
	go test -tags sim ./converge -run='^TestSimulation$$' -count=1 -timeout=0 -v -sim.n=$(N)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
