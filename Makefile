# Every verb of this project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(firstword $(shell command -v python3.11) python3)
IMAGE ?= sagemaker-image-classifier
PORT ?= 8080
# A process of pytest that dies ends the run: one that takes its place waits for tests that never come.
WHOLE_FILES = --dist loadfile --max-worker-restart 0
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4 $(WHOLE_FILES)
MODEL ?= out/demo/model
DIR ?= out/demo/output
BENCH ?= real_data
VENV := .venv
BIN := $(VENV)/bin
DESK := .venv-desk
V3 := .venv-v3
WORKFLOW := PYTHONPATH=scripts $(DESK)/bin/python -m workflow
SETTINGS = $(addprefix --set ,$(SET))
SHELL_SCRIPTS := build_and_push.sh docker/install.sh docker/settle.sh docker/slim.sh scripts/infra/deploy.sh .ci/run \
	.ci/base_image.sh container/bin/train

# An engine that answers, or nothing; ENGINE=none says there is none. Asked once, and only when needed.
engine = $(eval engine := $(shell $(PYTHON) scripts/local.py engine))$(engine)
export IMAGE

.PHONY: help demo setup desk lock fmt lint typecheck test bench build sbom push infra train serve report doctor clean \
	ready prepare named-setup named-build named-desk named-v3 lock-pypi lock-cpu local-sagemaker v3 test-product test-desk \
	sm-upload sm-train sm-tune sm-deploy sm-pack sm-predict sm-transform sm-report sm-clean sm-notebook sm-v3

help: ## list the targets
	@echo "usage: make TARGET [NAME=value ...]"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ready ## the main job: pictures, train, serve, ask (DATA=folder, WEIGHTS=file)
	@$(PYTHON) scripts/demo.py $(if $(DATA),--data "$(DATA)") $(if $(WEIGHTS),--pretrained "$(WEIGHTS)") \
		$(addprefix --hyperparameter ,$(HP))

train: ready ## train on a folder of pictures (DATA=folder, WEIGHTS=file, HP="epochs=3 batch_size=32")
	@$(PYTHON) scripts/local.py train --data "$(DATA)" $(if $(WEIGHTS),--pretrained "$(WEIGHTS)") \
		$(addprefix --hyperparameter ,$(HP))

serve: ready ## serve a trained model on this machine (MODEL=out/demo/model, PORT=8080)
	@$(PYTHON) scripts/local.py serve --model "$(MODEL)" --port $(PORT)

report: ready ## make a job's report anew (DIR=out/demo/output)
	@$(PYTHON) scripts/local.py report --dir "$(DIR)"

# MODEL as make's own default is looked at where it is there; one that is asked for, in any case.
doctor: ## check this desk, the image and a model, and say what to mend (MODEL=out/demo/model, ARGS=--json)
	@$(PYTHON) scripts/doctor.py --port $(PORT) $(ARGS) \
		$(if $(or $(filter-out file,$(origin MODEL)),$(wildcard $(MODEL))),--model "$(MODEL)")

test: prepare ## run all tests; with an engine in the image, without one in .venv
	@echo "tests run $(if $(engine),in the image $(IMAGE) ($(engine) answers),in $(VENV): no container engine answers)"
	@$(MAKE) --keep-going test-product $(if $(filter file,$(origin PYTEST_ARGS)),test-desk)

# Both run and both count, whatever becomes of the other; one after the other, since each keeps two cores busy.
test-product:
	@ENGINE="$(or $(engine),none)" $(BIN)/pytest $(PYTEST_ARGS)

test-desk:
	@ENGINE="$(or $(engine),none)" $(DESK)/bin/pytest --numprocesses 2 $(WHOLE_FILES) --no-loadscope-reorder tests/sagemaker

bench: ready setup ## run a benchmark of tests/benchmarks (BENCH=real_data, ARGS="--seeds 0"; photos: ../shared/data)
	@PYTHONPATH=scripts:tests:tests/image $(BIN)/python tests/benchmarks/$(BENCH).py $(ARGS)

lint: setup ## ruff, hadolint and shellcheck
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/hadolint docker/Dockerfile
	@$(BIN)/shellcheck $(SHELL_SCRIPTS)

fmt: setup ## put the Python code into its form
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

typecheck: setup ## mypy, strict
	@$(BIN)/mypy

setup: $(VENV)/product.stamp ## make .venv: the image's packages and the development tools
	@:

desk: $(DESK)/packages.stamp ## make .venv-desk: SageMaker's SDK and what local_sagemaker needs
	@:

v3: $(V3)/packages.stamp ## make .venv-v3: version 3 of SageMaker's SDK, which excludes version 2
	@:

lock: setup ## make the lock files anew (LANE=cpu: that of PyTorch's CPU index)
	@$(MAKE) lock-$(or $(LANE),pypi)

lock-pypi:
	@$(LOCK) --no-emit-index-url -o docker/requirements.txt docker/requirements.in >/dev/null
	@$(LOCK) --override docker/cuda13.in --no-emit-index-url -o docker/requirements-cuda13.txt docker/requirements.in >/dev/null
	@$(LOCK) -c docker/requirements.txt --no-emit-index-url -o tests/requirements.txt tests/requirements.in >/dev/null
	@$(LOCK) --no-emit-index-url -o scripts/requirements.txt scripts/requirements.in >/dev/null
	@$(LOCK) --no-emit-index-url -o scripts/sdk_v3/requirements.txt scripts/sdk_v3/requirements.in >/dev/null

lock-cpu:
	@$(LOCK) --no-deps --emit-index-url --index-url https://download.pytorch.org/whl/cpu \
		-o docker/torch-cpu.txt docker/torch-cpu.in >/dev/null

build: ## build the image (ACCELERATOR=cuda, cpu or cuda13; BASE_IMAGE, PLATFORM, ENGINE, CA_BUNDLE)
	@./build_and_push.sh --build-only

sbom: ready setup ## list what the image holds in out/sbom.json (CycloneDX)
	@$(BIN)/python docker/sbom.py "$(engine)" "$(IMAGE)" out/sbom.json

push: ## build, push to ECR, verify (REGION, ACCOUNT, IMAGE, TAG, CA_BUNDLE, ...; ARGS=--dry-run)
	@./build_and_push.sh $(ARGS)

local-sagemaker: ready desk ## SageMaker's API on this machine, until Ctrl-C (ARGS="--port 4566")
	@PYTHONPATH=scripts $(DESK)/bin/python -m local_sagemaker $(ARGS)

sm-upload: desk ## SageMaker: send pictures to S3 (DATA=folder); each sm- target takes SET="name=value ..."
	@$(WORKFLOW) upload --data "$(DATA)" $(SETTINGS)

sm-train: desk ## SageMaker: train on the uploaded pictures (SET="instance_type=ml.g4dn.xlarge")
	@$(WORKFLOW) train $(SETTINGS)

sm-tune: desk ## SageMaker: search for good hyperparameters (SET="trials=8", WARM_START=tuning job)
	@$(WORKFLOW) tune $(if $(WARM_START),--warm-start "$(WARM_START)") $(SETTINGS)

sm-deploy: desk ## SageMaker: a model behind an endpoint (JOB=job, folder or archive)
	@$(WORKFLOW) deploy $(if $(JOB),--job "$(JOB)") $(SETTINGS)

sm-pack: desk ## SageMaker: a model.tar.gz of a model here (MODEL=folder, CODE=folder with inference.py), for JOB=
	@$(WORKFLOW) pack --model "$(MODEL)" $(if $(CODE),--code "$(CODE)")

sm-predict: desk ## SageMaker: ask the endpoint (DATA=picture or folder, TOP_K=labels, MODEL_NAME=one of many)
	@$(WORKFLOW) predict --path "$(DATA)" $(if $(MODEL_NAME),--model-name "$(MODEL_NAME)") $(if $(TOP_K),--top-k $(TOP_K)) $(SETTINGS)

sm-transform: desk ## SageMaker: classify all pictures below a place in S3 (DATA=s3://bucket/prefix, JOB=job)
	@$(WORKFLOW) transform --source "$(DATA)" $(if $(JOB),--job "$(JOB)") $(SETTINGS)

sm-report: desk ## SageMaker: fetch a job's report (JOB=training job)
	@$(WORKFLOW) report $(if $(JOB),--job "$(JOB)") $(SETTINGS)

sm-clean: desk ## SageMaker: list and remove what costs money (ARGS="--yes --data")
	@$(WORKFLOW) clean $(ARGS) $(SETTINGS)

sm-notebook: desk ## SageMaker: run the notebook of the whole walk, into out/walk.ipynb (PICTURES=folder)
	@mkdir -p out && $(DESK)/bin/jupyter-execute scripts/notebooks/walk.ipynb --output=../../out/walk

sm-v3: v3 ## SageMaker: the whole walk with version 3 of its SDK (DATA=folder)
	@PYTHONPATH=scripts $(V3)/bin/python scripts/sdk_v3/train_and_serve.py "$(DATA)"

infra: ## make repository, bucket and role in AWS (REGION, BUCKET, KMS_KEY, PULL_ACCOUNTS, GITHUB_REPOSITORY)
	@scripts/infra/deploy.sh

clean: ## remove what make made here: out/, .venv, .venv-desk, .venv-v3, caches (not the image)
	rm -rf $(VENV) $(DESK) $(V3) out .image_uri .pytest_cache .ruff_cache .mypy_cache .hypothesis container/build
	find . -name __pycache__ -o -name '*.egg-info' | xargs rm -rf

LOCK := $(BIN)/uv pip compile --upgrade --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28

# What `train` and `serve` need: the image with an engine, .venv without one.
ready:
	@$(MAKE) $(if $(engine),build,setup)

# What the tests need: three environments, and with an engine the image too; side by side, each line says whose it is.
prepare:
	@$(if $(engine),$(MAKE) -j3 named-setup named-desk named-v3 named-build,$(MAKE) setup desk v3)

named-setup named-desk named-v3 named-build: named-%:
	@$(MAKE) $* 2>&1 | sed -u 's/^/$*: /'

$(VENV)/packages.stamp: docker/install.sh docker/requirements.txt tests/requirements.txt
	@$(PYTHON) scripts/check_desk.py
	@PYTHON=$(PYTHON) docker/install.sh $(VENV) docker/requirements.txt tests/requirements.txt
	@touch $@

$(DESK)/packages.stamp: scripts/requirements.txt
$(V3)/packages.stamp: scripts/sdk_v3/requirements.txt
$(DESK)/packages.stamp $(V3)/packages.stamp:
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/pip install --progress-bar off --require-hashes --no-deps --only-binary :all: -r $<
	@$(@D)/bin/pip check
	@touch $@

# Editable: a change of our code needs no new setup.
$(VENV)/product.stamp: $(VENV)/packages.stamp container/pyproject.toml container/bin/train docker/class_data.py
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable container
	@$(BIN)/pip check
	@$(BIN)/python docker/class_data.py container/image_classifier/serving/log4j2.xml
	@touch $@
