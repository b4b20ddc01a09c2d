# Everything runs in .venv, which the first command builds. Prerequisites: Python 3.11, 3.12 or 3.13 with its venv module, make and git.
# The first interpreter that starts: pyenv's shims exist for versions that are not active.
PYTHON ?= $(shell for v in 3.11 3.12 3.13; do python$$v -c '' 2>/dev/null && echo python$$v && break; done)
VENV := .venv
BIN := $(VENV)/bin
# TRL needs torchvision, which needs a different build of torch. The libraries that benchmarks compare with are there, too.
BENCH := .venv-bench
# vLLM pins older releases of transformers and other packages than this project uses.
VLLM := .venv-vllm
VLLM_PYTHON ?= $(VLLM)/bin/python
# VLMEvalKit does not resolve next to this project's constraints.
HARNESS := .venv-benchmarks
# Each worker takes neighbouring tests, which share servers and trained students.
TEST := $(BIN)/pytest -n 2 --dist worksteal
# One file per worker: the tests of a file share a server or a student.
VLLM_TEST := $(VLLM)/bin/pytest -n 2 --dist loadfile -m vllm
# One thread per process: on few cores, spinning OpenMP threads of several processes slow each other down.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export MLFLOW_DISABLE_TELEMETRY ?= true
export DVC_NO_ANALYTICS ?= 1
# uv ignores pip's settings; pass them on.
UV_ENV := UV_FIND_LINKS="$(PIP_FIND_LINKS)" UV_HTTP_TIMEOUT=$(or $(PIP_DEFAULT_TIMEOUT),60)
ifneq ($(PIP_INDEX_URL),)
UV_ENV += UV_DEFAULT_INDEX="$(PIP_INDEX_URL)"
endif
ifneq ($(PIP_EXTRA_INDEX_URL),)
UV_ENV += UV_INDEX="$(PIP_EXTRA_INDEX_URL)"
endif
INSTALL = $(UV_ENV) $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt

.PHONY: help run test test-slow test-layouts test-browser docker-e2e mlflow-e2e mlflow-pictures benchmarks-e2e vllm-e2e vllm-slice vllm-parity lint k8s bench bench-rollout gpu-check ablation ablation-module ablation-staleness compile component base teacher constraints constraints-check constraints-gpu clean

help: ## List the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

run: $(VENV)/.run ## Run the whole pipeline on this machine
	@$(BIN)/vicur run configs/local.yaml

test: $(VENV)/.dev ## Run the tests
	$(TEST) -m "not browser and not docker and not vllm and not slow and not layouts and not mlflow and not benchmarks"

# CI sets PART. tests/slow_durations.json divides the tests evenly; `pytest -m slow --store-durations --durations-path ...` writes it.
test-slow: $(VENV)/.dev ## Run the slow tests: killing and resuming processes, complete pipeline runs (PART=1, 2 or 3 for a third of them)
	$(TEST) -m slow $(if $(PART),--splits 3 --group $(PART) --durations-path tests/slow_durations.json)

mlflow-e2e: $(VENV)/.dev ## Register, promote and serve with MLflow on PostgreSQL and S3, with users and faults (6 minutes)
	$(BIN)/pytest -m mlflow tests/mlflow_e2e

mlflow-pictures: $(VENV)/.dev ## Take the pictures of MLflow's pages in docs/registry with a headless Chromium (8 minutes)
	$(BIN)/python -m tests.mlflow_e2e.pictures

benchmarks-e2e: $(VENV)/.dev $(HARNESS)/.harness ## Score the paper's benchmarks with their harness and a judge double (builds .venv-benchmarks, 2 GB)
	$(BIN)/pytest -n 2 --dist worksteal -m benchmarks tests/evaluation/benchmarks

.PHONY: benchmarks-env
benchmarks-env: $(HARNESS)/.harness ## Build the environment of the paper's benchmarks: VLMEvalKit (docs/paper-benchmarks.md)

test-layouts: $(VENV)/.dev ## Inspect, prepare and train on a small copy of every public layout (4 minutes)
	$(TEST) -m layouts tests/e2e

test-browser: $(VENV)/.dev ## Run the browser tests in a headless Chromium (/usr/bin/chromium)
	$(BIN)/pytest -m browser

docker-e2e: $(VENV)/.dev ## Build the cpu image and run the pipeline in it (needs root; installs docker.io and mmdebstrap on Debian; 15 minutes)
	tests/e2e/install-engine
	$(BIN)/pytest -n 0 -m docker tests/e2e

vllm-e2e: $(VLLM)/.vllm ## Compare students in vLLM with transformers, on a CPU (builds .venv-vllm, 5 GB)
	$(VLLM)/bin/pytest -n 2 tests/modeling tests/training/test_step.py tests/training/test_loss.py tests/training/test_vision.py
	$(VLLM_TEST) tests/vllm

# The subset of vllm-e2e that runs in CI. Its tests share no servers, so workers take each other's tests. The longest come first.
vllm-slice: $(VLLM)/.vllm
	$(VLLM)/bin/pytest -n 2 --dist worksteal -m "vllm and not slow" tests/vllm/test_rollout.py tests/vllm/test_processes.py \
	tests/vllm/test_parity.py tests/vllm/test_limits.py tests/vllm/test_positions.py tests/vllm/test_gate.py \
	tests/vllm/test_rollout_gate.py \
	-k "not test_rollout.py or greedy or fault"

vllm-parity: ## Run the parity tests in your own environment: VLLM_PYTHON=..., see docs/vllm.md
	$(VLLM_PYTHON) -m pytest -m vllm tests/vllm/test_parity.py

lint: $(VENV)/.dev ## Check style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=serving $(BIN)/lint-imports
	$(BIN)/hadolint images/Containerfile images/Containerfile.benchmarks images/Containerfile.serving

k8s: $(VENV)/.dev ## Render and validate the overlays in k8s/ (needs kubectl and ../shared/crds, or VICUR_CRDS)
	$(BIN)/python -m tests.k8s

bench: $(VENV)/.run $(BENCH)/.bench ## Run all benchmarks and write results to .vicur/bench (builds .venv-bench, 6 GB, with TRL, datasets and WebDataset)
	@mkdir -p .vicur/bench
	$(BIN)/python -m benchmarks.cue_recovery --json .vicur/bench/cue_recovery.json
	$(BIN)/python -m benchmarks.loss_memory --json .vicur/bench/loss_memory.json
	$(BIN)/python -m benchmarks.objective_noise
	$(BIN)/python -m benchmarks.save_precision --json .vicur/bench/save_precision.json
	$(BIN)/python -m benchmarks.streaming --json .vicur/bench/streaming.json
	$(BIN)/python -m benchmarks.streaming --rows 50000 250000 --json .vicur/bench/rows.json
	$(BENCH)/bin/python -m benchmarks.data --json .vicur/bench/data.json
	$(BIN)/python -m benchmarks.run --json .vicur/bench/run.json
	$(BIN)/python -m benchmarks.cost_curves --json .vicur/bench/cost_curves.json
	$(BIN)/python -m benchmarks.serving --json .vicur/bench/serving.json
	$(BENCH)/bin/python -m benchmarks.train_step --json .vicur/bench/train_step.json

bench-rollout: $(VLLM)/.vllm ## Benchmark rollouts with both engines (builds .venv-vllm, 5 GB)
	@mkdir -p .vicur/bench
	$(VLLM)/bin/python -m benchmarks.rollout --hidden 96 512 --json .vicur/bench/rollout.json

ablation: $(VENV)/.run ## Train all arms with all seeds and write docs/results.md (under an hour on two cores)
	@$(BIN)/vicur ablate configs/ablation.yaml --results docs/results.md

ablation-staleness: $(VENV)/.run ## Measure what rollouts one update old cost
	@$(BIN)/vicur ablate configs/ablation-staleness.yaml --results docs/results-staleness.md

ablation-module: $(VENV)/.run .vicur/bases/deep .vicur/bases/long ## Search for a regime in which cue recovery helps (many hours)
	@$(BIN)/vicur ablate configs/ablation-module.yaml --results docs/results-module.md
	@$(BIN)/vicur ablate configs/ablation-module.yaml --set name=ablation-module-deep --set base.path=.vicur/bases/deep \
	--results docs/results-module-deep.md
	@$(BIN)/vicur ablate configs/ablation-module.yaml --set name=ablation-module-long --set base.path=.vicur/bases/long \
	--set data.together=5 --set cues.provider.type=annotation --set cues.max_leak_share=1 --set training.rollout.max_new_tokens=160 \
	--set 'evaluation.decoding={type: greedy, max_new_tokens: 160}' --results docs/results-module-long.md

.vicur/bases/deep: | $(VENV)/.run
	$(BIN)/vicur base train $@ --set 'sizes={layers: 10}'

.vicur/bases/long: | $(VENV)/.run
	$(BIN)/vicur base train $@ --set together=5 --set steps=2400

gpu-check: $(VENV)/.run ## Check this machine's GPUs and measure a step of the published shapes (under nine minutes)
	@$(BIN)/vicur gpu-check

compile: $(VENV)/.dev ## Compile the pipeline packages in pipelines/compiled
	$(BIN)/vicur compile --unversioned --pipeline distill --output pipelines/compiled/distill.yaml
	$(BIN)/vicur compile --unversioned --pipeline ablation --output pipelines/compiled/ablation.yaml
	$(BIN)/vicur compile --unversioned --pipeline cluster --output pipelines/compiled/cluster.yaml

component: $(VENV)/.dev ## Create the skeleton of a pipeline step and its test: make component NAME=profile
	@$(BIN)/python -m vicur_components.new "$(NAME)"

base: $(VENV)/.run ## Retrain the tiny base model in vicur/modeling/tiny/base
	rm -rf .vicur/base && $(BIN)/vicur base train .vicur/base
	rm -rf vicur/modeling/tiny/base && mv .vicur/base vicur/modeling/tiny/base

teacher: $(VENV)/.run ## Retrain the larger tiny model in vicur/modeling/tiny/teacher
	rm -rf .vicur/teacher && $(BIN)/vicur base train .vicur/teacher --set steps=1600 --set vision_steps=400 --set scenes=3350 \
	--set 'pools=[base, distill]' --set 'sizes={hidden_size: 128, heads: 4, layers: 6, intermediate_size: 384}'
	rm -rf vicur/modeling/tiny/teacher && mv .vicur/teacher vicur/modeling/tiny/teacher

constraints: $(VENV)/.uv ## Update constraints.txt and the constraints of images and benchmarks from pyproject.toml
	# torch pins the CUDA packages of its own build; listing them here would pin them for CPU builds too.
	cp constraints.txt constraints.txt.new
	$(UV_ENV) $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --all-extras --no-annotate --no-header \
	pyproject.toml --output-file constraints.txt.new
	sed -E -e '/^(cuda-|nvidia-|triton==)/d' -e "/== '(win32|emscripten)'$$/d" -e 's/^(torch==[0-9.]+)(\+cpu)?( ;.*)?$$/\1/' \
	constraints.txt.new | uniq > constraints.txt
	rm constraints.txt.new
	grep -v '^torch==' constraints.txt > constraints-bench.txt.new
	$(UV_ENV) $(BIN)/uv pip compile --quiet --python-version 3.11 --no-annotate --no-header --constraint constraints-bench.txt.new \
	--override benchmarks/requirements.in pyproject.toml benchmarks/requirements.in --output-file constraints-bench.txt
	rm constraints-bench.txt.new
	$(UV_ENV) $(BIN)/uv pip compile --quiet --python-version 3.11 --no-annotate --no-header --extra test \
	--override tests/vllm/left-out.txt pyproject.toml tests/vllm/requirements.in \
	| sed 's/+cpu//' > constraints-vllm.txt.new && mv constraints-vllm.txt.new constraints-vllm.txt
	$(MAKE) constraints-gpu
	$(UV_ENV) $(BIN)/uv pip compile --quiet --python-version 3.11 --no-annotate --no-header images/tools.in --output-file images/tools.txt

constraints-check: $(VENV)/.uv ## Check that constraints.txt fits Python 3.11, 3.12 and 3.13
	@for version in 3.11 3.12 3.13; do \
	  $(UV_ENV) $(BIN)/uv pip compile --quiet --python-version $$version --all-extras -c constraints.txt pyproject.toml --output-file /dev/null \
	  && echo "constraints.txt resolves for Python $$version" || exit 1; done

constraints-gpu: $(VENV)/.uv ## Update constraints-gpu.txt: the releases in constraints.txt with PyTorch's CUDA build
	$(UV_ENV) UV_FIND_LINKS= $(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--no-annotate --no-header --extra pipeline --extra tracking --extra video --constraint constraints.txt pyproject.toml --output-file constraints-gpu.txt

clean: $(VENV)/.run ## List disk usage
	@$(BIN)/vicur clean

$(VENV)/.uv:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "Error: found no Python 3.11, 3.12 or 3.13. Install one of them with its venv module (Debian and Ubuntu: apt install python3-venv)," \
	  "or name its interpreter: make $(or $(MAKECMDGOALS),run) PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Error: $(PYTHON) is not Python 3.11, 3.12 or 3.13. Name another interpreter: make $(or $(MAKECMDGOALS),run) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Error: $(PYTHON) has no venv module. On Debian and Ubuntu: apt install $(notdir $(PYTHON))-venv" >&2; exit 1; }
	@echo "Building the environment in $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.9
	@touch $@

$(VENV)/.run: $(VENV)/.uv pyproject.toml constraints.txt
	@$(INSTALL) -e '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(INSTALL) -e '.[dev]'
	@touch $@

# Uses pip instead of uv, to respect a local wheel folder in pip's configuration.
$(BENCH)/.bench: pyproject.toml constraints-bench.txt
	@echo "Building the environment of the benchmarks in $(BENCH)"
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/pip install --quiet --disable-pip-version-check -r constraints-bench.txt
	@$(BENCH)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Byte code saves seconds at each start of the harness.
$(HARNESS)/.harness: $(VENV)/.uv constraints-harness.txt
	@echo "Building the environment of the paper's benchmarks in $(HARNESS)"
	@$(PYTHON) -m venv $(HARNESS)
	@$(UV_ENV) $(BIN)/uv pip install --quiet --compile-bytecode --python $(HARNESS)/bin/python -r constraints-harness.txt
	@touch $@

$(VLLM)/.vllm: $(VENV)/.uv pyproject.toml serving/pyproject.toml constraints-vllm.txt tests/vllm/requirements.in tests/vllm/left-out.txt \
  tests/vllm/torchvision_operators.py tests/vllm/vllm_metadata.py
	@echo "Building the environment of the vLLM tests in $(VLLM)"
	@$(PYTHON) -m venv $(VLLM)
	@$(UV_ENV) $(BIN)/uv pip install --quiet --compile-bytecode --python $(VLLM)/bin/python -c constraints-vllm.txt \
	--override tests/vllm/left-out.txt -r tests/vllm/requirements.in -e '.[test]' -e serving
	@cp tests/vllm/torchvision_operators.py $(VLLM)/lib/python3*/site-packages/
	@$(VLLM)/bin/python tests/vllm/vllm_metadata.py
	@echo "import torchvision_operators" > $$(echo $(VLLM)/lib/python3*/site-packages)/torchvision_operators.pth
	@touch $@
