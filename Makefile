# Everything a developer or a CI does; README and CONTRIBUTING name these targets.

VENV := .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)
APT := DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends
PIP := $(VENV)/bin/pip install -q --disable-pip-version-check

.PHONY: help demo test lint test-image test-workloads golden bench soak fuzz clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     show everything on a simulated machine"
	@echo "make test     install what the tests need, check the code, run all tests"
	@echo "make test-image   build the container image, and run it (needs root)"
	@echo "make lint     check format, lint and types"
	@echo "make test-workloads  train, compile and run the workloads on the CPU"
	@echo "make golden   write the golden files anew; read the difference before you commit it"
	@echo "make bench    measure speed and size against the usual way"
	@echo "make soak     run for long (some minutes)"
	@echo "make fuzz     feed the parser with anything (some minutes)"
	@echo "make clean    remove what the other targets made"

$(VENV)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and was not found"; exit 1; }
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

# Without the means to install it, the tests that need Prometheus are skipped and say so.
.PHONY: prometheus
prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || { \
		echo "installing Debian's prometheus"; \
		{ $(SUDO) apt-get update -q && $(APT) prometheus; } >/dev/null 2>&1 || \
		echo "prometheus could not be installed"; }

# An environment of its own: it needs the libraries of its time, and newer ones do not start on 3.11.
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

# Without the means to install it, the tests that need LocalStack are skipped and say so.
.PHONY: localstack
localstack: $(VENV)/python $(LOCALSTACK)/$(LOCALSTACK_VERSION)

# An environment of its own: it pins libraries that others need newer.
CHECKOV := .checkov
CHECKOV_VERSION := 3.3.30
$(CHECKOV)/$(CHECKOV_VERSION):
	@echo "installing checkov into $(CHECKOV)"
	@{ $(PYTHON) -m venv --clear $(CHECKOV) && \
		$(CHECKOV)/bin/pip install -q --disable-pip-version-check checkov==$(CHECKOV_VERSION) && \
		touch $@; } >/dev/null 2>&1 || \
		{ rm -rf $(CHECKOV); echo "checkov could not be installed"; }

# Without the means to install it, the test that needs checkov is skipped and says so.
.PHONY: checkov
checkov: $(VENV)/python $(CHECKOV)/$(CHECKOV_VERSION)

# It reads Prometheus' configuration, that of Kubernetes included, which Debian's promtool does not.
.PHONY: victoria-metrics
victoria-metrics:
	@command -v victoria-metrics >/dev/null || { \
		echo "installing Debian's victoria-metrics"; \
		{ $(SUDO) apt-get update -q && $(APT) victoria-metrics; } >/dev/null 2>&1 || \
		echo "victoria-metrics could not be installed"; }

# Grafana's types of its dashboards, and TypeScript, which checks by them.
GRAFANA_SCHEMA := .grafana
GRAFANA_SCHEMA_VERSION := 11.6.0
$(GRAFANA_SCHEMA)/$(GRAFANA_SCHEMA_VERSION):
	@echo "installing Grafana's schema into $(GRAFANA_SCHEMA)"
	@{ mkdir -p $(GRAFANA_SCHEMA) && npm install --silent --no-audit --no-fund --ignore-scripts \
		--prefix $(GRAFANA_SCHEMA) @grafana/schema@$(GRAFANA_SCHEMA_VERSION) typescript@5.8.3 && \
		touch $@; } >/dev/null 2>&1 || \
		{ rm -rf $(GRAFANA_SCHEMA); echo "Grafana's schema could not be installed"; }

# Without the means to install it, the tests that need it are skipped and say so.
.PHONY: grafana-schema
grafana-schema: $(GRAFANA_SCHEMA)/$(GRAFANA_SCHEMA_VERSION)

# Without the means to install it, the tests of the page are skipped and say so.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || { \
		echo "installing Debian's chromium"; \
		{ $(SUDO) apt-get update -q && $(APT) chromium; } >/dev/null 2>&1 || \
		echo "chromium could not be installed"; }

demo: $(VENV)/runtime
	@exec $(VENV)/bin/neuron-exporter demo $(ARGS)

# Most tests wait for a process most of the time: more of them than cores run at once.
WORKERS := 4
test: lint prometheus localstack checkov victoria-metrics grafana-schema chromium
	@$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/dev
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

# Without the means to install them, or without root, the image's tests are skipped and say so.
IMAGE := .image
IMAGE_PACKAGES := buildah crun debootstrap
test-image: $(VENV)/dev prometheus
	@command -v buildah >/dev/null && command -v debootstrap >/dev/null || { \
		echo "installing Debian's $(IMAGE_PACKAGES)"; \
		{ $(SUDO) apt-get update -q && $(APT) $(IMAGE_PACKAGES); } >/dev/null 2>&1 || \
		echo "$(IMAGE_PACKAGES) could not be installed"; }
	@rm -rf $(IMAGE)/image
	@! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null || [ "$$(id -u)" != 0 ] || \
		tests/image/build.sh $(IMAGE) $(CURDIR)/$(VENV)/bin/python
	@$(VENV)/bin/python -m pytest -m image tests/image $(ARGS)

# An environment of its own: PyTorch takes 1 GB, and nothing else needs it.
WORKLOADS := .workloads
TORCH_VERSION := 2.13.0
$(WORKLOADS)/torch-$(TORCH_VERSION): docker/workloads/requirements.txt
	@echo "installing PyTorch into $(WORKLOADS)"
	@{ $(PYTHON) -m venv --clear $(WORKLOADS) && \
		$(WORKLOADS)/bin/pip install -q --disable-pip-version-check \
			-r docker/workloads/requirements.txt 'torch==$(TORCH_VERSION)' && \
		touch $@; } >/dev/null 2>&1 || \
		{ rm -rf $(WORKLOADS); echo "PyTorch could not be installed"; }

# The package index has no torchvision for the CPU: Debian's, which brings a PyTorch of its own.
.PHONY: torchvision
torchvision:
	@/usr/bin/python3 -c 'import torchvision' 2>/dev/null || { \
		echo "installing Debian's python3-torchvision"; \
		{ $(SUDO) apt-get update -q && $(APT) python3-torch python3-torchvision python3-pil; } \
			>/dev/null 2>&1 || echo "torchvision could not be installed"; }

# Without the means to install them, the tests that need them are skipped and say so.
test-workloads: $(VENV)/dev $(WORKLOADS)/torch-$(TORCH_VERSION) torchvision prometheus
	@$(VENV)/bin/python -m pytest -m workloads -n 2 --dist loadfile tests/workloads $(ARGS)

golden: $(VENV)/dev chromium
	@$(VENV)/bin/python -m pytest -q tests/golden tests/end_to_end/test_doctor.py \
		tests/end_to_end/test_page_pictures.py --update-golden
	@$(VENV)/bin/python -m grpc_tools.protoc --proto_path=exporter --python_out=exporter \
		--pyi_out=exporter neuron_exporter/identity/owners/pod_resources.proto
	@$(VENV)/bin/neuron-exporter metrics --markdown > METRICS.md
	@$(VENV)/bin/neuron-exporter alarms --config ecs/exporter-fleet.yaml > ecs/alarms.yaml
	@$(VENV)/bin/python -m grafana.build

bench: $(VENV)/dev
	@$(VENV)/bin/python -m tests.benchmarks $(ARGS)

soak: $(VENV)/dev prometheus
	@$(VENV)/bin/python -m pytest -m soak $(ARGS)

fuzz: $(VENV)/dev
	@$(VENV)/bin/python -m pytest -m fuzz --hypothesis-profile=fuzz $(ARGS)

clean:
	@rm -rf $(VENV) $(LOCALSTACK) $(CHECKOV) $(GRAFANA_SCHEMA) $(IMAGE) $(WORKLOADS) build dist *.egg-info \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis
