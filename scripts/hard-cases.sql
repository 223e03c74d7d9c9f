-- What has been misrouted by poolers, for `make oracle`: each read here is asked about, run on a standby and compared.
-- Errors are part of it.
CREATE SCHEMA hard;
SET search_path = hard, public;
CREATE TABLE t (id int PRIMARY KEY, a int, b text, d timestamptz DEFAULT '2020-01-01');
INSERT INTO t SELECT i, i % 7, 'row ' || i FROM generate_series(1, 100) i;
CREATE TABLE log (n int);
CREATE SEQUENCE s;
SELECT setval('s', 10);

-- Functions that write, or tell of one server, and all that can hide them.
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql VOLATILE AS $$BEGIN INSERT INTO log VALUES (1); RETURN 1; END$$;
CREATE FUNCTION writes_in_sql() RETURNS int LANGUAGE sql AS 'INSERT INTO hard.log VALUES (2) RETURNING n';
CREATE FUNCTION advances() RETURNS bigint LANGUAGE sql AS $$SELECT nextval('hard.s')$$;
CREATE FUNCTION reads() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM hard.t';
CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION pure(text) RETURNS int LANGUAGE plpgsql VOLATILE AS $$BEGIN INSERT INTO hard.log VALUES (3); RETURN 3; END$$;
CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO hard.log VALUES (4) RETURNING 4';
CREATE FUNCTION my_port() RETURNS int LANGUAGE sql STABLE AS 'SELECT inet_server_port()';
CREATE FUNCTION locks() RETURNS int LANGUAGE sql AS 'SELECT id FROM hard.t WHERE id = 1 FOR UPDATE';
CREATE FUNCTION row_writes(t) RETURNS int LANGUAGE sql AS 'INSERT INTO hard.log VALUES (5) RETURNING n';
CREATE FUNCTION set_of() RETURNS SETOF int LANGUAGE sql AS 'INSERT INTO hard.log VALUES (6), (7) RETURNING n';
CREATE VIEW hides_write AS SELECT writes() AS n;
CREATE VIEW hides_nextval AS SELECT nextval('s') AS n;
CREATE VIEW hides_deep AS SELECT * FROM hides_nextval;
CREATE VIEW plain_view AS SELECT id, a FROM t WHERE a > 2;
CREATE VIEW with_stable AS SELECT reads() AS n;
CREATE VIEW tells_port AS SELECT inet_server_port() AS n;
CREATE VIEW tells_recovery AS SELECT pg_is_in_recovery() AS r;
CREATE FUNCTION op_writes(int, int) RETURNS bool LANGUAGE sql AS 'INSERT INTO hard.log VALUES ($1) RETURNING true';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = op_writes);
CREATE OPERATOR + (LEFTARG = text, RIGHTARG = int, FUNCTION = pg_catalog.repeat);
CREATE FUNCTION tag_of(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'tag' || $1$$;
CREATE OPERATOR <=> (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_catalog.int4mi);
CREATE TYPE pair AS (x int, y int);
CREATE FUNCTION pair_of(int) RETURNS pair LANGUAGE sql AS 'INSERT INTO hard.log VALUES ($1) RETURNING ROW(n, n)::hard.pair';
CREATE CAST (int AS pair) WITH FUNCTION pair_of(int);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE FUNCTION checks(int) RETURNS bool LANGUAGE sql AS 'INSERT INTO hard.log VALUES ($1) RETURNING true';
CREATE DOMAIN checked AS int CHECK (checks(VALUE));
CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE AGGREGATE agg_writes(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION final_writes(int) RETURNS int LANGUAGE sql AS 'INSERT INTO hard.log VALUES ($1) RETURNING n';
CREATE AGGREGATE agg_final(int) (SFUNC = int4pl, STYPE = int, FINALFUNC = final_writes, INITCOND = '0');
CREATE TABLE defaults (id int DEFAULT nextval('s'), v int GENERATED ALWAYS AS (7) STORED);
CREATE TABLE secured (id int, owner text);
INSERT INTO secured VALUES (1, 'a'), (2, 'b');
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secured USING (writes() > 0);
CREATE ROLE hard_user;
GRANT USAGE ON SCHEMA hard TO hard_user;
GRANT SELECT ON ALL TABLES IN SCHEMA hard TO hard_user;
CREATE UNLOGGED TABLE fast AS SELECT 1 AS n;
CREATE MATERIALIZED VIEW kept AS SELECT count(*) AS n FROM t;
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE UNLOGGED TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
INSERT INTO parts VALUES (1), (11);
CREATE TABLE parent (n int);
CREATE UNLOGGED TABLE child () INHERITS (parent);
INSERT INTO child VALUES (1);
CREATE TABLE ruled (n int);
CREATE TABLE collides (n int);
CREATE VIEW "Quoted View" AS SELECT writes() AS n;
-- Until pgconvoy has read the catalog.
SELECT pg_sleep(7);

-- 1. Writes in CTEs.
WITH x AS (UPDATE t SET a = a RETURNING id) SELECT count(*) FROM x;
WITH x AS (DELETE FROM log RETURNING n) SELECT * FROM x;
WITH x AS (INSERT INTO log VALUES (1) RETURNING n) SELECT * FROM x;
WITH x AS (MERGE INTO log USING t ON false WHEN NOT MATCHED AND id = 1 THEN INSERT VALUES (1)) SELECT 1;
WITH a AS (SELECT 1), b AS (WITH c AS (DELETE FROM log RETURNING n) SELECT * FROM c) SELECT * FROM b;
WITH x AS MATERIALIZED (DELETE FROM log RETURNING *) TABLE x;
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5), w AS (INSERT INTO log SELECT n FROM r RETURNING n) SELECT * FROM w;
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SEARCH DEPTH FIRST BY n SET o SELECT * FROM r;

-- 2. Functions that are built in and write.
SELECT nextval('s');
SELECT pg_catalog.nextval('hard.s');
SELECT NEXTVAL /* x */ ('s');
SELECT "nextval"('s');
SELECT U&"n\0065xtval"('s');
SELECT currval('s');
SELECT lastval();
SELECT setval('s', 100);
SELECT lo_unlink(lo_create(0));
SELECT pg_notify('c', 'x');
SELECT txid_current() > 0;
SELECT pg_current_xact_id() IS NOT NULL;
SELECT set_config('hard.x', 'y', false);
SELECT set_config('hard.x', 'y', true);
SELECT * FROM t WHERE id = (SELECT nextval('s'));
SELECT id FROM t ORDER BY nextval('s') LIMIT 1;
SELECT sum(a) FILTER (WHERE nextval('s') > 0) FROM t;
VALUES (1), (nextval('s'));
SELECT * FROM nextval('s');
SELECT * FROM ROWS FROM (nextval('s'));
SELECT * FROM ROWS FROM (generate_series(1, 2), nextval('s')) WITH ORDINALITY;
SELECT * FROM t, LATERAL nextval('s') x LIMIT 1;
SELECT a FROM t TABLESAMPLE BERNOULLI (nextval('s')) LIMIT 0;
SELECT xmlelement(name a, nextval('s'));
SELECT count(*) FROM t GROUP BY GROUPING SETS ((nextval('s')), ());

-- 3. Functions of users, open and hidden.
SELECT writes();
SELECT hard.writes();
SELECT writes_in_sql();
SELECT advances();
SELECT reads();
SELECT pure(1);
SELECT pure('x');
SELECT lower(1);
SELECT lower('X');
SELECT my_port() > 0;
SELECT my_port();
SELECT locks();
SELECT t.row_writes FROM t LIMIT 1;
SELECT (t).row_writes FROM t LIMIT 1;
SELECT row_writes(t) FROM t LIMIT 1;
SELECT set_of();
SELECT * FROM set_of();
SELECT * FROM set_of() WITH ORDINALITY;
SELECT * FROM ROWS FROM (set_of(), generate_series(1, 3));
SELECT * FROM hides_write;
SELECT * FROM hides_nextval;
SELECT * FROM hides_deep;
TABLE hides_deep;
SELECT * FROM "Quoted View";
SELECT * FROM plain_view ORDER BY id;
SELECT * FROM with_stable;
SELECT * FROM tells_port;
SELECT * FROM tells_recovery;
SELECT 1 === 2;
SELECT 1 OPERATOR(hard.===) 2;
SELECT id FROM t WHERE id === 1 ORDER BY id LIMIT 1;
SELECT id FROM t ORDER BY a <=> 3, id LIMIT 5;
SELECT 'ab'::text + 2;
SELECT 5::pair;
SELECT CAST(5 AS pair);
SELECT pair(5);
SELECT 5::checked;
SELECT CAST('5' AS checked);
SELECT checked '5';
SELECT 5::small;
SELECT 'happy'::mood;
SELECT mood 'sad' < 'happy';
SELECT ARRAY[1]::checked[];
SELECT agg_writes(a) FROM t;
SELECT agg_final(a) FROM t;
SELECT * FROM json_populate_record(NULL::hard.defaults, '{"id": 1}');
SELECT * FROM json_to_record('{"x": 1}') AS r(x checked);
SELECT * FROM defaults;
SELECT * FROM secured;
SET ROLE hard_user;
SELECT * FROM secured;
SELECT count(*) FROM t;
RESET ROLE;

-- 4. Locks.
SELECT id FROM t WHERE id = 1 FOR UPDATE;
SELECT id FROM t WHERE id = 1 FOR NO KEY UPDATE OF t SKIP LOCKED;
SELECT id FROM t WHERE id = 1 FOR SHARE;
SELECT id FROM t WHERE id = 1 FOR KEY SHARE NOWAIT;
SELECT * FROM (SELECT id FROM t WHERE id = 1 FOR UPDATE) x;
WITH x AS (SELECT id FROM t WHERE id = 1 FOR KEY SHARE) SELECT * FROM x;
SELECT id FROM t WHERE id < 9 FOR UPDATE SKIP LOCKED LIMIT 5;
SELECT id FROM t LIMIT 1FOR UPDATE;
(SELECT id FROM t LIMIT 1) FOR UPDATE;
TABLE t FOR UPDATE;
SELECT id FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u.id = t.id FOR SHARE) AND id = 1;

-- 5. SELECT INTO, EXPLAIN.
SELECT 1 AS n INTO made;
SELECT a, b INTO TABLE made_too FROM t;
CREATE TABLE made_by AS SELECT 1;
EXPLAIN ANALYZE INSERT INTO log VALUES (1);
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) DELETE FROM log;
EXPLAIN (ANALYZE false, COSTS off) INSERT INTO log VALUES (1);
EXPLAIN (COSTS off) SELECT * FROM t WHERE id = 1;
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT nextval('s');
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) SELECT * FROM t WHERE id = 1;
EXPLAIN ANALYZE CREATE TABLE made_again AS SELECT 1;

-- 6. COPY.
COPY (DELETE FROM log RETURNING *) TO STDOUT;
COPY (SELECT nextval('s')) TO STDOUT;
COPY (SELECT id, a FROM t ORDER BY id LIMIT 3) TO STDOUT;
COPY (SELECT id FROM t WHERE id = 1 FOR UPDATE) TO STDOUT;
COPY t (id, a) TO STDOUT WITH (FORMAT csv);
COPY hard.t TO STDOUT;
COPY fast TO STDOUT;
COPY hides_write TO STDOUT;
COPY (TABLE hides_nextval) TO STDOUT;
COPY log FROM STDIN;
1
\.

-- 7. PREPARE of a write.
PREPARE p AS WITH x AS (DELETE FROM log RETURNING n) SELECT * FROM x;
EXECUTE p;
DEALLOCATE p;

-- 8. Several statements, and what looks like them.
SELECT 1\; INSERT INTO log VALUES (1);
INSERT INTO log VALUES (1)\; SELECT 1;
SELECT 'a;b', $$c;d$$, $x$;$x$ /* ; */ -- ;
;
SELECT "a;b" FROM (SELECT 1 AS "a;b") x;

-- 9. What does not parse.
SELEC 1;
SELECT 1 FROM;
SELECT * FROM t WHERE;
SELECT 1;

-- 11. Relations that are not on a standby, or not the same.
SELECT * FROM fast;
SELECT n FROM hard.fast WHERE n = 1;
SELECT * FROM parts ORDER BY 1;
SELECT * FROM parts_1;
SELECT * FROM parent;
SELECT * FROM ONLY parent;
SELECT last_value FROM s;
SELECT is_called FROM hard.s;
SELECT * FROM kept;
SELECT * FROM pg_sequences WHERE sequencename = 's';
SELECT loid FROM pg_largeobject LIMIT 1;
SELECT count(*) FROM pg_largeobject_metadata;
SELECT lo_get(1);
REFRESH MATERIALIZED VIEW kept;

-- 12. Read-only sessions.
SET default_transaction_read_only = on;
SELECT count(*) FROM t;
SET default_transaction_read_only = off;
SET default_transaction_isolation = 'serializable';
SELECT count(*) FROM t;
RESET default_transaction_isolation;

-- 13. What tells of one server.
SELECT pg_is_in_recovery();
SELECT pg_current_wal_lsn() IS NOT NULL;
SELECT pg_last_wal_replay_lsn() IS NULL;
SELECT inet_server_port();
SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND query LIKE '%hides%';
SELECT pg_postmaster_start_time() = pg_postmaster_start_time();
SELECT setting FROM pg_settings WHERE name = 'port';
SELECT current_setting('port');
SELECT current_setting('transaction_read_only');
SHOW port;
SHOW transaction_read_only;
SHOW data_directory;
SHOW search_path;
SHOW in_hot_standby;
SELECT count(*) FROM pg_replication_slots;
SELECT count(*) FROM pg_stat_replication;
SELECT slot_name FROM pg_get_replication_slots();
SELECT * FROM pg_control_recovery();
SELECT count(*) FROM pg_locks WHERE granted AND locktype = 'virtualxid' AND pid = pg_backend_pid();
SELECT pg_relation_filepath('t') IS NOT NULL;
SELECT pg_export_snapshot() IS NOT NULL;
SELECT query_to_xml('SELECT hard.writes()', true, false, '');
SELECT table_to_xml('hard.hides_write', true, false, '');
SELECT ts_stat($$SELECT 'a b'::tsvector$$);

-- Must be let go to a replica.
SELECT 1;
TABLE t ORDER BY id;
VALUES (1, 'a'), (2, 'b');
((SELECT 1) UNION ALL (SELECT 2)) ORDER BY 1;
-- a comment before it
/* and another */ SELECT count(*) FROM t;
EXPLAIN (COSTS off) TABLE t;

-- A temporary table that shadows a permanent one; the last, for it holds the session.
INSERT INTO collides VALUES (1);
CREATE TEMP TABLE collides (n int);
SELECT * FROM collides;
SELECT * FROM hard.collides;
SELECT * FROM pg_temp.collides;
INSERT INTO collides VALUES (2);
SELECT n FROM collides;
COPY collides TO STDOUT;
\c
SET search_path = hard;
SELECT pg_advisory_lock(1);
SELECT pg_try_advisory_lock(1);
SELECT pg_advisory_unlock_all();
SELECT pg_try_advisory_xact_lock(1);
DO $$BEGIN CREATE TEMP TABLE collides (n int); END$$;
SELECT * FROM collides;
