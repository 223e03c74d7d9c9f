#!/usr/bin/env bash
# `make regress`: PostgreSQL's own regression suite, direct and through pgconvoy (one node, transaction mode), and what
# differs. The suite is that of the installed server's very version, from Debian's source package; pg_regress comes
# with postgresql-server-dev. Needs root or sudo for the packages, and a C compiler for the suite's own library.
#
#   scripts/regress.sh [TEST...]     only these tests, after those they depend on (test_setup and what is named)
#
# Exit 0 when exactly the same tests fail both ways.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/regress
say() { printf 'regress: %s\n' "$*"; }
fail() { printf 'regress: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

scripts/setup.sh server
bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -1)
major=$(basename "$(dirname "$bin")")
version=$(dpkg-query -W -f '${Version}' "postgresql-$major")

# Debian's sources, read without touching the machine's own list of them.
fetch_source() {
    local apt=$work/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg suite
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    printf 'deb-src [signed-by=%s] %s main\n' \
        "$keyring" "http://deb.debian.org/debian $suite" \
        "$keyring" "http://deb.debian.org/debian $suite-updates" \
        "$keyring" "http://deb.debian.org/debian-security $suite-security" >"$apt/sources.list"
    local options=(-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache")
    apt-get "${options[@]}" update -qq
    (cd "$work" && apt-get "${options[@]}" source -qq --download-only "postgresql-$major=$version")
    mkdir -p "$work/src"
    tar -C "$work/src" --strip-components 1 -xf "$work"/postgresql-"$major"_*.orig.tar.* --wildcards '*/src/test/regress/*'
}

# The library of C functions that the suite loads.
build_library() {
    local regress=$work/src/src/test/regress
    local include
    include=/usr/include/postgresql/$major/server
    cc -O2 -fPIC -shared -I"$include" -I/usr/include/postgresql -o "$regress/regress.so" "$regress/regress.c"
}

pg_regress=/usr/lib/postgresql/$major/lib/pgxs/src/test/regress/pg_regress
if [ ! -x "$pg_regress" ] || [ ! -e "/usr/include/postgresql/$major/server/postgres.h" ]; then
    say "installing postgresql-server-dev-$major"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "postgresql-server-dev-$major" >/dev/null
fi
[ -x "$pg_regress" ] || fail "$pg_regress is not in postgresql-server-dev-$major"
if [ ! -e "$work/src/src/test/regress/regress.so" ]; then
    say "fetching the suite of PostgreSQL $version"
    rm -rf "$work"
    mkdir -p "$work"
    fetch_source
    build_library
fi

# PostgreSQL refuses to run as root.
owner=$(id -un)
run=()
if [ "$(id -u)" -eq 0 ]; then
    owner=postgres
    run=(runuser -u "$owner" --)
fi
home=$(mktemp -d "${TMPDIR:-/tmp}/pgconvoy-regress.XXXXXX")
proxy=
cleanup() {
    trap - EXIT INT TERM
    [ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true
    "${run[@]}" "$bin/pg_ctl" -D "$home/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$home"
}
trap cleanup EXIT INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# A fresh server for each way, so that neither finds what the other left.
start_server() {
    rm -rf "$home/data"
    "${run[@]}" "$bin/initdb" -D "$home/data" -U postgres -A trust --no-locale -E UTF8 --no-sync >/dev/null
    "${run[@]}" tee -a "$home/data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = '127.0.0.1'
		port = $server_port
		unix_socket_directories = '$home'
		fsync = off
		max_connections = 100
		max_prepared_transactions = 2
		log_autovacuum_min_duration = 0
	CONF
    "${run[@]}" "$bin/pg_ctl" -D "$home/data" -l "$home/server.log" -w start >/dev/null
}

stop_server() { "${run[@]}" "$bin/pg_ctl" -D "$home/data" -m fast -w stop >/dev/null; }

# suite NAME PORT: runs it, and lists what failed in $work/NAME.failed.
suite() {
    local name=$1 port=$2 out=$home/$1
    "${run[@]}" mkdir -p "$out"
    say "running the suite $name"
    local tests=(--schedule="$home/regress/parallel_schedule")
    [ "${#only[@]}" -eq 0 ] || tests=(test_setup "${only[@]}")
    (cd "$out" && "${run[@]}" "$pg_regress" --inputdir="$home/regress" \
        --outputdir="$out" --bindir="$bin" --dlpath="$home/regress" --host=127.0.0.1 --port="$port" \
        --user=postgres --max-connections=20 "${tests[@]}" >"$out/log" 2>&1) || true
    sed -nE 's/^(test| {4,})? *([a-z0-9_]+) +\.\.\. (FAILED|failed).*/\2/p' "$out/log" | sort >"$work/$name.failed"
    local ran
    ran=$(grep -cE '\.\.\. (ok|FAILED|failed)' "$out/log" || true)
    [ "$ran" -gt 0 ] || { tail -20 "$out/log" >&2; fail "the suite did not run $name"; }
    cp -r "$out" "$work/"
    say "$name: $((ran - $(wc -l <"$work/$name.failed"))) of $ran tests pass"
}

only=("$@")
server_port=$(free_port)
port=$(free_port)
cp -r "$work/src/src/test/regress" "$home/regress"
chown -R "$owner" "$home"
chmod 755 "$home"
rm -rf "$work/direct" "$work/pgconvoy"

start_server
suite direct "$server_port"
stop_server

start_server
binary=${PGCONVOY_BIN:-$target/release/pgconvoy}
[ -x "$binary" ] || fail "no binary at $binary: cargo build --release -p pgconvoy, or set PGCONVOY_BIN"
cat >"$home/pgconvoy.toml" <<CONF
listen = "127.0.0.1:$port"
[[node]]
address = "127.0.0.1:$server_port"
[limits]
max_client_connections = 200
[http]
listen = "off"
[log]
level = "warn"
CONF
env -u PGCONVOY_BIN "$binary" run --config "$home/pgconvoy.toml" >"$work/pgconvoy.log" 2>&1 &
proxy=$!
for _ in $(seq 50); do
    "$bin/psql" -X -q -h 127.0.0.1 -p "$port" -U postgres -c 'select 1' postgres >/dev/null 2>&1 && break
    sleep 0.1
done
suite pgconvoy "$port"

say "failing through pgconvoy only: $(comm -13 "$work/direct.failed" "$work/pgconvoy.failed" | tr '\n' ' ')"
say "failing direct only: $(comm -23 "$work/direct.failed" "$work/pgconvoy.failed" | tr '\n' ' ')"
say "what each printed instead: $work/direct/regression.diffs, $work/pgconvoy/regression.diffs"
cmp -s "$work/direct.failed" "$work/pgconvoy.failed"
