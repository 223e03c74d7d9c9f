#!/usr/bin/env bash
# The demo: a throwaway primary with two streaming replicas, pgconvoy in front on 127.0.0.1:5430, until Ctrl-C.
# Everything lives in one temporary directory and on loopback; it is removed at the end, whichever way it ends.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
binary=${PGCONVOY_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/pgconvoy}
unset PGCONVOY_BIN # a name of ours, not a setting: the binary would refuse it
port=5430
http=9719

fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
say() { printf 'demo: %s\n' "$*"; }
taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

[ -x "$binary" ] || fail "no binary at $binary: run \`make demo\`"
taken "$port" && fail "port $port is taken: stop what listens there (ss -ltnp | grep $port), then try again"
while taken "$http"; do http=$((http + 1)); done
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || fail "no PostgreSQL server: run scripts/setup.sh server"

# PostgreSQL refuses to run as root.
run=()
owner=$(id -un)
if [ "$(id -u)" -eq 0 ]; then
    owner=postgres
    id "$owner" >/dev/null 2>&1 || owner=nobody
    run=(runuser -u "$owner" --)
fi

home=$(mktemp -d "${TMPDIR:-/tmp}/pgconvoy-demo.XXXXXX")
chmod 755 "$home"
chown "$owner" "$home"
proxy=

remove() {
    if [ -f "$home/proxy.pid" ]; then kill -KILL "$(cat "$home/proxy.pid")" 2>/dev/null || true; fi
    for node in "$home"/node*; do
        [ -f "$node/postmaster.pid" ] || continue
        "${run[@]}" "$bin/pg_ctl" -D "$node" -m immediate -w stop >/dev/null 2>&1 || true
    done
    rm -rf "$home"
}

cleanup() {
    trap - EXIT INT TERM HUP
    printf '\n'
    say "removing everything"
    remove
}
trap cleanup EXIT
trap 'exit 0' INT TERM HUP

# Should this script be killed with no chance to clean up, its shadow does.
shadow() {
    trap '' INT TERM HUP
    trap - EXIT
    while kill -0 $$ 2>/dev/null; do sleep 1; done
    [ ! -d "$home" ] || remove
}
shadow >/dev/null 2>&1 </dev/null &

ports=()
next=5441
for _ in 0 1 2; do
    while taken "$next"; do next=$((next + 1)); done
    ports+=("$next")
    next=$((next + 1))
done

# Node processes get a session of their own: Ctrl-C is for this script, which then stops them in order.
start_node() {
    local node=$1
    "${run[@]}" setsid "$bin/pg_ctl" -D "$home/node$node" -l "$home/node$node.log" -w -t 20 start \
        -o "-p ${ports[$node]} -k $home -c cluster_name=node$node" >/dev/null ||
        fail "node $node did not start: $(tail -3 "$home/node$node.log")"
}

follow() {
    local node=$1 primary=$2
    "${run[@]}" touch "$home/node$node/standby.signal"
    printf "primary_conninfo = 'host=127.0.0.1 port=%s user=postgres application_name=node%s'\n" \
        "${ports[$primary]}" "$node" | "${run[@]}" tee "$home/node$node/postgresql.auto.conf" >/dev/null
}

sql() { "$bin/psql" -X -q -At -h 127.0.0.1 -p "$1" -U postgres -d postgres -c "$2"; }

say "starting a primary on ${ports[0]} (PostgreSQL from $bin, data in $home)"
"${run[@]}" "$bin/initdb" --no-sync --auth=trust --username=postgres --encoding=UTF8 -D "$home/node0" >"$home/initdb.log" 2>&1 ||
    fail "initdb failed: $(tail -3 "$home/initdb.log")"
"${run[@]}" tee -a "$home/node0/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
fsync = off
shared_buffers = 64MB
wal_log_hints = on
wal_keep_size = 256MB
wal_retrieve_retry_interval = 500ms
CONF
start_node 0
for node in 1 2; do
    say "starting replica $node on ${ports[$node]}"
    "${run[@]}" "$bin/pg_basebackup" -h 127.0.0.1 -p "${ports[0]}" -U postgres -D "$home/node$node" -c fast -X stream --no-sync
    follow "$node" 0
    start_node "$node"
done

say "starting pgconvoy on $port"
arguments=(run --listen "127.0.0.1:$port" --http "127.0.0.1:$http")
for p in "${ports[@]}"; do arguments+=(--node "127.0.0.1:$p"); done
setsid "$binary" "${arguments[@]}" >"$home/pgconvoy.log" 2>&1 &
proxy=$!
echo "$proxy" >"$home/proxy.pid"
for _ in $(seq 100); do
    kill -0 "$proxy" 2>/dev/null || fail "pgconvoy ended: $(cat "$home/pgconvoy.log")"
    sql "$port" 'select 1' >/dev/null 2>&1 && break
    sleep 0.1
done
sql "$port" 'select 1' >/dev/null || fail "pgconvoy does not answer: $(tail -5 "$home/pgconvoy.log")"

primary=0
guide() {
    cat <<TEXT

  pgconvoy is up: one address in front of a primary and two replicas.

  connect      psql -h 127.0.0.1 -p $port -U postgres
  the nodes    psql -h 127.0.0.1 -p $port -U postgres -c 'SHOW POOL_NODES'
  some load    $bin/pgbench -h 127.0.0.1 -p $port -U postgres -i postgres
               $bin/pgbench -h 127.0.0.1 -p $port -U postgres -M prepared -S -c 8 -T 10 postgres
  metrics      curl http://127.0.0.1:$http/metrics      (health: /healthz, /readyz)
  its log      $home/pgconvoy.log

  f + Enter    fail over: kill -9 the primary, promote a replica, take the old one back
  n + Enter    SHOW POOL_NODES
  Ctrl-C       remove everything

TEXT
}

nodes() { "$bin/psql" -X -P pager=off -h 127.0.0.1 -p "$port" -U postgres -d postgres -c 'SHOW POOL_NODES' || true; }

# The killed server's last processes may still be going: their shared memory is in the way for a moment.
rewind() {
    local old=$1 new=$2
    for _ in 1 2 3 4 5; do
        "${run[@]}" "$bin/pg_rewind" --no-sync -D "$home/node$old" \
            --source-server "host=127.0.0.1 port=${ports[$new]} user=postgres dbname=postgres" >"$home/rewind.log" 2>&1 && return
        sleep 1
    done
    return 1
}

failover() {
    local old=$primary new=$(((primary + 1) % 3)) other=$(((primary + 2) % 3)) started
    say "kill -9 of the primary (node $old, port ${ports[$old]})"
    kill -9 "$(head -1 "$home/node$old/postmaster.pid")"
    started=$(date +%s%N)
    say "promoting node $new (port ${ports[$new]})"
    "${run[@]}" "$bin/pg_ctl" -D "$home/node$new" -w promote >/dev/null
    primary=$new
    until sql "$port" 'create table if not exists demo_failover (at timestamptz); insert into demo_failover values (now())' \
        >/dev/null 2>&1; do sleep 0.05; done
    say "writes work again, $((($(date +%s%N) - started) / 1000000)) ms after the kill"
    follow "$other" "$new"
    "${run[@]}" "$bin/pg_ctl" -D "$home/node$other" reload >/dev/null
    sql "${ports[$new]}" checkpoint
    rewind "$old" "$new" || { say "pg_rewind failed: $(tail -2 "$home/rewind.log")"; return; }
    follow "$old" "$new"
    start_node "$old"
    for _ in $(seq 100); do
        sql "$port" 'SHOW POOL_NODES' | grep -q down || break
        sleep 0.1
    done
    say "node $old is back as a replica"
    nodes
}

nodes
guide
while true; do
    if ! read -r key; then
        # No terminal: stay until a signal.
        wait "$proxy" || true
        fail "pgconvoy ended: $(tail -5 "$home/pgconvoy.log")"
    fi
    kill -0 "$proxy" 2>/dev/null || fail "pgconvoy ended: $(tail -5 "$home/pgconvoy.log")"
    case $key in
        f) failover ;;
        n) nodes ;;
        *) guide ;;
    esac
done
