# Everything is built the same way as the distribution's builder does it, so that one build cache serves all.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false

TOOL  := go tool -modfile=$(CURDIR)/tools/go.mod
DIST  := _build/otelcol-claudeaudit
CLI   := _build/claudeaudit
DATA  ?= $(or $(CLAUDEAUDIT_DATA),./audit-data)

# what the two programs are made of
FOLDERS := $(wildcard cmd config connector exporter extension internal processor receiver)
SOURCES := go.mod go.sum $(shell find $(FOLDERS) -type f -not -name '*_test.go' -not -name '*.md' -not -path '*/testdata/*')
# the tests of the built programs have a target of their own
PACKAGES = $$(go list ./... | grep -v '/test$$')

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: $(DIST) $(CLI) ## build _build/otelcol-claudeaudit and _build/claudeaudit

$(DIST): builder-config.yaml tools/go.mod $(SOURCES)
	$(TOOL) builder --config=builder-config.yaml
	touch $@

$(CLI): $(SOURCES)
	go build -ldflags='-s -w' -o $@ ./cmd/claudeaudit

.PHONY: run
run: build ## start config/local.yaml, building what is missing
	@echo
	@echo 'Claude Audit, embedded. Ctrl-C ends it.'
	@echo '  send    OTLP traces and logs to 127.0.0.1:4317 (gRPC) or http://127.0.0.1:4318 (HTTP)'
	@echo '          "make sample" in another terminal sends telemetry of real clients'
	@echo '  ask     ANTHROPIC_BASE_URL=http://127.0.0.1:8787 makes SDKs and Claude Code go through the gateway'
	@echo '  data    $(DATA)'
	@echo '  look    $(CLI) search --data $(DATA)'
	@echo '          $(CLI) show EVENT_ID --data $(DATA)'
	@echo '          $(CLI) verify --data $(DATA)'
	@echo
	@CLAUDEAUDIT_DATA='$(DATA)' exec $(DIST) --config config/local.yaml

.PHONY: sample
sample: $(CLI) ## send the captures of real clients to a running collector and show the records
	@go run ./cmd/claudeaudit-sample
	@echo
	@echo '$(CLI) search --data $(DATA) --limit 20'
	@$(CLI) search --data '$(DATA)' --limit 20

.PHONY: test
test: ## unit tests
	go test $(TESTFLAGS) $(PACKAGES)

.PHONY: integration
integration: build ## tests of the built programs: captures, restart, crash, full disk, bad input, tampering
	CLAUDEAUDIT_E2E=required go test -count=1 -timeout 30m ./test/...

.PHONY: bench
bench: ## measure, and print the figures as ratios within one run
	./bench/run

# Without the labelled lines, which are no part of this repository, it says so. ONLY names parts of the report, DOC a
# document that gets the tables: make eval ONLY=injection,unseen,disguise,without DOC=docs/detection-measured.md
.PHONY: eval
eval: ## measure detection on the labelled lines in CLAUDEAUDIT_DETECTION_CORPUS, beside other tools
	@go build -C bench -o ../_build/eval ./eval
	@_build/eval $(if $(ONLY),-only $(ONLY)) $(if $(DOC),-doc $(DOC))

# The same lines give the same weights. Without -o the command only prints its table.
.PHONY: weights
weights: ## make the weights of the injection model from our own lines and those in CLAUDEAUDIT_DETECTION_CORPUS
	go run ./internal/detect/injection/train -o internal/detect/injection/weights.bin

.PHONY: lint
lint: ## go vet, staticcheck, gofumpt
	go vet ./...
	go vet -C bench ./...
	go vet -C bench/gitleaks ./...
	go vet -C tools ./...
	$(TOOL) staticcheck ./...
	cd bench && $(TOOL) staticcheck ./...
	cd bench/gitleaks && $(TOOL) staticcheck ./...
	@unformatted=$$($(TOOL) gofumpt -l $(FORMATTED)); \
	if [[ -n $$unformatted ]]; then echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi

# gofumpt skips generated files
FORMATTED = $(FOLDERS) $(wildcard bench test tools)

.PHONY: fmt
fmt: ## format the code
	$(TOOL) gofumpt -w $(FORMATTED)

.PHONY: generate
generate: ## run mdatagen for every component
	go generate ./...

.PHONY: clean
clean: ## remove _build, not the data
	rm -rf _build
