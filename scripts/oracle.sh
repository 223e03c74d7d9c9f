#!/usr/bin/env bash
# `make oracle`: decides by experiment whether statements are routed rightly. PostgreSQL's regression suite, and then
# scripts/hard-cases.sql, run on a primary, each statement seen by a recorder (tests/src/oracle): what may be a read is
# run on a hot standby, too, which has all that was committed, and compared; pgconvoy says where it would go.
#
#   scripts/oracle.sh [TEST...]     only these tests, after those they depend on (test_setup and what is named)
#
# Exit 0 when nothing that would go to a replica does something else there than on the primary.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck disable=SC2034 # for suite.sh
what=oracle
REPLICAS=1
MODE=remote_apply
# shellcheck source=scripts/suite.sh
. scripts/suite.sh

recorder=$target/e2e/oracle
[ -x "$recorder" ] || fail "no binary at $recorder: make oracle"
convoy=$(free_port)
http=$(free_port)
port=$(free_port)
report=$target/oracle
mkdir -p "$report"

start_servers
start_proxy "$convoy" "$http" 'split_reads = false' '[pool]' 'size = 60'

# It reports when its standard input ends.
mkfifo "$home/end"
"$recorder" "$port" "$convoy" "${ports[1]}" "$report" <"$home/end" >"$report/report.txt" &
recording=$!
exec 9>"$home/end"
suite oracle "$port" "$@"
if [ $# -eq 0 ]; then
    say "running hard-cases.sql"
    PGAPPNAME=hard-cases "$bin/psql" -X -a -h 127.0.0.1 -p "$port" -U postgres -f scripts/hard-cases.sql postgres \
        >"$report/hard-cases.out" 2>&1
fi
exec 9>&-
status=0
wait "$recording" || status=1
cat "$report/report.txt"
say "the statements behind the figures: $report/statements.txt; what psql saw: $work/oracle"
exit "$status"
