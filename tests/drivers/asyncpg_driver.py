"""asyncpg through pgconvoy. Prints one `ok` line per behaviour; any failure is an exception and a non-zero exit."""

import asyncio
import io

import asyncpg


def ok(what):
    print("ok", what, flush=True)


async def queries(conn):
    row = await conn.fetchrow("select id, name, price from item where id = $1", 7)
    assert (row["id"], row["name"], row["price"]) == (7, "item 7", row["price"])
    assert await conn.fetchval("select $1::int[]", [1, 2, 3]) == [1, 2, 3]
    assert len(await conn.fetch("select * from item where id <= $1", 10)) == 10
    assert await conn.execute("select 1; select 2") == "SELECT 1"
    ok("queries with parameters")


async def types(conn):
    # asyncpg looks up unknown types in the catalog by long recursive queries.
    await conn.execute("insert into person (name, m) values ($1, $2)", "x", "happy")
    assert await conn.fetchval("select m from person where name = $1 limit 1", "x") == "happy"
    assert await conn.fetchval("select array_agg(p) from (select id, name from item order by id limit 1) p")
    await conn.set_type_codec("json", encoder=str, decoder=str, schema="pg_catalog")
    ok("types that are looked up in the catalog")


async def prepared(conn):
    statement = await conn.prepare("select name from item where id = $1")
    for i in range(1, 100):
        assert await statement.fetchval(i) == f"item {i}"
    for i in range(150):
        # More texts than its statement cache holds: it closes the oldest ones.
        assert await conn.fetchval(f"select {i} + $1::int", 1) == i + 1
    ok("prepared statements and its statement cache")


async def transactions(conn):
    async with conn.transaction():
        await conn.execute("insert into person (name) values ('t1')")
        try:
            async with conn.transaction():
                await conn.execute("insert into person (name) values ('t2')")
                raise ValueError
        except ValueError:
            pass
    assert await conn.fetchval("select count(*) from person where name in ('t1', 't2')") == 1
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        assert await conn.fetchval("select count(*) from item") == 1000
    ok("transactions, savepoints and read-only transactions")


async def cursors(conn):
    async with conn.transaction():
        seen = [row["id"] async for row in conn.cursor("select id from item order by id", prefetch=64)]
        assert seen == list(range(1, 1001))
        cursor = await conn.cursor("select id from item order by id")
        assert len(await cursor.fetch(5)) == 5
        await cursor.forward(10)
        assert (await cursor.fetchrow())["id"] == 16
    ok("cursors, by portal suspension")


async def copy(conn):
    records = [(f"copied {i}", "sad") for i in range(3000)]
    await conn.copy_records_to_table("person", records=records, columns=["name", "m"])
    out = io.BytesIO()
    assert await conn.copy_from_query("select id from item where id <= $1 order by id", 50, output=out) == "COPY 50"
    assert out.getvalue().split() == [str(i).encode() for i in range(1, 51)]
    assert await conn.fetchval("select count(*) from person where name like 'copied%'") == 3000
    ok("copy in and out")


async def errors(conn):
    for _ in range(3):
        try:
            await conn.fetch("select nope from item")
            raise AssertionError("no error")
        except asyncpg.UndefinedColumnError:
            pass
        try:
            await conn.execute("insert into item (id) values ($1)", 1)
            raise AssertionError("no error")
        except asyncpg.UniqueViolationError:
            pass
        assert await conn.fetchval("select 1") == 1
    await conn.executemany("insert into person (name) values ($1)", [(f"e{i}",) for i in range(100)])
    try:
        await conn.executemany("insert into item (id) values ($1)", [(5000,), (1,), (5001,)])
        raise AssertionError("no error")
    except asyncpg.UniqueViolationError:
        pass
    assert await conn.fetchval("select count(*) from item where id >= 5000") == 0
    ok("errors, also in the middle of executemany")


async def timeout(conn):
    try:
        await conn.fetchval("select pg_sleep(60)", timeout=0.5)
        raise AssertionError("no timeout")
    except asyncio.TimeoutError:
        pass
    assert await conn.fetchval("select 'after'") == "after"
    ok("a timeout cancels the statement")


async def notifications(conn, other):
    seen = asyncio.Queue()
    await conn.add_listener("news", lambda *args: seen.put_nowait(args[3]))
    await other.execute("notify news, 'one'")
    await other.execute("select pg_notify('news', $1)", "two")
    got = [await asyncio.wait_for(seen.get(), 20) for _ in range(2)]
    assert got == ["one", "two"], got
    await conn.reset()
    ok("listen and notify")


async def pool():
    async with asyncpg.create_pool(min_size=10, max_size=20) as connections:

        async def work(number):
            for i in range(1, 20):
                async with connections.acquire() as conn:
                    assert await conn.fetchval("select id from item where name = $1", f"item {i}") == i
                    key = await conn.fetchval("insert into person (name) values ($1) returning id", f"w{number}")
                    assert await conn.fetchval("select name from person where id = $1", key) == f"w{number}"

        await asyncio.gather(*(work(n) for n in range(20)))
    ok("its pool: 20 connections over 4 server connections")


async def main():
    conn, other = await asyncpg.connect(), await asyncpg.connect()
    for behaviour in [queries, types, prepared, transactions, cursors, copy, errors, timeout]:
        await behaviour(conn)
    await notifications(conn, other)
    await conn.close()
    await other.close()
    await pool()


asyncio.run(main())
