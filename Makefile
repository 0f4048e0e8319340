# The two commands of a fresh machine are `make demo` and `make test`. Everything that they need beyond a Rust toolchain,
# a C compiler, make and python3 they fetch themselves, into target/.

PYTHON ?= python3

.PHONY: build demo test test-v2 vm-shell serve drill bench

build: ## the finished program, Python side inside, at target/release/serpentry
	@sh scripts/prerequisites.sh
	cargo xtask dist

demo: build ## host the three example applications from one file, send them real requests, compare ways to host one
	$(PYTHON) scripts/demo.py

test: build ## everything
	@$(PYTHON) scripts/test.py

test-v2: build ## what depends on cgroup v2, in a virtual machine that has nothing else
	$(PYTHON) scripts/vm test
	$(PYTHON) scripts/vm/selftest.py

vm-shell: build ## a shell in that machine; Ctrl-A X ends it
	$(PYTHON) scripts/vm shell

serve: build ## examples/serpentry.toml on http://127.0.0.1:8000, until Ctrl-C
	$(PYTHON) scripts/demo.py --serve

drill: build ## everything changes under load for 60 s, and no request may fail; then 1,000 sleepers; then kill -9
	$(PYTHON) scripts/drill.py
	$(PYTHON) scripts/drill_sleepers.py
	$(PYTHON) scripts/drill_kill.py

bench: build ## compare with other servers; writes docs/benchmarks.md
	$(PYTHON) bench/run.py all
