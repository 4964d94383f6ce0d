# lepto: build, run, test. `make help` lists the targets.
SHELL       := /bin/bash
# What tests need of nftables, iproute2 and iptables is not in everybody's PATH.
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin
# Go asks git about the tree, which refuses where somebody else owns it.
export GOFLAGS += -buildvcs=false
.DEFAULT_GOAL := build

VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X main.version=$(VERSION)
# grpc is linked for a few types in the wire API's generated code. Its tracing
# draws in html/template, which calls methods by name: with it the linker must
# keep every exported method of all packages. Without it the binary is 6 MB
# smaller and starts 2 ms sooner.
TAGS        := grpcnotrace
EMBEDDED    := internal/backend/native/embedded/bin
SUPERVISOR  := $(EMBEDDED)/lepto-supervisor.zst
FILTER      := $(EMBEDDED)/lepto-filter.zst
INIT        := $(EMBEDDED)/lepto-init.zst
COMPOSE     := internal/source/composer/bin/lepto-compose.zst
WHOLE       := internal/cli/whole/bin/lepto.zst
GO_SOURCES  := $(shell find cmd internal -name '*.go' -not -name '*_test.go' 2>/dev/null) go.mod go.sum
EXAMPLES    := examples/quickstart/datastore/bin/datastore examples/quickstart/api/bin/api
TEST_FLAGS  ?= -race -timeout 30m
# With the race detector a program sleeps a second at its end, so that races of
# what goes on meanwhile are seen. There are many programs.
export GORACE ?= atexit_sleep_ms=50
# These start real containers and compare the host before and after: one at a time.
ON_HOST     := ./internal/backend/native/... ./internal/image/... ./test/e2e/...

.PHONY: build run test test-vm test-vm-quick conformance conformance-packages lint bench stress examples examples-test deps clean generate fuzz peak large help

build: bin/lepto ## build bin/lepto

# What users start is lepto's front, with all of lepto inside (internal/cli/front.go).
# go build without the tag makes all of it, which behaves the same.
bin/lepto: $(GO_SOURCES) $(WHOLE)
	CGO_ENABLED=0 go build -trimpath -tags '$(TAGS) front' -ldflags '$(LDFLAGS)' -o $@ ./cmd/lepto

$(WHOLE): $(GO_SOURCES) $(SUPERVISOR) $(FILTER) $(INIT) $(COMPOSE)
	CGO_ENABLED=0 go build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o bin/whole/lepto ./cmd/lepto
	go run ./internal/backend/native/embedded/compress -fast $(@D) bin/whole/lepto
	@touch $@

# One script builds all three, static: the resident supervisor, the compiler of
# system call filters, and the containers' init.
$(SUPERVISOR) $(FILTER) $(INIT) &: $(shell find cmd/lepto-supervisor cmd/lepto-filter internal/backend internal/fault -name '*.go' -not -name '*_test.go' 2>/dev/null) $(wildcard internal/backend/native/initsrc/*.[ch] internal/backend/native/filter/*.[ch]) scripts/build-supervisor.sh | deps
	./scripts/build-supervisor.sh

# The reader of compose files is a program apart, for its library's start-up time.
$(COMPOSE): $(wildcard cmd/lepto-compose/*.go internal/compose/*.go internal/fault/*.go) go.mod
	mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o bin/lepto-compose ./cmd/lepto-compose
	go run ./$(EMBEDDED)/../compress $(@D) bin/lepto-compose
	@touch $@

deps: ## install what building and testing need, from apt, where it is missing
	@./scripts/deps.sh

examples: $(EXAMPLES) ## build the programs that the examples' images hold

$(EXAMPLES): $(wildcard examples/quickstart/*/*.go)
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $@ ./$(patsubst %/bin/,%,$(dir $@))

examples-test: build ## run the examples' packages on real software, from a registry of their own
	./scripts/examples-test.sh

run: build examples ## run the quickstart and leave its enclave running
	@./scripts/quickstart.sh

test: build examples ## all tests, with the race detector (root: they run containers)
	go test $(TEST_FLAGS) $$(go list ./... | grep -vxF "$$(go list $(ON_HOST))")
	go test $(TEST_FLAGS) -p 1 $(ON_HOST)
	CGO_ENABLED=0 go test -trimpath -tags '$(TAGS)' -run '^TestPeakMemory$$' ./internal/lang

conformance-packages: ## compare plans of public packages (CONFORMANCE_PACKAGES=FILE PACKAGES_DIR=DIR)
	@: $(or $(CONFORMANCE_PACKAGES),$(error CONFORMANCE_PACKAGES names no file of packages))
	go run ./test/conformance

conformance: ## compare plans and errors with recorded ones (CONFORMANCE_CASES=FILE for others)
	go run ./test/conformance

# All takes half an hour and more; a narrow run is
#   make test-vm PACKAGES=./internal/backend/native/supervise RUN=TestPause CGROUP=scope
# (see go doc ./test/vm).
PACKAGES    ?= ./internal/backend/native/... ./test/e2e
CGROUP      ?= v2
VM_FLAGS    ?=
test-vm: $(SUPERVISOR) $(FILTER) $(INIT) ## tests in a virtual machine: cgroup v2, netem (PACKAGES, RUN, CGROUP)
	@./scripts/deps.sh vm
	go run ./test/vm -cgroup '$(CGROUP)' -run '$(RUN)' $(VM_FLAGS) $(PACKAGES)

# What the gate runs of it: what depends on the cgroup layout (limits, pausing,
# devices, exec, stopping), on v2 and in a container on v2; links shaped by netem,
# the end-to-end scenarios included; and a whole run by the binary that users have.
VM_QUICK    := Limit|Cgroups|Pause|Privileged|Device|TestExec\b|TestStop|TestProbe|TestQuickstart|TestContract/resources|TestContract/pause|TestWhoStarted
VM_LINKS    := TestContract/links|TestNetem|TestRules|TestCasts|TestLargeDatagrams|TestNoPacketSlips|TestRedirections|TestNormalTable|TestClassicScenarios|TestConnectionRules|TestDelayAndLoss|TestBlockedIs|TestNoFirstPacket|TestLinksSurvive|TestRollbackKeeps|TestScheduledFaults
test-vm-quick: ## some ten minutes of test-vm: what the gate runs
	$(MAKE) --no-print-directory test-vm CGROUP=v2 RUN='$(VM_QUICK)|$(VM_LINKS)' VM_FLAGS='-timeout 25m' \
		PACKAGES='./internal/backend/native ./internal/backend/native/shape ./internal/backend/native/supervise ./internal/backend/native/supervisor ./test/e2e'
	$(MAKE) --no-print-directory test-vm CGROUP=container RUN='$(VM_QUICK)' PACKAGES='./internal/backend/native/supervise ./test/e2e'

lint: ## go vet and golangci-lint
	go vet ./...
	./scripts/lint.sh

bench: build examples ## a table of timings, beside Docker's where an engine runs
	go run ./test/bench

examples/split-brain/etcd/bin: scripts/etcd.sh
	./scripts/etcd.sh $@

split-brain: build examples/split-brain/etcd/bin ## cut a leader of etcd off, heal, and check what each side did
	go test -count=1 -run TestSplitBrain -v ./test/e2e

test-netem: ## links shaped by netem, in a virtual machine whose kernel has it: contract and scenarios
	$(MAKE) --no-print-directory test-vm PACKAGES="./internal/backend/native ./internal/backend/native/shape ./test/e2e" RUN='$(VM_LINKS)|TestProbe' VM_FLAGS='-timeout 25m'

bench-links: build ## how well links are shaped, and what it costs (BENCH_FLAGS=-strict on a calm machine)
	go run ./test/links/bench $(BENCH_FLAGS)

stress: build ## 200 kills of the engine and of supervisors, at random points; 500 services in one batch; 50 orders of a tree
	LEPTO_MANY=500 go test -count=1 -timeout 10m -run 'TestManyServices' -v ./test/e2e
	LEPTO_STRESS=200 go test -count=1 -timeout 60m -run 'TestKill|TestParallelTakesTheCriticalPath' -v ./test/e2e

large: build ## an artifact of 2 GiB up, into a service and down, in constant memory (needs 7 GB of disk)
	LEPTO_LARGE=2048 go test -count=1 -timeout 20m -run 'TestLargeArtifact' -v ./test/e2e

peak: ## the most memory that scripts get, at the limit they have by default
	LEPTO_TEST_PEAK_FULL=1 go test -run '^TestPeakMemory$$' -v ./internal/lang

fuzz: ## a minute of each fuzz target (FUZZTIME=10m for longer)
	./scripts/fuzz.sh $(or $(FUZZTIME),1m)

generate: ## regenerate the wire code from proto/
	./scripts/generate.sh

clean: ## remove what was built
	rm -rf bin $(SUPERVISOR) $(FILTER) $(INIT) $(COMPOSE) $(WHOLE) $(EXAMPLES)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24
