# make run: serve the demo at http://127.0.0.1:8000 · make test · make test-dates · make test-versions · make check · make docs · make bench · make screenshots
PYTHON ?= python3
BIN := .venv/bin

# empty means unset: with its bytecode, a server of the tests needs 1.1 s of CPU to start, without it 1.35 s
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-failed test-dates test-versions audit check format docs bench chaos soak fuzz holdups screenshots clean

run: .venv/ready
	$(BIN)/gunicorn -c gunicorn.conf.py wsgi:app

# tests of one file share servers, so one process runs them; most tests wait, so three processes suit two cores
test: .venv/ready
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

# only the tests that failed in the last run, one after another
test-failed: .venv/ready
	$(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none

# tests around midnight (UTC) and the clock changes; Berlin, because the local date there may differ from the date in UTC
DAYS := "2027-01-31 23:59:50Z" "2028-02-29 12:00Z" "2027-03-28 00:59:50Z" "2026-10-25 00:59:50Z" "next year"
DATED := $(addprefix tests/test_, budget.py reconcile.py reservations.py usage_cli.py usage_page.py)

test-dates: .venv/clock.so
	for day in $(DAYS); do \
	    export CLOCK_SHIFT_S=$$(($$(date -d "$$day" +%s) - $$(date +%s))); \
	    LD_PRELOAD=$(CURDIR)/$< TZ=Europe/Berlin sh -c 'date; exec "$$@"' sh \
	        $(BIN)/python -m pytest -q -n 3 --dist loadfile -m "not browser" -k "not killed" $(DATED) || exit 1; \
	done

# Python 3.12 and 3.13, and the lowest versions that pyproject.toml allows
test-versions:
	.ci/versions

# known vulnerabilities of all packages in the two environments
audit: .venv/ready .venv-clients/ready .venv-audit/ready
	.venv-audit/bin/python .ci/audit.py .venv .venv-clients

.venv/clock.so: tests/clock.c .venv/ready
	$(CC) -Wall -Wextra -O2 -shared -fPIC -o $@ $<

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Debian's python3 lacks ensurepip, and with it venv; pip is then available as a zip in the package python3-pip-whl
.venv/ready: requirements.txt requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv || { echo "make: no venv here; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt -r requirements/dev.txt
	touch $@

# tools with their own environment; without it their tests are skipped
# clients: their pins differ from ours · proxies: 350 MB of binaries · schemathesis: pytest would load its plugin · audit: pip-audit
# docs: Sphinx
.venv-%/ready: requirements/%.txt
	$(PYTHON) -m venv .venv-$* || { echo "make: no venv here; on Debian: apt-get install python3-venv"; exit 1; }
	.venv-$*/bin/python -m pip install -q --disable-pip-version-check -r $<
	touch $@

# the documentation: docs/_build/html/index.html
docs: .venv-docs/ready
	.venv-docs/bin/python docs/generate.py
	.venv-docs/bin/sphinx-build -E -W --keep-going -q -b html docs docs/_build/html

# the page's tests take the README's screenshots
screenshots: .venv/ready
	SCREENSHOTS=1 $(BIN)/python -m pytest -q tests/test_chat_page.py tests/test_usage_page.py tests/docs/test_tutorial.py -k screenshots

bench: .venv/ready
	$(BIN)/python benchmarks/run.py

# the runs of docs/reliability.md: 20 minutes of faults, 30 minutes of load, random input, and the longest event loop stall
chaos: .venv/ready
	$(BIN)/python benchmarks/chaos.py

soak: .venv/ready
	$(BIN)/python benchmarks/soak.py

fuzz: .venv/ready .venv-schemathesis/ready
	$(BIN)/python benchmarks/fuzz.py

holdups: .venv/ready
	$(BIN)/python benchmarks/holdups.py

clean:
	rm -rf .venv .venv-* dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
