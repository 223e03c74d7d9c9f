#!/usr/bin/env bash
# `make bench`: installs the peers that are missing, builds, and measures pgconvoy beside them. Arguments go to
# `compare`: --quick, --workloads, --clients, --targets, --rounds (--help tells all).
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
say() { printf 'bench: %s\n' "$*"; }
# Debian keeps them in /usr/sbin, which is not on everybody's path.
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

missing_peers() {
    has haproxy || echo haproxy
    has pgbouncer || echo pgbouncer
    has pgpool || echo pgpool2
}

# A peer that can't be had is a column that is skipped, and said so: never a reason to measure nothing.
install_peers() {
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || return 1
        sudo=(sudo)
    fi
    has apt-get || return 1
    say "installing with apt-get: $*"
    # RUNLEVEL=1 keeps the packages from starting their services.
    "${sudo[@]}" apt-get update -qq &&
        "${sudo[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@"
}

scripts/setup.sh server
mapfile -t peers < <(missing_peers)
if [ "${#peers[@]}" -gt 0 ]; then
    install_peers "${peers[@]}" || say "could not install ${peers[*]}: their columns will be SKIPPED"
fi

if [ -z "${PGCONVOY_BIN:-}" ]; then
    say "building the release (some minutes the first time)"
    "$cargo" build --release -p pgconvoy
fi
# The harness itself needs no fat LTO.
"$cargo" build --profile e2e -p pgconvoy-benches --bin compare

case " $* " in
    *" --quick "* | *" --workloads "*) ;;
    *)
        say "the route decision and allocations (cargo bench --bench figures)"
        "$cargo" bench -p pgconvoy-benches --bench figures ||
            say "figures FAILED: their rows will be missing"
        ;;
esac

say "measuring"
target=${CARGO_TARGET_DIR:-target}
# Data in memory, where there is room for it: the disk is nobody's contest here.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then
    free=$(df --output=avail -k /dev/shm | tail -1)
    if [ "$free" -gt 8000000 ]; then export TMPDIR=/dev/shm; fi
fi
exec "$target/e2e/compare" "$@"
