#!/usr/bin/env bash
# The one test command: linters, types, layers, and every test; fails if any of them does. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH:/usr/sbin:/sbin"
failed=()
step() {
  local name=$1
  shift
  echo "== $name"
  "$@" || failed+=("$name")
}
step "ruff check" ruff check --output-format concise .
step "ruff format" ruff format --check --quiet .
step "mypy --strict" mypy
step "import layers" lint-imports --no-logo
# The virtual node's image comes from a cache that knows its inputs; without root its tests are skipped and say so.
if [ "$(id -u)" -eq 0 ]; then
  export TOUCHLINE_REQUIRE_VIRTUAL=1
  step "virtual node image" touchline hil virtual build
fi
if [ $# -gt 0 ]; then
  step "pytest" pytest "$@"
else
  # What starts no process shares the cores; what does gets them to itself: its timing is part of what is tested.
  coverage erase
  quiet=(--cov --cov-append --cov-report=)
  step "unit tests" pytest -n auto -m "not system" --ignore=tests/hil/virtual "${quiet[@]}"
  step "system tests" pytest -m system --ignore=tests/hil/virtual "${quiet[@]}"
  step "virtual node" pytest tests/hil/virtual "${quiet[@]}"
  echo "lines and branches covered: $(coverage report --format=total) % (the table: coverage report)"
fi
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all steps passed"
