# make run: serve the demo at http://127.0.0.1:8000 · make test · make check · make bench · make screenshots
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check format bench screenshots clean

run: .venv/ready
	$(BIN)/gunicorn -c gunicorn.conf.py wsgi:app

# a file's tests share servers, so they stay together; most of them wait, so three at a time do well on two cores
test: .venv/ready
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Debian's python3 comes without ensurepip; pip can then be had from its own zip in the package python3-pip-whl
.venv/ready: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv || { echo "make: no venv here; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	touch $@

# the README's pictures of the chat page, taken by its tests
screenshots: .venv/ready
	SCREENSHOTS=1 $(BIN)/python -m pytest -q tests/test_chat_page.py -k screenshots

bench: .venv/ready
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
