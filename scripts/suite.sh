# Sourced by regress.sh and oracle.sh, in the project's root: PostgreSQL's regression suite, and throwaway servers for it.
#
# The suite is that of the installed server's very version, from Debian's source package; pg_regress comes with
# postgresql-server-dev. Needs root or sudo for the packages, and a C compiler for the suite's own library.
# shellcheck shell=bash
# The caller sets `what`, the name its messages begin with, and REPLICAS and MODE.

root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/regress
say() { printf '%s: %s\n' "$what" "$*"; }
fail() { printf '%s: %s\n' "$what" "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

REPLICAS=${REPLICAS:-0}
MODE=${MODE:-remote_apply}
case $REPLICAS in '' | *[!0-9]*) fail "REPLICAS=$REPLICAS is no number" ;; esac
case $MODE in remote_apply | async) ;; *) fail "MODE=$MODE is neither remote_apply nor async" ;; esac

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
    for node in "$home"/node*; do
        [ -f "$node/postmaster.pid" ] || continue
        "${run[@]}" "$bin/pg_ctl" -D "$node" -m immediate -w stop >/dev/null 2>&1 || true
    done
    rm -rf "$home"
}
trap cleanup EXIT INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

ports=()
for _ in $(seq 0 "$REPLICAS"); do ports+=("$(free_port)"); done

start_node() {
    local node=$1
    "${run[@]}" "$bin/pg_ctl" -D "$home/node$node" -l "$home/node$node.log" -w start >/dev/null ||
        fail "node $node did not start: $(tail -3 "$home/node$node.log")"
}

configure() {
    "${run[@]}" tee -a "$home/node$1/postgresql.conf" >/dev/null
}

# A fresh primary and its standbys for each way, so that neither finds what the other left.
start_servers() {
    rm -rf "$home"/node*
    "${run[@]}" "$bin/initdb" -D "$home/node0" -U postgres -A trust --no-locale -E UTF8 --no-sync >/dev/null
    configure 0 <<-CONF
		listen_addresses = '127.0.0.1'
		port = ${ports[0]}
		unix_socket_directories = '$home'
		fsync = off
		max_connections = 100
		max_prepared_transactions = 2
		log_autovacuum_min_duration = 0
	CONF
    start_node 0
    local node names=
    for node in $(seq 1 "$REPLICAS"); do
        "${run[@]}" "$bin/pg_basebackup" -h 127.0.0.1 -p "${ports[0]}" -U postgres -D "$home/node$node" \
            --checkpoint=fast --no-sync
        configure "$node" <<-CONF
			port = ${ports[$node]}
			primary_conninfo = 'host=127.0.0.1 port=${ports[0]} user=postgres application_name=node$node'
		CONF
        "${run[@]}" touch "$home/node$node/standby.signal"
        start_node "$node"
        names=${names:+$names, }node$node
    done
    if [ "$REPLICAS" -gt 0 ] && [ "$MODE" = remote_apply ]; then
        configure 0 <<-CONF
			synchronous_standby_names = 'FIRST $REPLICAS ($names)'
			synchronous_commit = remote_apply
		CONF
        "${run[@]}" "$bin/pg_ctl" -D "$home/node0" reload >/dev/null
    fi
    [ "$REPLICAS" -eq 0 ] || wait_streaming
}

wait_streaming() {
    local sql="select count(*) = $REPLICAS from pg_stat_replication where state = 'streaming'"
    [ "$MODE" = async ] || sql="$sql and sync_state = 'sync'"
    for _ in $(seq 100); do
        [ "$("$bin/psql" -X -Atq -h 127.0.0.1 -p "${ports[0]}" -U postgres -c "$sql" postgres)" = t ] && return
        sleep 0.1
    done
    fail "the standbys do not stream: $(tail -3 "$home"/node1.log)"
}

stop_servers() {
    local node
    for node in $(seq 0 "$REPLICAS"); do
        "${run[@]}" "$bin/pg_ctl" -D "$home/node$node" -m fast -w stop >/dev/null
    done
}

# start_proxy PORT HTTP [SETTING...]: pgconvoy before all nodes; the settings are lines of [routing].
start_proxy() {
    local port=$1 http=$2 node
    shift 2
    binary=${PGCONVOY_BIN:-$target/release/pgconvoy}
    [ -x "$binary" ] || fail "no binary at $binary: cargo build --release -p pgconvoy, or set PGCONVOY_BIN"
    {
        printf 'listen = "127.0.0.1:%s"\n' "$port"
        for node in $(seq 0 "$REPLICAS"); do printf '[[node]]\naddress = "127.0.0.1:%s"\n' "${ports[$node]}"; done
        printf '[limits]\nmax_client_connections = 200\n'
        printf '[http]\nlisten = "127.0.0.1:%s"\n' "$http"
        printf '[log]\nlevel = "warn"\n'
        printf '[monitor]\nuser = "postgres"\n'
        printf '[routing]\n'
        [ $# -eq 0 ] || printf '%s\n' "$@"
    } >"$home/pgconvoy.toml"
    env -u PGCONVOY_BIN "$binary" run --config "$home/pgconvoy.toml" >"$work/pgconvoy.log" 2>&1 &
    proxy=$!
    for _ in $(seq 50); do
        "$bin/psql" -X -q -h 127.0.0.1 -p "$port" -U postgres -c 'select 1' postgres >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "pgconvoy does not answer: $(tail -3 "$work/pgconvoy.log")"
}

# suite NAME PORT [TEST...]: runs it, and lists what failed in $work/NAME.failed.
suite() {
    local name=$1 port=$2 out=$home/$1
    shift 2
    "${run[@]}" mkdir -p "$out"
    say "running the suite $name"
    local tests=(--schedule="$home/regress/parallel_schedule")
    [ $# -eq 0 ] || tests=(test_setup "$@")
    (cd "$out" && "${run[@]}" "$pg_regress" --inputdir="$home/regress" \
        --outputdir="$out" --bindir="$bin" --dlpath="$home/regress" --host=127.0.0.1 --port="$port" \
        --user=postgres --max-connections=20 "${tests[@]}" >"$out/log" 2>&1) || true
    sed -nE 's/^(test| {4,})? *([a-z0-9_]+) +\.\.\. (FAILED|failed).*/\2/p' "$out/log" | sort >"$work/$name.failed"
    local ran
    ran=$(grep -cE '\.\.\. (ok|FAILED|failed)' "$out/log" || true)
    [ "$ran" -gt 0 ] || { tail -20 "$out/log" >&2; fail "the suite did not run $name"; }
    rm -rf "${work:?}/$name"
    cp -r "$out" "$work/"
    say "$name: $((ran - $(wc -l <"$work/$name.failed"))) of $ran tests pass"
}

cp -r "$work/src/src/test/regress" "$home/regress"
chown -R "$owner" "$home"
chmod 755 "$home"
