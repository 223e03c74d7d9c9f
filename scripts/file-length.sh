#!/usr/bin/env bash
# Fails when a Rust file is longer than 500 lines: past that it holds more than one thing (STYLE).
set -euo pipefail
cd "$(dirname "$0")/.."
long=$(find config proxy tests benches -name '*.rs' -not -path '*/target/*' -exec awk 'END { if (NR > 500) print FILENAME ": " NR " lines" }' {} \;)
if [ -n "$long" ]; then
    printf 'lint: over 500 lines, split them:\n%s\n' "$long" >&2
    exit 1
fi
echo "lint: no file over 500 lines"
