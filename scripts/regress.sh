#!/usr/bin/env bash
# `make regress`: PostgreSQL's own regression suite, direct and through pgconvoy (transaction mode), and what differs.
#
#   scripts/regress.sh [TEST...]     only these tests, after those they depend on (test_setup and what is named)
#
#   REPLICAS=2 MODE=remote_apply     hot standbys behind pgconvoy, which are read from; a commit waits until both have
#                                    it, so that reads need not wait for a session's own writes, and don't
#   REPLICAS=2 MODE=async            the same with PostgreSQL's default, and pgconvoy's: reads follow their session's writes
#
# Exit 0 when exactly the same tests fail both ways. There is one exception: the
# test `stats` may differ in the one line that tells whether the database's count of sessions has grown by a connection.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck disable=SC2034 # for suite.sh
what=regress
# shellcheck source=scripts/suite.sh
. scripts/suite.sh

port=$(free_port)
http=$(free_port)
rm -rf "$work/direct" "$work/pgconvoy"

start_servers
suite direct "${ports[0]}" "$@"
stop_servers

start_servers
routing=()
[ "$REPLICAS" -eq 0 ] || [ "$MODE" = async ] || routing=('read_your_writes = "off"')
start_proxy "$port" "$http" "${routing[@]}"
suite pgconvoy "$port" "$@"

# Where the statements went, by pgconvoy's own count.
figures() { curl -s "http://127.0.0.1:$http/metrics" | grep -E "^pgconvoy_$1\{" | sort -t ' ' -k 2 -rn || true; }
if [ "$REPLICAS" -gt 0 ]; then
    say "queries by node (${ports[0]} is the primary):"
    figures queries_total | sed 's/^/    /'
    say "statements by reason:"
    figures routed_statements_total | sed 's/^/    /'
    say "refused by a replica and run on the primary:"
    figures reads_refused_total | sed 's/^/    /'
fi

only_in() { comm "$1" "$work/direct.failed" "$work/pgconvoy.failed" | tr -d '\t'; }
say "failing through pgconvoy only: $(only_in -13 | tr '\n' ' ')"
say "failing direct only: $(only_in -23 | tr '\n' ' ')"
say "what each printed instead: $work/direct/regression.diffs, $work/pgconvoy/regression.diffs"

differing=$(only_in -3)
if [ "$differing" = stats ]; then
    asked=$(grep -n 'sessions > :db_stat_sessions' "$work/pgconvoy/results/stats.out" | cut -d: -f1)
    changed=$(diff "$work/direct/results/stats.out" "$work/pgconvoy/results/stats.out" | grep -vE '^([<>]|---)' || true)
    # The answer is two lines under the question and its heading.
    [ -z "$asked" ] || [ "$changed" != "$((asked + 3))c$((asked + 3))" ] || differing=
fi
[ -z "$differing" ]
