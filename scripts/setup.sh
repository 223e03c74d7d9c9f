#!/usr/bin/env bash
# Installs what the demo ("setup.sh server") and the tests ("setup.sh") need, and says what it installs.
# Quick when nothing is missing. Drivers go to target/test-deps, outside git, with the versions pinned below.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
deps=${PGCONVOY_TEST_DEPS:-$root/target/test-deps}
python_pins=("psycopg[binary]==3.2.9" "psycopg-pool==3.2.6" "SQLAlchemy==2.0.41" "asyncpg==0.30.0" "pexpect==4.9.0"
    "django==5.2.19" "pgcli==4.7.1")
node_pins=("pg@8.16.0" "pg-cursor@2.15.0" "pg-copy-streams@7.0.0")

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
has_server() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }
has_server_tool() { compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null; }
# Debian's python has venv but not ensurepip until python3-venv is there.
has_venv() { python3 -c 'import venv, ensurepip' >/dev/null 2>&1; }

missing_packages() {
    has_server && has_server_tool initdb || echo postgresql
    has_server_tool pgbench || echo postgresql-contrib
    has psql || echo postgresql-client
    has runuser || echo util-linux
    has pgrep || echo procps
    [ "$1" = server ] && return
    has pgbouncer || echo pgbouncer
    has promtool || echo prometheus
    has python3 || echo python3
    has_venv || echo python3-venv
    has node || echo nodejs
    has npm || echo npm
}

install_packages() {
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || fail "missing packages: $*. Run as root, or install them with: apt-get install $*"
        sudo=(sudo)
    fi
    has apt-get || fail "missing: $*. There is no apt-get here: install them by hand"
    # The Debian package would make and start a cluster on 5432: nothing here wants it.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        "${sudo[@]}" mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    say "installing with apt-get: $*"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# Runs a command only when the pins have changed since it last succeeded: stamped PATH PIN... -- COMMAND...
stamped() {
    local stamp=$1 pins=()
    shift
    while [ "$1" != -- ]; do pins+=("$1"); shift; done
    shift
    if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "${pins[*]}" ]; then return; fi
    say "installing into $deps: ${pins[*]}"
    "$@"
    echo "${pins[*]}" >"$stamp"
}

install_python() {
    rm -rf "$deps/venv"
    python3 -m venv "$deps/venv"
    "$deps/venv/bin/pip" install --quiet --disable-pip-version-check "${python_pins[@]}"
}

install_node() {
    mkdir -p "$deps/node"
    (cd "$deps/node" && npm install --silent --no-audit --no-fund --no-save "${node_pins[@]}")
}

what=${1:-tests}
case $what in
    server | tests) ;;
    *) fail "unknown part \"$what\": use \"server\" or \"tests\"" ;;
esac

mapfile -t packages < <(missing_packages "$what" || true)
if [ "${#packages[@]}" -gt 0 ]; then install_packages "${packages[@]}"; fi
has_server || fail "no PostgreSQL server under /usr/lib/postgresql"

if [ "$what" = tests ]; then
    mkdir -p "$deps"
    stamped "$deps/python.pins" "${python_pins[@]}" -- install_python
    stamped "$deps/node.pins" "${node_pins[@]}" -- install_node
fi
say "ready ($what): $(ls -d /usr/lib/postgresql/*/ | sort -V | tail -1)"
