# lepto: build, run, test. `make help` lists the targets.
SHELL       := /bin/bash
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
CREATE      := $(EMBEDDED)/lepto-create.zst
INIT        := $(EMBEDDED)/lepto-init.zst
GO_SOURCES  := $(shell find cmd internal -name '*.go' -not -name '*_test.go' 2>/dev/null) go.mod go.sum
EXAMPLES    := examples/quickstart/datastore/bin/datastore examples/quickstart/api/bin/api
TEST_FLAGS  ?= -race -timeout 9m
# These start real containers and compare the host before and after: one at a time.
ON_HOST     := ./internal/backend/native/... ./internal/image/... ./test/e2e/...

.PHONY: build run test lint bench stress examples deps clean generate fuzz help

build: bin/lepto ## build bin/lepto

bin/lepto: $(GO_SOURCES) $(SUPERVISOR) $(CREATE) $(INIT)
	CGO_ENABLED=0 go build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o $@ ./cmd/lepto

# One script builds all three, static: the resident supervisor, the short-lived
# creator with libcontainer and seccomp, and the containers' init.
$(SUPERVISOR) $(CREATE) $(INIT) &: $(shell find cmd/lepto-supervisor cmd/lepto-create internal/backend internal/fault -name '*.go' -not -name '*_test.go' 2>/dev/null) $(wildcard internal/backend/native/initsrc/*.[ch]) scripts/build-supervisor.sh | deps
	./scripts/build-supervisor.sh

deps: ## install what building and testing need, from apt, where it is missing
	@./scripts/deps.sh

examples: $(EXAMPLES) ## build the programs that the examples' images hold

$(EXAMPLES): $(wildcard examples/quickstart/*/*.go)
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $@ ./$(patsubst %/bin/,%,$(dir $@))

run: build examples ## run the quickstart and leave its enclave running
	@./scripts/quickstart.sh

test: build examples ## all tests, with the race detector (root: they run containers)
	go test $(TEST_FLAGS) $$(go list ./... | grep -vxF "$$(go list $(ON_HOST))")
	go test $(TEST_FLAGS) -p 1 $(ON_HOST)

lint: ## go vet and golangci-lint
	go vet ./...
	./scripts/lint.sh

bench: build examples ## a table of timings, beside Docker's where an engine runs
	go run ./test/bench

stress: build ## 200 kills of the engine and of supervisors, at random points
	LEPTO_STRESS=200 go test -count=1 -timeout 60m -run 'TestKill' -v ./test/e2e

fuzz: ## a minute of each fuzz target (FUZZTIME=10m for longer)
	./scripts/fuzz.sh $(or $(FUZZTIME),1m)

generate: ## regenerate the wire code from proto/
	./scripts/generate.sh

clean: ## remove what was built
	rm -rf bin $(SUPERVISOR) $(CREATE) $(INIT) $(EXAMPLES)

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
