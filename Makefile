# Charloom's commands. They need CPython 3.11 or newer and make; everything else goes into .venv.
#
#     make run                     PORT=9000 and DB=file.db choose another port and another database
#     make test ARGS="-k lstm"     a part of the tests
#     make bench ARGS="training"   a part of the benchmark
#     make PYTHON=python3.13 run   another interpreter

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run install test check format bench lock sbom audit clean .venv/.kernels .venv-bench/.kernels

RECENT := import sys; sys.exit(sys.version_info < (3, 11))
# The first interpreter on the path that is recent enough.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$each -c '$(RECENT)' 2>/dev/null; then echo $$each; exit; fi; done; echo python3)
PIP := -m pip --disable-pip-version-check --no-input --quiet install
UV := uv==0.13.8
AUDIT := pip-audit==2.10.1
IMAGE ?= charloom
COMPILER := model/kernels/requirements-compiler.txt

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

run: install  ## train the default model where there is none yet, then serve it on http://127.0.0.1:8000
	@.venv/bin/python cli.py start $(if $(PORT),--port '$(PORT)') $(if $(DB),--db '$(DB)')

install: .venv/.runtime .venv/.kernels  ## the environment alone: .venv with the locked dependencies and the command charloom

test: .venv/.dev .venv/.kernels  ## all tests; ARGS="..." goes to pytest
	@.venv/bin/python -m pytest --numprocesses auto $(ARGS)

check: .venv/.dev .venv/.kernels  ## format, lint, types, and the generated parts of the documentation against the truth
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/hadolint Dockerfile
	.venv/bin/python -m tools.documentation check

format: .venv/.dev  ## mend the format, what lint can mend, and the generated parts of the documentation
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .
	.venv/bin/python -m tools.documentation write

bench: .venv-bench/.ready .venv-bench/.kernels  ## measure speed and memory, beside PyTorch and onnxruntime; ARGS="..." goes to the benchmark (ARGS=--help)
	@.venv-bench/bin/python -m bench $(ARGS)

lock: .venv-lock/.ready  ## renew requirements*.txt after a change of pyproject.toml; UPGRADE=1 takes the newest versions
	@$(COMPILE) pyproject.toml --output-file requirements.txt
	@$(COMPILE) pyproject.toml --group dev --constraint requirements.txt --output-file requirements-dev.txt
	@$(COMPILE) --group build --output-file requirements-build.txt
	@$(COMPILE) --group compiler --output-file $(COMPILER)

sbom: .venv/.dev  ## list what the image is made of: charloom.cdx.json, in CycloneDX
	@.venv/bin/python -m tools.sbom >charloom.cdx.json

audit: .venv-audit/.ready  ## look for known vulnerabilities: in all locks and, if trivy is installed, in the image (IMAGE=charloom)
	.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
		$(addprefix --requirement ,$(wildcard requirements*.txt) $(COMPILER))
	@if command -v trivy >/dev/null; then trivy image --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed '$(IMAGE)'; \
		else echo 'the image was not scanned: trivy is not installed' >&2; fi

clean:  ## remove the environments, the C library and caches; databases stay
	rm -rf .venv .venv-bench .venv-lock .venv-audit charloom.cdx.json .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	rm -rf model/kernels/charloom-* model/kernels/.building-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One version of everything for all platforms and interpreters, so that the same command gives the same weights.
COMPILE = .venv-lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

# ── environments ── a stamp is the last thing made, so an interrupted installation is simply done again

.venv/.made .venv-bench/.made .venv-lock/.made .venv-audit/.made:
	@python='$(PYTHON)'; $$python -c '$(RECENT)' || { \
		echo "Charloom needs CPython 3.11 or newer, but $$python is $$($$python --version 2>&1);" \
			"install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }; \
	echo "making $(@D) with $$($$python --version)"; $$python -m venv --clear $(@D)
	@touch $@

.venv/.runtime: .venv/.made requirements.txt requirements-build.txt pyproject.toml
	@echo "installing the locked dependencies into .venv"
	@.venv/bin/python $(PIP) --require-hashes -r requirements.txt -r requirements-build.txt
	@PYTHONWARNINGS='ignore:Editable installation' CHARLOOM_BUILD_KERNELS=no \
		.venv/bin/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.txt
	@echo "installing what tests and checks need into .venv"
	@.venv/bin/python $(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

# The library lies beside its sources, and is built if it is not of them. Only if no local compiler works does this need pip, so any of
# the environments will do.
.venv/.kernels .venv-bench/.kernels: %/.kernels: %/.made
	@$(@D)/bin/python -m model.kernels.build

# The compiler that tests build with beside the machine's own, and for other processors. No other command needs it.
.venv/.compiler: .venv/.dev $(COMPILER)
	@.venv/bin/python $(PIP) --require-hashes -r $(COMPILER)
	@touch $@

.venv-bench/.ready: .venv-bench/.made requirements.txt pyproject.toml
	@echo "installing what the benchmark compares with into .venv-bench"
	@.venv-bench/bin/python $(PIP) --require-hashes -r requirements.txt
	@.venv-bench/bin/python $(PIP) --group bench
	@touch $@

.venv-lock/.ready: .venv-lock/.made Makefile
	@.venv-lock/bin/python $(PIP) $(UV)
	@touch $@

.venv-audit/.ready: .venv-audit/.made Makefile
	@.venv-audit/bin/python $(PIP) $(AUDIT)
	@touch $@
