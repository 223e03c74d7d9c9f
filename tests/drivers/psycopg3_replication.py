"""Logical replication by psycopg 3's libpq through pgconvoy. Prints one `ok` line per behaviour."""

import psycopg
from psycopg.pq import ExecStatus

SLOT = "driver_slot"


def ok(what):
    print("ok", what, flush=True)


def command(conn, sql, status=ExecStatus.TUPLES_OK):
    result = conn.pgconn.exec_(sql.encode())
    assert result.status == status, (sql, result.status, result.error_message)
    return result


with psycopg.connect("replication=database", autocommit=True) as conn:
    assert command(conn, "IDENTIFY_SYSTEM").get_value(0, 3) == b"postgres"
    ok("a replication connection")
    command(conn, f"CREATE_REPLICATION_SLOT {SLOT} TEMPORARY LOGICAL test_decoding NOEXPORT_SNAPSHOT")
    with psycopg.connect(autocommit=True) as writer:
        writer.execute("create table if not exists from_driver (a int)")
        writer.execute("insert into from_driver values (17)")
    command(conn, f"START_REPLICATION SLOT {SLOT} LOGICAL 0/0", ExecStatus.COPY_BOTH)
    seen = b""
    while b"a[integer]:17" not in seen:
        size, data = conn.pgconn.get_copy_data(0)
        assert size > 0, conn.pgconn.error_message
        # What comes is data (w) or a keepalive (k).
        seen += bytes(data)[25:] if bytes(data[:1]) == b"w" else b""
    ok("changes come as they are written")
    conn.pgconn.put_copy_end()
    while conn.pgconn.get_copy_data(0)[0] > 0:
        pass
    while conn.pgconn.get_result() is not None:
        pass
    assert command(conn, "IDENTIFY_SYSTEM").get_value(0, 3) == b"postgres"
    ok("the stream ends and the connection goes on")
