#!/usr/bin/env bash
# Renew requirements/run.txt and requirements/dev.txt: exact versions with hashes, no index address. Needs network.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m pip install --quiet uv
lock() {
  .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header --quiet "$@"
}
lock --extra build -o requirements/run.txt
lock --extra build --extra dev -c requirements/run.txt -o requirements/dev.txt
echo "renewed: $(grep -c '==' requirements/run.txt) pins to run, $(grep -c '==' requirements/dev.txt) to develop"
