"""psycopg 3 through pgconvoy. Prints one `ok` line per behaviour; any failure is an exception and a non-zero exit."""

import asyncio
import threading
import time

import psycopg
from psycopg.rows import dict_row


def ok(what):
    print("ok", what, flush=True)


def connect(**options):
    return psycopg.connect(**options)


def queries():
    with connect() as conn:
        assert conn.execute("select name from item where id = %s", (7,)).fetchone() == ("item 7",)
        assert conn.execute("select %s::int[], %s::jsonb", ([1, 2], '{"a": 1}')).fetchone() == ([1, 2], {"a": 1})
        cursor = conn.cursor(binary=True, row_factory=dict_row)
        assert cursor.execute("select price from item where id = 2").fetchone()["price"] == 3
    ok("queries with parameters, arrays, json and binary results")


def transactions():
    with connect() as conn:
        conn.execute("insert into person (name) values ('a')")
        conn.rollback()
        with conn.transaction():
            conn.execute("insert into person (name) values ('b')")
            try:
                with conn.transaction():
                    conn.execute("insert into person (name) values ('c')")
                    raise ValueError
            except ValueError:
                pass
        assert conn.execute("select array_agg(name) from person").fetchone() == (["b"],)
    ok("commit, rollback and savepoints")


def autocommit_reads_own_writes():
    with connect(autocommit=True) as conn:
        for i in range(100):
            key = conn.execute("insert into person (name) values (%s) returning id", (f"p{i}",)).fetchone()[0]
            assert conn.execute("select name from person where id = %s", (key,)).fetchone() == (f"p{i}",)
    ok("a write is read back at once")


def prepared():
    with connect(autocommit=True, prepare_threshold=1) as conn, connect(autocommit=True, prepare_threshold=0) as other:
        for i in range(1, 200):
            assert conn.execute("select name from item where id = %s", (i,)).fetchone() == (f"item {i}",)
            assert other.execute("select id from item where name = %s", (f"item {i}",)).fetchone() == (i,)
    with connect(autocommit=True, prepare_threshold=0) as conn:
        conn.prepared_max = 3
        for i in range(20):
            assert conn.execute(f"select {i} + %s", (1,)).fetchone() == (i + 1,)
    ok("automatic prepared statements, with eviction")


def server_side_cursor():
    with connect() as conn:
        with conn.cursor(name="big") as cursor:
            cursor.execute("select id from item order by id")
            cursor.itersize = 50
            assert [row[0] for row in cursor] == list(range(1, 1001))
    ok("a server-side cursor")


def hold_cursor():
    with connect(autocommit=True) as conn:
        with conn.cursor(name="held", withhold=True) as cursor:
            cursor.execute("select id from item order by id")
            assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
            assert conn.execute("select 1").fetchone() == (1,)
            assert cursor.fetchone() == (4,)
    ok("a cursor with hold")


def copy():
    with connect() as conn:
        with conn.cursor().copy("copy person (name, m) from stdin") as copy:
            for i in range(5000):
                copy.write_row((f"copied {i}", "happy"))
        conn.commit()
        out = b""
        with conn.cursor().copy("copy (select id from item order by id) to stdout") as copy:
            for data in copy:
                out += bytes(data)
        assert out.split() == [str(i).encode() for i in range(1, 1001)]
        with conn.cursor().copy("copy (select id, name from item where id < 3 order by id) to stdout (format binary)") as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == [(1, "item 1"), (2, "item 2")]
        assert conn.execute("select count(*) from person where name like 'copied%'").fetchone() == (5000,)
    ok("copy in and out")


def executemany_and_pipeline():
    with connect() as conn:
        cursor = conn.cursor()
        cursor.executemany("insert into person (name) values (%s) returning id", [(f"m{i}",) for i in range(50)], returning=True)
        count = 0
        while True:
            count += len(cursor.fetchall())
            if not cursor.nextset():
                break
        assert count == 50
        conn.commit()
        with conn.pipeline() as pipeline:
            first = conn.execute("select 1")
            second = conn.execute("select %s::text", ("two",))
            pipeline.sync()
            third = conn.execute("select 3")
        assert (first.fetchone(), second.fetchone(), third.fetchone()) == ((1,), ("two",), (3,))
    with connect(autocommit=True) as conn:
        try:
            with conn.pipeline():
                conn.execute("select 1")
                conn.execute("select 1/0")
                conn.execute("select 2")
        except psycopg.errors.DivisionByZero:
            pass
        assert conn.execute("select 'fine'").fetchone() == ("fine",)
    ok("executemany and pipelines, with an error in one")


def errors():
    with connect(autocommit=True) as conn:
        for _ in range(3):
            try:
                conn.execute("select nope from item")
                raise AssertionError("no error")
            except psycopg.errors.UndefinedColumn:
                pass
            try:
                conn.execute("insert into item (id) values (%s)", (1,))
                raise AssertionError("no error")
            except psycopg.errors.UniqueViolation as error:
                assert error.diag.constraint_name == "item_pkey"
        assert conn.execute("select 1").fetchone() == (1,)
    ok("errors keep their class and their fields")


def notifications():
    with connect(autocommit=True) as listener, connect(autocommit=True) as sender:
        listener.execute("listen news")
        sender.execute("select pg_notify('news', 'one')")
        sender.execute("notify news, 'two'")
        seen = []
        for note in listener.notifies(timeout=20, stop_after=2):
            seen.append(note.payload)
        assert seen == ["one", "two"], seen
    ok("listen and notify")


def cancel():
    with connect(autocommit=True) as conn:
        timer = threading.Timer(0.5, conn.cancel)
        started = time.monotonic()
        timer.start()
        try:
            conn.execute("select pg_sleep(60)")
            raise AssertionError("not cancelled")
        except psycopg.errors.QueryCanceled:
            assert time.monotonic() - started < 30
        timer.join()
        assert conn.execute("select 1").fetchone() == (1,)
    ok("cancel")


def isolation_and_read_only():
    with connect() as conn:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert conn.execute("show transaction_isolation").fetchone() == ("serializable",)
    with connect() as conn:
        conn.read_only = True
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert conn.execute("select count(*) from item").fetchone() == (1000,)
        assert conn.execute("show transaction_read_only").fetchone() == ("on",)
    ok("isolation levels and read-only transactions")


def many_threads():
    failures = []

    def work(number):
        try:
            with connect(autocommit=number % 2 == 0) as conn:
                for i in range(1, 40):
                    assert conn.execute("select id from item where id = %s", (i,)).fetchone() == (i,)
        except Exception as error:  # noqa: BLE001: whatever it is, the main thread shows it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    ok("30 threads over 4 server connections")


async def asynchronous():
    async with await psycopg.AsyncConnection.connect(autocommit=True) as conn:
        results = [await conn.execute("select %s::int", (i,)) for i in range(5)]
        assert [(await result.fetchone())[0] for result in results] == list(range(5))
    ok("the asynchronous interface")


for behaviour in [
    queries, transactions, autocommit_reads_own_writes, prepared, server_side_cursor, hold_cursor, copy,
    executemany_and_pipeline, errors, notifications, cancel, isolation_and_read_only, many_threads,
]:
    behaviour()
asyncio.run(asynchronous())
