"""psql in a terminal: tab completion and Ctrl-C. Prints one `ok` line per behaviour, exits non-zero on the first failure."""

import os
import sys

import pexpect
import psycopg

PROMPT = r"=[*!]?[>#] "


def start():
    env = dict(os.environ, TERM="dumb", PAGER="cat", INPUTRC="/dev/null", PSQL_HISTORY="/dev/null")
    child = pexpect.spawn("psql -X", env=env, encoding="utf-8", timeout=20, dimensions=(40, 200))
    child.expect(PROMPT)
    return child


def tab_completion(child):
    child.send("select * from transf\t")
    child.expect("ers")  # the rest of the word, by the completion
    child.send(" limit 0;\r")
    child.expect(r"\(0 rows\)")
    child.expect(PROMPT)
    print("ok tab completes a table")
    child.send("select * from accounts where bal\t")
    child.expect("ance")
    child.send(" < 0;\r")
    child.expect(r"\(0 rows\)")
    child.expect(PROMPT)
    print("ok tab completes a column")


def sleeping():
    # Straight to the server's statistics, by a connection of its own: wait until the statement really runs.
    with psycopg.connect(autocommit=True) as watch:
        query = "select count(*) from pg_stat_activity where query like '%pg_sleep(77)%' and pid <> pg_backend_pid() and state = 'active'"
        while watch.execute(query).fetchone()[0] == 0:
            pass


def interrupt(child):
    child.send("begin; select pg_sleep(77);\r")
    sleeping_or_fail(child)
    child.sendintr()
    child.expect("canceling statement due to user request")
    child.expect(PROMPT)
    child.send("rollback;\r")
    child.expect(PROMPT)
    print("ok Ctrl-C cancels")
    child.send("select 'still ' || 'here';\r")
    child.expect("still here")
    print("ok session goes on")


def sleeping_or_fail(child):
    try:
        sleeping()
    except psycopg.Error as error:
        child.close(force=True)
        sys.exit(f"cannot watch: {error}")


child = start()
tab_completion(child)
interrupt(child)
child.sendline("\\q")
child.expect(pexpect.EOF)
