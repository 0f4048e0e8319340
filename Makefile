# The two commands of a fresh machine are `make demo` and `make test`. Everything that they need beyond a Rust toolchain,
# a C compiler, make and python3 they fetch themselves, into target/.

PYTHON ?= python3

.PHONY: build demo test serve bench check clean-venvs

build: ## the finished program, Python side inside, at target/release/serpentry
	@sh scripts/prerequisites.sh
	cargo xtask dist

demo: build ## serve the three example applications, send them real requests, stop
	$(PYTHON) scripts/demo.py

test: build ## everything
	@$(PYTHON) scripts/test.py

serve: build ## the Flask example on http://127.0.0.1:8000
	$(PYTHON) scripts/demo.py --serve

bench: build ## compare with other servers; writes docs/benchmarks.md
	$(PYTHON) bench/run.py all
