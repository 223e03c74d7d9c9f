"""What SQLAlchemy, Django and pgcli ask of the catalog, and what they do besides. Connects as PG* say; prints `ok <behaviour>` lines."""

import io
import os

import django
import sqlalchemy as sa
from django.conf import settings
from django.core.management import call_command
from pgcli.pgexecute import PGExecute
from pgspecial.main import PGSpecial
from sqlalchemy import orm

HOST, PORT, USER, DATABASE = (os.environ[f"PG{name}"] for name in ("HOST", "PORT", "USER", "DATABASE"))


def ok(what):
    print("ok", what, flush=True)


def sqlalchemy_reflects(engine):
    inspector = sa.inspect(engine)
    assert set(inspector.get_table_names()) == {"item", "person"}
    columns = {column["name"]: column for column in inspector.get_columns("item")}
    assert list(columns) == ["id", "name", "price", "at"]
    assert not columns["id"]["nullable"] and columns["at"]["default"] == "now()"
    assert inspector.get_pk_constraint("person")["constrained_columns"] == ["id"]
    assert [enum["name"] for enum in inspector.get_enums()] == ["mood"]
    ok("SQLAlchemy inspects")
    metadata = sa.MetaData()
    metadata.reflect(engine)
    person = metadata.tables["person"]
    assert [column.name for column in person.columns] == ["id", "name", "m"]
    ok("SQLAlchemy reflects")
    return person


def sqlalchemy_works(engine, person):
    with engine.begin() as conn:
        conn.execute(person.insert(), [{"name": f"alchemist {i}", "m": "happy"} for i in range(20)])
    with orm.Session(engine) as session:
        query = sa.select(sa.func.count()).select_from(person).where(person.c.name.like("alchemist%"))
        assert session.scalar(query) == 20
        session.execute(person.update().values(m="sad"))
        session.rollback()
        assert session.scalar(query.where(person.c.m == "happy")) == 20
    ok("SQLAlchemy writes, reads and rolls back")
    with engine.connect() as conn:
        nested = conn.begin()
        try:
            with conn.begin_nested():
                conn.execute(sa.text("select 1/0"))
        except sa.exc.DataError:
            pass
        assert conn.scalar(sa.text("select 1")) == 1
        nested.commit()
    serializable = engine.execution_options(isolation_level="SERIALIZABLE")
    with serializable.connect() as conn:
        assert conn.scalar(sa.text("show transaction_isolation")) == "serializable"
    with engine.connect() as conn:
        assert conn.scalar(sa.text("show transaction_isolation")) == "read committed"
    ok("SQLAlchemy's savepoints and isolation levels")


def django_works():
    own = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": HOST,
        "PORT": PORT,
        "USER": USER,
        "NAME": DATABASE,
    }
    settings.configure(DATABASES={"default": own}, INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"])
    django.setup()
    from django.db import connection, transaction

    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        assert {"item", "person"} <= set(names), names
        columns = connection.introspection.get_table_description(cursor, "item")
        assert [column.name for column in columns] == ["id", "name", "price", "at"]
        assert connection.introspection.get_constraints(cursor, "person")["person_pkey"]["primary_key"]
    out = io.StringIO()
    call_command("inspectdb", "item", stdout=out)
    assert "class Item(models.Model)" in out.getvalue(), out.getvalue()
    ok("Django inspects")
    call_command("migrate", verbosity=0)
    ok("Django migrates")
    from django.contrib.auth.models import Group, User

    with transaction.atomic():
        group = Group.objects.create(name="all")
        for i in range(30):
            User.objects.create(username=f"user {i}").groups.add(group)
    assert User.objects.filter(groups=group).count() == 30
    try:
        with transaction.atomic():
            User.objects.create(username="user 1")
    except django.db.IntegrityError:
        pass
    # A cursor WITH HOLD, which keeps its server connection.
    assert len(list(User.objects.order_by("id").iterator(chunk_size=7))) == 30
    connection.close()
    ok("Django's models, transactions and iterators")


def pgcli_reads():
    pgcli = PGExecute(database=DATABASE, user=USER, password="", host=HOST, port=PORT)
    assert {("public", "item"), ("public", "person")} <= set(pgcli.tables())
    assert any(column.table == "item" and column.name == "price" for column in map(Column, pgcli.table_columns()))
    assert DATABASE in pgcli.databases()
    assert list(pgcli.schemata())
    assert any(function.func_name == "abs" for function in pgcli.functions())
    assert ("public", "mood") in set(pgcli.datatypes())
    list(pgcli.foreignkeys())
    list(pgcli.view_columns())
    ok("pgcli learns what it completes")
    for command in ("\\d item", "\\dt", "\\l", "select count(*) from item"):
        for title, rows, headers, status, sql, success, *_ in pgcli.run(command, PGSpecial()):
            assert success and (rows is None or list(rows)), command
    ok("pgcli's commands")


class Column:
    def __init__(self, row):
        _, self.table, self.name = row[:3]


def main():
    engine = sa.create_engine(f"postgresql+psycopg://{USER}@{HOST}:{PORT}/{DATABASE}", pool_size=3)
    person = sqlalchemy_reflects(engine)
    sqlalchemy_works(engine, person)
    engine.dispose()
    pgcli_reads()
    django_works()


main()
