"""What applications do with asyncpg and its pool while others use the same server connections.

Prints one `ok` line per habit; any failure is an exception and a non-zero exit."""

import asyncio
import datetime
import decimal
import io
import uuid

import asyncpg


def ok(what):
    print("ok", what, flush=True)


async def churn(number, ended):
    while not ended.is_set():
        conn = await asyncpg.connect(server_settings={"application_name": f"churn {number}", "app.churn": str(number)})
        for i in range(1, 8):
            assert await conn.fetchval("select id from item where id = $1", i) == i
            assert await conn.fetchval("select current_setting('app.churn')") == str(number)
        await conn.execute("set timezone = 'Asia/Tokyo'")
        async with conn.transaction():
            await conn.execute("set local work_mem = '3MB'")
        assert await conn.fetchval("show timezone") == "Asia/Tokyo"
        await conn.close()


VALUES = [
    ("int4[]", [[1, 2], [3, 4]]),
    ("text[]", ["a", None, "c,d", '"']),
    ("jsonb", '{"a": [1, null]}'),
    ("numeric", decimal.Decimal("12345678901234567890.123456789")),
    ("timestamptz", datetime.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=datetime.timezone.utc)),
    ("bytea", bytes(range(256))),
    ("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
    ("int4range", asyncpg.Range(1, 10)),
    ("interval", datetime.timedelta(days=3, seconds=7)),
    ("float8", 0.1),
    ("mood", "sad"),
    ("mood[]", ["sad", "happy"]),
]


async def types(conn):
    for kind, value in VALUES:
        assert await conn.fetchval(f"select $1::{kind}", value) == value, kind
    row = await conn.fetchval("select i from item i where id = 3")
    assert (row["id"], row["name"]) == (3, "item 3")
    ok("types there and back, with enums and composites")


async def ddl(conn, other):
    # What another session has done may be a moment away on a replica: here it is asked for on the primary.
    await conn.execute("create table shape (a int); insert into shape values (1)")
    assert await conn.fetchval("/* pgconvoy: primary */ select a from shape where a = $1", 1) == 1
    await other.execute("alter table shape add column b text default 'b'")
    assert await conn.fetchval("/* pgconvoy: primary */ select a from shape where a = $1", 1) == 1
    # It drops a cached statement whose result has changed and tries again by itself.
    assert dict(await conn.fetchrow("/* pgconvoy: primary */ select * from shape")) == {"a": 1, "b": "b"}
    await other.execute("alter table shape drop column b")
    assert dict(await conn.fetchrow("/* pgconvoy: primary */ select * from shape")) == {"a": 1}
    await other.execute("alter table shape alter column a type text")
    await conn.reload_schema_state()
    assert await conn.fetchval("/* pgconvoy: primary */ select a from shape") == "1"
    await conn.execute("drop table shape")
    ok("DDL between uses of cached statements")


async def transactions(conn):
    for isolation in ["read_committed", "repeatable_read", "serializable"]:
        async with conn.transaction(isolation=isolation):
            assert await conn.fetchval("show transaction_isolation") == isolation.replace("_", " ")
    async with conn.transaction(isolation="serializable", readonly=True, deferrable=True):
        assert await conn.fetchval("select count(*) from item") == 1000
    for depth in range(5):
        async with conn.transaction():
            for inner in range(depth):
                try:
                    async with conn.transaction():
                        await conn.execute("insert into person (name) values ('nested')")
                        if inner % 2:
                            await conn.execute("select 1/0")
                except asyncpg.DivisionByZeroError:
                    pass
    assert await conn.fetchval("select count(*) from person where name = 'nested'") == 6
    ok("isolation levels and nested transactions with errors")


async def timeouts(conn):
    for _ in range(3):
        try:
            await conn.fetchval("select pg_sleep(20)", timeout=0.1)
            raise AssertionError("no timeout")
        except asyncio.TimeoutError:
            pass
        assert await conn.fetchval("select 1") == 1
    task = asyncio.ensure_future(conn.fetchval("select pg_sleep(20)"))
    await asyncio.sleep(0.1)
    task.cancel()
    try:
        await task
        raise AssertionError("not cancelled")
    except asyncio.CancelledError:
        pass
    assert await conn.fetchval("select 2") == 2
    ok("timeouts and cancelled tasks")


async def copies(conn):
    records = [(i, f"copied {i}") for i in range(2000, 3000)]
    assert await conn.copy_records_to_table("item", records=records, columns=["id", "name"]) == "COPY 1000"
    out = io.BytesIO()
    assert await conn.copy_from_table("item", output=out, format="binary") == "COPY 2000"
    assert out.getvalue().startswith(b"PGCOPY\n")
    try:
        await conn.copy_records_to_table("item", records=[(1, "twice")], columns=["id", "name"])
        raise AssertionError("no error")
    except asyncpg.UniqueViolationError:
        pass
    await conn.execute("delete from item where id >= 2000")
    ok("copies in binary, also wrong")


async def listeners(conn, other):
    seen = asyncio.Queue()
    heard = lambda *args: seen.put_nowait((args[2], args[3]))
    for channel in ["one", "two"]:
        await conn.add_listener(channel, heard)
    for i in range(20):
        await other.execute("select pg_notify($1, $2)", ["one", "two"][i % 2], str(i))
        assert await conn.fetchval("select $1::int", i) == i
    got = [await asyncio.wait_for(seen.get(), 20) for _ in range(20)]
    assert got == [(["one", "two"][i % 2], str(i)) for i in range(20)], got
    for channel in ["one", "two"]:
        await conn.remove_listener(channel, heard)
    assert await conn.fetchval("select count(*) from pg_listening_channels()") == 0
    ok("listeners on two channels, with queries in between")


async def introspect(conn):
    statement = await conn.prepare("select id, name, price from item where id = $1")
    assert [attribute.name for attribute in statement.get_attributes()] == ["id", "name", "price"]
    assert [kind.name for kind in statement.get_parameters()] == ["int4"]
    async with conn.transaction():
        assert (await statement.cursor(1)) is not None
    assert await conn.executemany("update item set price = $2 where id = $1", [(i, i) for i in range(1, 100)]) is None
    rows = await conn.fetchmany("insert into person (name) values ($1) returning id", [(f"f{i}",) for i in range(50)])
    assert len(rows) == 50
    ok("prepared statements that are asked what they are")


async def pool():
    async def init(conn):
        await conn.set_type_codec("jsonb", encoder=str, decoder=str, schema="pg_catalog")

    async with asyncpg.create_pool(min_size=8, max_size=8, init=init, max_queries=30) as connections:

        async def work(number):
            for i in range(1, 15):
                async with connections.acquire() as conn:
                    # Its reset query has to have undone what the last user of it left.
                    assert await conn.fetchval("select coalesce(current_setting('app.own', true), '')") == ""
                    assert await conn.fetchval("show work_mem") == "4MB"
                    await conn.execute(f"set app.own = '{number}'; set work_mem = '9MB'")
                    async with conn.transaction():
                        await conn.execute("insert into person (name) values ($1)", f"pool {number}")
                        assert await conn.fetchval("select current_setting('app.own')") == str(number)
                    assert await conn.fetchval("select pg_try_advisory_lock($1)", number)

        await asyncio.gather(*(work(n) for n in range(16)))
        assert await connections.fetchval("/* pgconvoy: primary */ select count(*) from person where name like 'pool%'") == 16 * 14
    ok("its pool, whose reset query undoes settings and locks")


async def main():
    ended = asyncio.Event()
    others = [asyncio.ensure_future(churn(n, ended)) for n in range(4)]
    conn, other = await asyncpg.connect(), await asyncpg.connect()
    await types(conn)
    await ddl(conn, other)
    for habit in [transactions, timeouts, copies, introspect]:
        await habit(conn)
    await listeners(conn, other)
    await conn.close()
    await other.close()
    await pool()
    ended.set()
    await asyncio.gather(*others)
    ok("the others, too")


asyncio.run(main())
