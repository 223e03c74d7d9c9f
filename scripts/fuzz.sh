#!/usr/bin/env bash
# `make fuzz`: each fuzz target of proxy/fuzz for SECONDS (60), beginning with the statements of PostgreSQL's regression
# suite if `make regress` has fetched it. Needs cargo-fuzz and a nightly compiler. What is found stays in
# proxy/fuzz/artifacts, what was learned in proxy/fuzz/corpus.
#
#   scripts/fuzz.sh [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-60}
seeds=${CARGO_TARGET_DIR:-$PWD/target}/fuzz-seeds
sql=${CARGO_TARGET_DIR:-$PWD/target}/regress/src/src/test/regress/sql
cargo fuzz --version >/dev/null 2>&1 || { echo "fuzz: cargo install cargo-fuzz --locked, rustup toolchain install nightly" >&2; exit 1; }

mkdir -p "$seeds"
if [ -d "$sql" ] && [ -z "$(ls -A "$seeds")" ]; then
    cat "$sql"/*.sql scripts/hard-cases.sql | python3 -c '
import pathlib, re, sys
text = sys.stdin.buffer.read()
into = pathlib.Path(sys.argv[1])
for number, statement in enumerate(re.split(rb";\s*\n", text)):
    lines = [line for line in statement.split(b"\n") if not line.startswith((b"--", b"\\"))]
    seed = b"\n".join(lines).strip()
    if 0 < len(seed) < 2000:
        (into / f"{number:05}").write_bytes(seed)
' "$seeds"
fi

targets=("$@")
[ $# -gt 0 ] || targets=(lexer fingerprint classifier)
(cd proxy/fuzz && cargo +nightly fuzz build --fuzz-dir .)
for target in "${targets[@]}"; do
    mkdir -p "proxy/fuzz/corpus/$target"
    echo "fuzz: $target for $seconds s"
    (cd proxy/fuzz && cargo +nightly fuzz run --fuzz-dir . "$target" "corpus/$target" "$seeds" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1)
done
