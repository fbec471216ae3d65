# CI runs these targets. The tests find or start a PostgreSQL server by
# themselves: see "Where the server comes from" in README.md.

GO         ?= go
ITERATIONS ?= 1
BENCHTIME  ?= 1s
FUZZTIME   ?= 20s
PROGRAMS   ?= 10000
SOAKTIME   ?= 10m
ROWS       ?= 10000000
EDITS      ?=
GIT_EVENTS ?=

# What the race detector is for: packages, and tests of others, in which goroutines share
# something. RACE_RUN=. runs all tests of the others.
RACED     = ./audit ./internal/pgpipe ./internal/plan ./internal/sqllex ./internal/pace ./tests/suspension ./tests/walls
RACE_RUN ?= Concurrent|Stress|Horizon|Tx|Order|Stale|Late|Open|Captured|Cancel|Hot|Count

GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
SHIPPED       = ./models,./tenancy,./audit,./migrate,./lifecycle,./internal/...

.DEFAULT_GOAL := help
.PHONY: help test newest race shipped beside guards lint fmt bench performance demo retention soak cover fuzz

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## Run the tests
	$(GO) test ./...

newest: ## Run the tests of what is sent otherwise to PostgreSQL 18 (COURTROLL_PG_BIN picks the server)
	$(GO) test ./audit/audittest ./tests/replay
	$(GO) test -run 'Capture|Audit|Trail|Budget|Secrets|Doctor_Sound' ./tests ./migrate

race: ## Run with the race detector the tests in which goroutines share something
	$(GO) test -race -timeout 20m $(RACED)
	$(GO) test -race -timeout 20m ./tests/noninterference -programs 40
	$(GO) test -race -timeout 20m -run '$(RACE_RUN)' ./tests ./tests/replay

beside: ## Run the tests beside other plugins, which are a module of their own
	cd tests/plugins && $(GO) test ./...

guards: ## Remove each guard of tenancy in turn: generated programs have to find the hole
	$(GO) test -count=1 -tags courtroll_unguarded -run TestGuards -v ./tests/noninterference

shipped: ## Build the packages that apps import
	$(GO) build ./models ./tenancy/... ./audit/... ./migrate ./lifecycle

lint: ## Check formatting, go.mod and the rules of .golangci.yml
	$(GO) mod tidy -diff
	$(GO) run $(GOLANGCI_LINT) run ./...

fmt: ## Format the code
	$(GO) run $(GOLANGCI_LINT) fmt ./...

bench: ## Run the benchmarks ITERATIONS times, each for BENCHTIME (1x: once)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -count $(ITERATIONS) ./tests

performance: ## Measure the walls and the trail against plain GORM and write docs/performance.md (10 minutes)
	$(GO) test -count=1 -timeout 1h -v ./tests/performance -pages 100000 -rounds 400 -update

demo: ## Run the examples: replay real edits, attack the walls, serve two tenants, export a month, take a tenant from first to last day, adopt a table in use, break walls and cure them
	$(GO) run ./examples/quickstart
	$(GO) run ./examples/walls
	$(GO) run ./examples/service
	$(GO) run ./examples/export
	$(GO) run ./examples/lifecycle
	$(GO) run ./examples/adopt -rows 100000
	DATABASE_URL= $(GO) run ./examples/doctor

retention: ## Delete half of ROWS entries of the trail beside live inserts, and measure these (10 minutes)
	$(GO) test -count=1 -timeout 1h -v ./tests/retention -rows $(ROWS)

soak: ## Run PROGRAMS generated programs behind each form of walls and of the trail, the files EDITS and GIT_EVENTS, and two tenants and crashes for SOAKTIME each
	$(GO) test -count=1 -timeout 2h -run TestNonInterference -v ./tests/noninterference -programs $(PROGRAMS)
	$(GO) test -count=1 -timeout 4h -v ./tests/replay -programs $(PROGRAMS) -edits '$(abspath $(EDITS))' -git-events '$(abspath $(GIT_EVENTS))'
	$(GO) test -count=1 -timeout 1h -v ./tests/reading -rows 1000000 -edits '$(abspath $(EDITS))' -git-events '$(abspath $(GIT_EVENTS))'
	$(GO) test -count=1 -timeout 12h -run 'Stress$$' -v ./tests/walls -stress $(SOAKTIME)
	$(GO) test -count=1 -timeout 12h -v ./tests/durability -crash $(SOAKTIME)

cover: ## Write the tests' coverage of the packages to cover.out and print it
	$(GO) test -coverpkg=$(SHIPPED) -coverprofile=cover.out ./...
	$(GO) tool cover -func=cover.out | tail -n 1

fuzz: ## Run each fuzz test for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done
