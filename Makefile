# Each target sets up what it needs: a virtual environment with the exact versions of requirements.lock.
#   make demo         what the shipped weights do with generated clips: tables, videos, figures
#   make test         the default test suite
#   make acceptance   the slow tests too
#   make gpu          the tests that need an NVIDIA GPU
#   make lint         style checks
#   make peers        speed and accuracy beside OpenCV's trackers, in an environment of its own
# ATTEND_DATA=DIR gives the tests real data; PYTHON=... chooses the interpreter (3.11 or later).

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VENV ?= .venv
PEERS ?= .venv-peers
PACKAGING := setup.cfg pyproject.toml

.PHONY: demo test acceptance gpu lint peers clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(VENV)/bin/attend demo

test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest

acceptance: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -m "slow and not gpu" --timeout 7200

gpu: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -m gpu

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

PEERS_DATA ?= $(if $(ATTEND_DATA),kitti:$(ATTEND_DATA)/kitti_tracking \
  mot:$(ATTEND_DATA)/mot15/PETS09-S2L1:401-500 mot:$(ATTEND_DATA)/mot15/TUD-Stadtmitte,sprites)

peers: $(PEERS)/.installed
	$(PEERS)/bin/attend benchmark peers --json runs/peers/speed.json
	$(PEERS)/bin/attend evaluate default:hart --data $(PEERS_DATA) --threads 1 --peers \
	  --json runs/peers/scores.json --figure runs/peers/scores.png

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info

$(VENV)/.installed: requirements.lock $(PACKAGING)
	$(call environment,$(VENV),requirements.lock)

# The same versions, with OpenCV's contrib wheel in place of the main one (never both: they are the
# same package to Python).
$(PEERS)/.installed: requirements.lock $(PACKAGING)
	mkdir -p $(PEERS)
	sed 's/^opencv-python==/opencv-contrib-python==/' requirements.lock > $(PEERS)/requirements.lock
	$(call environment,$(PEERS),$(PEERS)/requirements.lock)

# environment(folder, lock): create it when it is not there, install the lock, then this project.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is not. Choose one: make PYTHON=..." >&2; exit 1; }
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check -r $(2)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(1)/.installed
endef
