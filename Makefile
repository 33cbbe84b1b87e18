# make alone prints what there is. All of it needs no more than Go, make and
# git, and no root; only race needs a C compiler, and only e2e needs root.

# Of one length in every clone, as the same commit makes the same image.
VERSION    ?= $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo dev)
IMAGE      ?= kube-aws-iam-controller:$(VERSION)
IMAGE_FILE ?= bin/kube-aws-iam-controller.tar
PLATFORMS  ?= linux/amd64,linux/arm64

# What the image says of its commit.
REVISION          ?= $(shell git rev-parse HEAD 2>/dev/null)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

# How long each fuzz target runs, and the least share of statements, in percent,
# that tests must run.
FUZZTIME ?= 20s
COVERAGE ?= 90

comma    := ,
BIN      := $(CURDIR)/bin
PROGRAM  := bin/kube-aws-iam-controller
MODULES  := . cmd/kubectl-aws_iam test/chart hack/image hack/localapi hack/localapi/newest hack/localapi/prebuilt hack/tools test/rolesanywhere/vectors test/sdk/go-v1 test/sdk/go-v2 test/sdk/minio-go

# The chart, and what it has from config/: copies, as kustomize's folders are the source.
CHART  := charts/kube-aws-iam-controller
COPIED := $$(find crd/bases rbac admission injection overlays/seed components/metrics-secure components/web-identity-per-serviceaccount \
	manager/pod_disruption_budget.yaml -name '*.yaml' ! -name kustomization.yaml ! -name mount.yaml ! -name service_account.yaml)

# A failing command substitution before a command would go unnoticed; one on its
# own does not.
WITH_API := assets=$$(hack/localapi/build.sh) && KUBEBUILDER_ASSETS=$$assets

# Tests of scripts need kubectl and the AWS CLI, too; where Python is missing,
# they are skipped, but not in CI.
FOR_TESTS := assets=$$(hack/localapi/build.sh kubectl) && cli=$$(hack/awscli/install.sh || true) && \
	REQUIRE_API_SERVER=1 KUBEBUILDER_ASSETS=$$assets PATH="$${cli:+$$cli:}$$PATH"

SHELL := bash
export CGO_ENABLED := 0

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^##@ / { print substr($$0, 5) } /^[a-z0-9]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

##@ Run

# Neither the folder nor git's state gets into the binary.
COMPILE := go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"

.PHONY: build
build: ## Build the controller into bin/
	$(COMPILE) -o $(PROGRAM) ./cmd/kube-aws-iam-controller

.PHONY: plugin
plugin: ## Build the kubectl plugin into bin/, with its completion: put both into a folder of PATH
	cd cmd/kubectl-aws_iam && $(COMPILE) -o $(BIN)/kubectl-aws_iam .
	install -m 755 cmd/kubectl-aws_iam/kubectl_complete-aws_iam $(BIN)/

# What krew downloads is to be at PLUGIN_URL.
PLUGIN_PLATFORMS ?= linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64
PLUGIN_URL       ?= https://example.org/kube-aws-iam-controller/$(VERSION)
PLUGINS          := $(foreach platform,$(subst $(comma), ,$(PLUGIN_PLATFORMS)),bin/plugin/$(subst /,-,$(platform)))

.PHONY: plugins
plugins: $(PLUGINS) ## Build the kubectl plugin for all systems into bin/plugin/, as archives with a krew manifest (PLUGIN_PLATFORMS, PLUGIN_URL)
	go run ./hack/plugin --folder bin/plugin --platforms "$(PLUGIN_PLATFORMS)" --version "$(VERSION)" --url "$(PLUGIN_URL)" --modified "$(SOURCE_DATE_EPOCH)"

.PHONY: $(PLUGINS)
$(PLUGINS):
	cd cmd/kubectl-aws_iam && GOOS=$(word 1,$(subst -, ,$(@F))) GOARCH=$(word 2,$(subst -, ,$(@F))) $(COMPILE) -o $(CURDIR)/$@/kubectl-aws_iam .

.PHONY: run
run: ## Run the controller against the current kubeconfig (ARGS="--flags")
	go run -ldflags "-X main.version=$(VERSION)" ./cmd/kube-aws-iam-controller $(ARGS)

.PHONY: demo
demo: build ## Show the main job on a local API server and STS double (KEEP=1 leaves it up)
	@$(WITH_API) go run ./hack/demo --controller $(PROGRAM) $(if $(KEEP),--keep)

# For each platform the binaries, such as bin/linux/amd64/kube-aws-iam-controller,
# and the program that packs them.
PROGRAMS := kube-aws-iam-controller credentials-endpoint
BINARIES := $(foreach platform,$(subst $(comma), ,$(PLATFORMS)),$(PROGRAMS:%=bin/$(platform)/%))
PACK      = $(BIN)/image --binaries bin --platforms "$(PLATFORMS)" --tag "$(IMAGE)" --version "$(VERSION)" \
	--revision "$(REVISION)" --created "$(SOURCE_DATE_EPOCH)"

.PHONY: image
image: $(BINARIES) $(BIN)/image ## Build the container image as an OCI archive (IMAGE, PLATFORMS, IMAGE_FILE)
	$(PACK) --archive "$(IMAGE_FILE)"

.PHONY: push
push: $(BINARIES) $(BIN)/image ## Build the container image and push it to the registry that IMAGE names
	$(PACK) --push

.PHONY: rootfs
rootfs: $(BINARIES) $(BIN)/image # What the Dockerfile makes its image of.
	rm -rf bin/rootfs
	$(PACK) --rootfs bin/rootfs

.PHONY: $(BINARIES)
$(BINARIES):
	GOOS=$(word 2,$(subst /, ,$@)) GOARCH=$(word 3,$(subst /, ,$@)) $(COMPILE) -o $@ ./cmd/$(@F)

# It runs here and now, whatever the caller is cross-compiling.
.PHONY: $(BIN)/image
$(BIN)/image:
	@GOOS= GOARCH= go -C hack/image build -o $@ .

##@ Test

# Not from Go's cache of results, which knows no files outside a module, such as
# the Dockerfile.
.PHONY: test
test: ## Run all tests, against a real API server
	@$(FOR_TESTS) go test -timeout 30m ./...
	@go -C hack/image test -count=1 ./...
	@go -C hack/localapi/prebuilt test -count=1 ./...
	@go -C test/sdk/go-v1 test -count=1 ./...
	@$(FOR_TESTS) go -C cmd/kubectl-aws_iam test -count=1 ./... # it reads what the controller's module has
	@$(WITH_API) REQUIRE_API_SERVER=1 go -C test/chart test -count=1 ./... # what it reads lies outside of its module, where go sees no change

# All that the API server evaluates, on the newest release beside the one of make test. What a
# refusal suggests is run with kubectl, so it stays with that one.
.PHONY: newest
newest: ## Test the admission policies and injection on the newest Kubernetes, too
	@assets=$$(env -u KUBEBUILDER_ASSETS LOCALAPI_MODULE=newest hack/localapi/build.sh) && REQUIRE_API_SERVER=1 KUBEBUILDER_ASSETS=$$assets \
		go test -count=1 ./test/manifests -run '^TestInjection$$|^TestManifests$$/^(default|samples|admission)' -skip '/admission/what_refusals_suggest'

# Kyverno takes long to build, so this is not part of other checks.
.PHONY: kyverno
kyverno: ## Test injection by Kyverno, as on older clusters
	@folder=$$(hack/kyverno/build.sh) && $(WITH_API) KYVERNO=$$folder REQUIRE_API_SERVER=1 \
		go test -count=1 ./test/manifests -run 'Kyverno'

.PHONY: race
race: export CGO_ENABLED := 1
race: ## Run all tests with the race detector (needs a C compiler)
	@$(FOR_TESTS) go test -race -timeout 30m ./...

.PHONY: cover
cover: export CGO_ENABLED := $(if $(RACE),1,0)
cover: | $(BIN) ## Run all tests and require their coverage of pkg and controllers (RACE=1: as race, too)
	@set -o pipefail; covered=$$(go list ./pkg/... ./controllers/... ./cmd/... | paste -sd, -) && $(FOR_TESTS) \
		go test $(if $(RACE),-race) -timeout 30m -covermode=atomic -coverpkg="$$covered" -coverprofile=$(BIN)/cover.out ./... | \
		sed -E '/^[[:space:]].*coverage: 0.0% of statements$$/d; s/[[:space:]]+coverage: .* of statements in .*//'
	@awk -v least=$(COVERAGE) -f hack/coverage.awk $(BIN)/cover.out

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' api cmd controllers pkg 2>/dev/null | \
	while IFS=: read -r file target; do \
		go test "./$${file%/*}" -run='^$$' -fuzz="^$${target#func }$$" -fuzztime=$(FUZZTIME) || exit 1; \
	done

# A pattern for tests' names ignores the case of letters. Tests of pure parts run in make test: here
# there is no network for the tools that they build. Without RUN it is wholeRun in test/e2e.
E2E_RUN = $(if $(RUN),(?i)$(RUN))

.PHONY: e2e
e2e: e2e-setup ## Test the image on a real node with real SDKs (root, Debian or Ubuntu; RUN=promise picks tests, DOCS=docs keeps figures)
	@E2E_DOCS="$(DOCS)" go test -tags e2e -v -count=1 -timeout 90m ./test/e2e -run '$(or $(E2E_RUN),^Test(Endpoint|FileMode|Moto|Promise|SDKs|Secret))'

# What the tests need, in bin/e2e. Kubernetes is built as the cluster needs it, so it is not that of
# KUBEBUILDER_ASSETS. The image has the name that config/default gives it.
.PHONY: e2e-setup
e2e-setup: override IMAGE = kube-aws-iam-controller:latest
e2e-setup: override IMAGE_FILE = bin/e2e/image.tar
e2e-setup: | bin/e2e image bin/e2e/clock.tar
	@test/e2e/install.sh
	@test/e2e/sdks.sh bin/e2e/sdks
	@rm -f bin/e2e/moto; moto=$$(test/e2e/moto/install.sh) && ln -s "$$moto" bin/e2e/moto || [[ $$? == 3 && -z $$CI ]]
	@assets=$$(env -u KUBEBUILDER_ASSETS hack/localapi/build.sh kubectl kube-controller-manager kube-scheduler kubelet) && \
		ln -sfn "$$assets" bin/e2e/assets

# The same programs but for their clock, which can be wrong.
.PHONY: bin/e2e/clock.tar
bin/e2e/clock.tar: $(BIN)/image | bin/e2e
	@test/e2e/clock.sh "$(CURDIR)/bin/e2e/clock"
	@platform=linux/$$(go env GOHOSTARCH) && GOOS=linux GOARCH=$${platform#*/} $(COMPILE) -overlay bin/e2e/clock/overlay.json \
		-o "bin/e2e/clock/$$platform/" $(PROGRAMS:%=./cmd/%) && \
		$(BIN)/image --binaries bin/e2e/clock --platforms "$$platform" --tag kube-aws-iam-controller:clock --archive $@ >/dev/null

bin/e2e:
	@mkdir -p $@

# What docs/programs.md says. It downloads and builds for long, so it is not part of other checks, and
# neither are its modules.
.PHONY: programs
programs: | $(BIN) ## Run programs such as Hadoop, Loki and Velero with the files of a Secret that is renewed (RUN=loki picks one)
	@test/e2e/sdks.sh bin/programs test/programs
	@$(COMPILE) -o bin/credentials-endpoint ./cmd/credentials-endpoint
	@moto=$$(test/e2e/moto/install.sh) && go run ./test/programs --moto "$$moto" --run "$(RUN)"

.PHONY: reproduce
reproduce: image ## Require that the same commit makes the same container image, byte for byte
	@hack/image/reproduce.sh "$(IMAGE_FILE)" IMAGE="$(IMAGE)" PLATFORMS="$(PLATFORMS)" VERSION="$(VERSION)" \
		REVISION="$(REVISION)" SOURCE_DATE_EPOCH="$(SOURCE_DATE_EPOCH)"

# SEED=123 plays that one again, and shows what happened.
SEEDS ?= 500

.PHONY: simulate
simulate: ## Play days of a cluster's life for each of SEEDS seeds, with faults and restarts, and check what must always hold (SEED=123 replays one)
	@SEED=$(SEED) go test ./test/simulation -run '^TestSeeds$$' -count=1 -timeout 0 -v -args -seeds $(SEEDS)

.PHONY: bench
bench: build ## Measure speed, memory and cost at the size of big clusters, in 15 minutes (BENCH=--run=..., --growth, --json=...)
	@$(WITH_API) go run ./test/bench --controller $(PROGRAM) $(BENCH)

##@ Keep in order

.PHONY: fmt
fmt: $(BIN)/golangci-lint ## Format all Go code
	$(BIN)/golangci-lint fmt

.PHONY: lint
lint: $(BIN)/golangci-lint ## Lint all Go code, and check that packages import only what they may
	$(BIN)/golangci-lint run
	cd cmd/kubectl-aws_iam && $(BIN)/golangci-lint run
	cd test/chart && $(BIN)/golangci-lint run
	go vet ./...
	cd hack/image && $(BIN)/golangci-lint run
	cd hack/localapi/prebuilt && $(BIN)/golangci-lint run

.PHONY: generate
generate: $(BIN)/controller-gen $(BIN)/crd-ref-docs ## Write deep copies, CRDs, the API reference and the RBAC role from the code's types and markers, and the chart's copies
ifneq ($(wildcard api),)
	$(BIN)/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(BIN)/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	$(BIN)/crd-ref-docs --source-path=api --renderer=markdown --config=hack/tools/crd-ref-docs/config.yaml \
		--templates-dir=hack/tools/crd-ref-docs --output-path=docs/reference/api.md --log-level=ERROR
endif
	$(BIN)/controller-gen rbac:roleName=kube-aws-iam-controller paths=./cmd/kube-aws-iam-controller/app/... output:rbac:dir=config/rbac
	rm -rf $(CHART)/files
	cd config && for file in $(COPIED); do mkdir -p "../$(CHART)/files/$${file%/*}" && cp "$$file" "../$(CHART)/files/$$file" || exit 1; done

.PHONY: tidy
tidy: ## Bring every module's go.mod and go.sum up to date
	@for module in $(MODULES); do echo "go -C $$module mod tidy" && go -C $$module mod tidy || exit 1; done

.PHONY: verify
verify: $(BIN)/controller-gen $(BIN)/crd-ref-docs $(BIN)/golangci-lint $(BIN)/kustomize ## Check that all of the above is done, that manifests build, that comments and texts keep to the style
	@hack/verify.sh

# Tools with dependencies that those of hack/tools do not agree with.
export GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
export ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: vuln
vuln: ## Look for known vulnerabilities in what ships (needs vuln.go.dev)
	@hack/vuln.sh . cmd/kubectl-aws_iam

.PHONY: clean
clean: ## Remove bin/ (the API server for tests stays in the user's cache folder)
	rm -rf bin

# The tools, each rebuilt when the versions that hack/tools/go.mod pins change.
tool_golangci-lint  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
tool_controller-gen := sigs.k8s.io/controller-tools/cmd/controller-gen
tool_crd-ref-docs   := github.com/elastic/crd-ref-docs
tool_kustomize      := sigs.k8s.io/kustomize/kustomize/v5

$(BIN)/golangci-lint $(BIN)/controller-gen $(BIN)/crd-ref-docs $(BIN)/kustomize: $(BIN)/%: hack/tools/go.mod | $(BIN)
	@echo "Building $* (once)" >&2
	@go -C hack/tools build -o $@ $(tool_$*)
	@touch $@

$(BIN):
	@mkdir -p $@
