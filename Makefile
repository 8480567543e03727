.PHONY: demo test bench lock fuzz clean

demo: ; @scripts/setup.sh run && .venv/bin/touchline demo $(ARGS)

test: ; @scripts/setup.sh dev && scripts/test.sh $(ARGS)

bench: ; @scripts/setup.sh dev && .venv/bin/python -m benchmarks $(ARGS)

fuzz: ; @scripts/setup.sh dev && for target in record failover; do .venv/bin/python -m tests.fuzz.$$target $(ARGS) || exit 1; done

lock: ; @scripts/lock.sh

clean: ; rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* out
