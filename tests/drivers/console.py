"""The admin console by psycopg 3, and as a Prometheus exporter reads it. Prints one `ok` line per behaviour."""

import psycopg
from psycopg.rows import dict_row


def ok(what):
    print("ok", what, flush=True)


def connect(**options):
    return psycopg.connect(row_factory=dict_row, **options)


with connect(autocommit=True) as conn:
    pools = conn.execute("SHOW POOLS").fetchall()
    assert pools and all(isinstance(pool["cl_active"], int) for pool in pools), pools
ok("autocommit")

with connect() as conn:
    assert conn.execute("SHOW VERSION").fetchone()["version"].startswith("pgconvoy ")
    conn.commit()
    conn.execute("SHOW STATE")
    conn.rollback()
ok("transactions, as a driver begins them")

with connect(autocommit=True) as conn:
    cursor = conn.cursor(binary=True)
    for _ in range(3):
        lists = {row["list"]: row["items"] for row in cursor.execute("SHOW LISTS", prepare=True)}
    assert lists["used_clients"] >= 1, lists
ok("prepared, with binary results")

with connect(autocommit=True) as conn:
    try:
        conn.execute("SHOW NONSENSE")
        raise AssertionError("no error")
    except psycopg.errors.UndefinedObject as error:
        assert "SHOW HELP" in error.diag.message_hint
    assert conn.info.server_version == 170000, conn.info.server_version
ok("errors by their class")

# What an exporter does: it asks for each table and takes every number by the column's name.
with connect(autocommit=True) as conn:
    for command, labels in (
        ("STATS", {"database"}),
        ("POOLS", {"database", "user", "pool_mode", "load_balance_hosts"}),
        ("DATABASES", {"name", "host", "port", "database", "force_user", "pool_mode", "load_balance_hosts"}),
    ):
        rows = conn.execute(f"SHOW {command};").fetchall()
        assert rows, command
        for row in rows:
            for column, value in row.items():
                assert column in labels or float(value) >= 0, (command, column, value)
    lists = {row["list"] for row in conn.execute("SHOW LISTS;")}
    assert lists >= {"free_clients", "login_clients", "dns_names", "dns_zones", "dns_queries", "dns_pending"}, lists
    config = conn.execute("SHOW CONFIG;").fetchall()
    assert all(set(row) == {"key", "value", "default", "changeable"} for row in config)
ok("as an exporter")
