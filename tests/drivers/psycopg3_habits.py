"""What applications do with psycopg 3, its pool and SQLAlchemy, while others use the same server connections.

Prints one `ok` line per habit; any failure is an exception and a non-zero exit."""

import datetime
import decimal
import json
import threading
import uuid

import psycopg
import sqlalchemy
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.range import Range
from psycopg_pool import ConnectionPool
from sqlalchemy import orm


def ok(what):
    print("ok", what, flush=True)


def connect(**options):
    return psycopg.connect(**options)


class Churn:
    """Clients with settings of their own that come, ask and go until the end."""

    def __init__(self, threads=4):
        self.ended = threading.Event()
        self.failures = []
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(threads)]

    def run(self, number):
        try:
            while not self.ended.is_set():
                with connect(autocommit=True, application_name=f"churn {number}", options=f"-c app.churn={number}") as conn:
                    for i in range(1, 8):
                        assert conn.execute("select id from item where id = %s", (i,)).fetchone() == (i,)
                        assert conn.execute("select current_setting('app.churn')").fetchone() == (str(number),)
                    conn.execute("set datestyle = 'German'")
                    with conn.transaction():
                        conn.execute("set local statement_timeout = '11s'")
                    assert conn.execute("show datestyle").fetchone() == ("German, DMY",)
        except Exception as error:  # noqa: BLE001: whatever it is, the main thread shows it
            self.failures.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures


VALUES = [
    ("int4[]", [[1, 2], [3, 4]]),
    ("text[]", ["a", None, "c,d", '"']),
    ("jsonb", {"a": [1, None, "x"]}),
    ("numeric", decimal.Decimal("12345678901234567890.123456789")),
    ("timestamptz", datetime.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=datetime.timezone.utc)),
    ("bytea", bytes(range(256))),
    ("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
    ("int4range", Range(1, 10)),
    ("interval", datetime.timedelta(days=3, seconds=7)),
    ("float8", 0.1),
    ("bool", True),
    ("date", datetime.date(1, 1, 1)),
]


def types():
    with connect(autocommit=True) as conn:
        for kind, value in VALUES:
            bound = json.dumps(value) if kind == "jsonb" else value
            for binary in (False, True):
                cursor = conn.cursor(binary=binary)
                for _ in range(3):
                    assert cursor.execute(f"select %s::{kind}", (bound,)).fetchone()[0] == value, kind
    ok("types there and back, as text and as binary")


def introspection():
    with connect(autocommit=True) as conn:
        info = EnumInfo.fetch(conn, "mood")
        register_enum(info, conn)
        assert conn.execute("select 'happy'::mood").fetchone()[0].name == "happy"
        info = CompositeInfo.fetch(conn, "item")
        register_composite(info, conn)
        assert conn.execute("select i from item i where id = 3").fetchone()[0].name == "item 3"
    ok("enums and composites looked up in the catalog")


def ddl_behind_prepared():
    with connect(autocommit=True, prepare_threshold=0) as conn:
        conn.execute("create table shape (a int)")
        conn.execute("insert into shape values (1)")
        for round in range(3):
            assert conn.execute("select count(*) from shape").fetchone() == (1,)
            conn.execute(f"alter table shape add column c{round} int")
            conn.execute("select a from shape where a = %s", (1,)).fetchone()
        conn.execute("drop table shape")
    ok("DDL between uses of prepared statements")


def timeouts():
    with connect(autocommit=True, options="-c statement_timeout=300ms") as conn:
        for _ in range(2):
            try:
                conn.execute("select pg_sleep(20)")
                raise AssertionError("no timeout")
            except psycopg.errors.QueryCanceled:
                pass
        with conn.transaction():
            conn.execute("set local statement_timeout = 0")
            conn.execute("select pg_sleep(0.4)")
        assert conn.execute("show statement_timeout").fetchone() == ("300ms",)
    ok("statement_timeout in options and by SET LOCAL")


def two_phases():
    conn = connect()
    xid = conn.xid(1, f"gtrid {uuid.uuid4()}", "branch")
    for end in [conn.tpc_rollback, conn.close]:
        conn.tpc_begin(xid)
        conn.execute("insert into person (name) values ('tpc')")
        conn.tpc_prepare()
        end()
    with connect() as conn:
        [found] = [known for known in conn.tpc_recover() if known.gtrid == xid.gtrid]
        conn.tpc_commit(found)
    with connect(autocommit=True) as conn:
        assert conn.execute("/* pgconvoy: primary */ select count(*) from person where name = 'tpc'").fetchone() == (1,)
    ok("two-phase commit, ended by another connection")


def pipelines():
    with connect(autocommit=True) as conn:
        for round in range(20):
            with conn.pipeline() as pipeline:
                with conn.transaction():
                    results = [conn.execute("select %s::int", (i,)) for i in range(30)]
                pipeline.sync()
                assert [result.fetchone()[0] for result in results] == list(range(30))
        with conn.pipeline() as pipeline:
            conn.execute("insert into person (name) values ('kept')")
            pipeline.sync()
            try:
                conn.execute("insert into person (name) values ('undone')")
                conn.execute("select 1/0")
                pipeline.sync()
                raise AssertionError("no error")
            except psycopg.errors.DivisionByZero:
                pass
            assert conn.execute("select count(*) from person where name = 'kept'").fetchone() == (1,)
        assert conn.execute("select count(*) from person where name = 'undone'").fetchone() == (0,)
    ok("pipelines with transactions and with an error")


def cursors():
    with connect() as conn:
        with conn.cursor(name="scrolled", scrollable=True) as cursor:
            cursor.execute("select id from item order by id")
            assert cursor.fetchone() == (1,)
            cursor.scroll(500, mode="absolute")
            assert cursor.fetchone() == (501,)
            cursor.scroll(-10)
            assert cursor.fetchone() == (492,)
        assert sum(1 for _ in conn.cursor().stream("select id from item")) == 1000
    with connect(autocommit=True) as conn:
        with conn.cursor(name="held", withhold=True) as cursor:
            cursor.execute("select id from item order by id")
            for i in range(1, 20):
                assert cursor.fetchone() == (i,)
                assert conn.execute("select %s::int", (i,)).fetchone() == (i,)
    ok("cursors that scroll, that stream, and that are held")


def copies():
    with connect(autocommit=True) as conn:
        cursor = conn.cursor()
        with cursor.copy("copy person (name) from stdin (format binary)") as copy:
            copy.set_types(["text"])
            for i in range(500):
                copy.write_row((f"binary {i}",))
        try:
            with cursor.copy("copy person (name) from stdin") as copy:
                copy.write_row(("never",))
                raise ValueError
        except ValueError:
            pass
        try:
            with cursor.copy("copy person (id) from stdin") as copy:
                copy.write("not a number\n")
            raise AssertionError("no error")
        except psycopg.errors.InvalidTextRepresentation:
            pass
        with cursor.copy("copy (select id from item order by id) to stdout") as copy:
            assert [row for row in copy.rows()][-1] == ("1000",)
        assert conn.execute("select count(*) from person where name like 'binary%'").fetchone() == (500,)
        assert conn.execute("select count(*) from person where name = 'never'").fetchone() == (0,)
    ok("copies, also given up and wrong")


def pool():
    def reset(conn):
        conn.execute("reset all")

    with ConnectionPool(min_size=8, max_size=8, kwargs={"autocommit": True}, reset=reset, check=ConnectionPool.check_connection) as connections:
        failures = []

        def work(number):
            try:
                for i in range(15):
                    with connections.connection() as conn:
                        assert conn.execute("select coalesce(current_setting('app.own', true), '')").fetchone() == ("",)
                        conn.execute("select set_config('app.own', %s, false)", (str(number),))
                        conn.execute("set search_path = public, pg_catalog")
                        assert conn.execute("select current_setting('app.own')").fetchone() == (str(number),)
                        assert conn.execute("select id from item where name = %s", (f"item {i + 1}",)).fetchone() == (i + 1,)
            except Exception as error:  # noqa: BLE001: whatever it is, the main thread shows it
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
    ok("its pool, which resets by RESET ALL")


def sql_alchemy():
    engine = sqlalchemy.create_engine("postgresql+psycopg://", pool_size=6, pool_pre_ping=True, use_insertmanyvalues=True)
    base = orm.declarative_base()

    class Note(base):
        __tablename__ = "note"
        id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
        text = sqlalchemy.Column(sqlalchemy.Text, unique=True)

    base.metadata.create_all(engine)
    assert {column["name"] for column in sqlalchemy.inspect(engine).get_columns("item")} == {"id", "name", "price", "at"}
    with orm.Session(engine) as session:
        session.add_all([Note(text=f"note {i}") for i in range(300)])
        session.commit()
        try:
            with session.begin_nested():
                session.add(Note(text="note 1"))
                session.flush()
            raise AssertionError("no error")
        except sqlalchemy.exc.IntegrityError:
            pass
        assert session.query(Note).filter(Note.text.like("note 1%")).count() == 111
        session.query(Note).filter(Note.id < 10).update({"text": Note.text + "!"})
        session.rollback()
        seen = session.execute(sqlalchemy.select(Note).order_by(Note.id).execution_options(stream_results=True, yield_per=50)).scalars()
        assert sum(1 for _ in seen) == 300
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as conn:
        assert conn.exec_driver_sql("show transaction_isolation").scalar() == "serializable"
    base.metadata.drop_all(engine)
    engine.dispose()
    ok("SQLAlchemy: tables, nested sessions, streaming, isolation levels")


with Churn():
    for habit in [
        types, introspection, ddl_behind_prepared, timeouts, two_phases, pipelines, cursors, copies, pool, sql_alchemy,
    ]:
        habit()
ok("the others, too")
