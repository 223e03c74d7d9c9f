// What applications do with node-postgres and its pool while others use the same server connections.
// Prints one `ok` line per habit; any failure exits non-zero.
import assert from 'node:assert/strict'
import { on } from 'node:events'
import { createRequire } from 'node:module'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'

// The drivers live outside the repository: an import would look beside this file.
const require = createRequire(`${process.env.PGCONVOY_NODE_DEPS}/`)
const pg = require('pg')
const Cursor = require('pg-cursor')
const { from, to } = require('pg-copy-streams')

const ok = (what) => console.log('ok', what)

let ended = false
async function churn (number) {
  while (!ended) {
    const client = new pg.Client({ application_name: `churn ${number}`, options: `-c app.churn=${number}` })
    await client.connect()
    for (let i = 1; i < 8; i++) {
      const { rows } = await client.query({ name: 'by-id', text: 'select id from item where id = $1', values: [i] })
      assert.equal(rows[0].id, i)
      const own = await client.query("select current_setting('app.churn') as own")
      assert.equal(own.rows[0].own, String(number))
    }
    await client.query("set intervalstyle = 'iso_8601'")
    assert.equal((await client.query('show intervalstyle')).rows[0].IntervalStyle, 'iso_8601')
    await client.end()
  }
}

async function types (client) {
  const values = [
    ['int4[]', [[1, 2], [3, 4]]],
    ['text[]', ['a', null, 'c,d', '"']],
    ['numeric', '12345678901234567890.123456789'],
    ['timestamptz', new Date('2024-02-29T23:59:59.999Z')],
    ['bytea', Buffer.from(Array.from({ length: 256 }, (_, i) => i))],
    ['uuid', '12345678-1234-5678-1234-567812345678'],
    ['jsonb', { a: [1, null, 'x'] }],
    ['int4range', '[1,10)'],
    ['mood', 'happy'],
    ['bool', true]
  ]
  for (const [kind, value] of values) {
    for (const binary of [false, true]) {
      // Of what it can't read in binary it gives the bytes.
      if (binary && !['numeric', 'bool'].includes(kind)) continue
      const { rows } = await client.query({ text: `select $1::${kind} as v`, values: [value], binary })
      if (!binary) assert.deepEqual(rows[0].v, value, kind)
    }
  }
  ok('types there and back')
}

async function prepared (client) {
  for (let i = 0; i < 60; i++) {
    const { rows } = await client.query({ name: `q${i}`, text: `select ${i} + $1::int as n`, values: [1] })
    assert.equal(rows[0].n, i + 1)
  }
  for (let i = 0; i < 60; i++) {
    assert.equal((await client.query({ name: `q${i}`, text: `select ${i} + $1::int as n`, values: [2] })).rows[0].n, i + 2)
  }
  await assert.rejects(client.query({ name: 'bad', text: 'select nope' }), { code: '42703' })
  await assert.rejects(client.query({ name: 'bad', text: 'select nope' }), { code: '42703' })
  assert.equal((await client.query({ name: 'good', text: 'select 1 as n' })).rows[0].n, 1)
  ok('many named statements, and one that fails')
}

async function ddl (client) {
  await client.query('create table shape (a int)')
  await client.query('insert into shape values (1)')
  for (let i = 0; i < 3; i++) {
    assert.equal((await client.query({ name: 'shape', text: 'select a from shape where a = $1', values: [1] })).rows[0].a, 1)
    await client.query(`alter table shape add column c${i} int`)
  }
  await client.query('drop table shape')
  ok('DDL between uses of a named statement')
}

async function transactions (client) {
  await client.query('begin isolation level serializable')
  assert.equal((await client.query('show transaction_isolation')).rows[0].transaction_isolation, 'serializable')
  for (const name of ['a', 'b']) {
    await client.query(`savepoint ${name}`)
    await client.query('insert into person (name) values ($1)', [name])
    await assert.rejects(client.query('select 1/0'), { code: '22012' })
    await assert.rejects(client.query('select 1'), { code: '25P02' })
    await client.query(`rollback to ${name}`)
  }
  await client.query("insert into person (name) values ('kept')")
  await client.query('commit')
  const { rows } = await client.query("select array_agg(name) as names from person where name in ('a', 'b', 'kept')")
  assert.deepEqual(rows[0].names, ['kept'])
  ok('savepoints and errors')
}

async function timeouts (client) {
  const quick = new pg.Client({ statement_timeout: 200 })
  await quick.connect()
  for (let i = 0; i < 2; i++) await assert.rejects(quick.query('select pg_sleep(20)'), { code: '57014' })
  await quick.query('begin')
  await quick.query('set local statement_timeout = 0')
  await quick.query('select pg_sleep(0.3)')
  await quick.query('commit')
  assert.equal((await quick.query('show statement_timeout')).rows[0].statement_timeout, '200ms')
  await quick.end()
  const pid = (await client.query('select 1')).rowCount
  assert.equal(pid, 1)
  ok('statement_timeout as a setting of the client and by SET LOCAL')
}

async function cursors (client) {
  await client.query('begin')
  const one = client.query(new Cursor('select id from item where id > $1 order by id', [10]))
  assert.equal((await one.read(5)).at(-1).id, 15)
  await one.close()
  await client.query("declare c cursor for select id from item order by id")
  assert.equal((await client.query('fetch 20 from c')).rows.at(-1).id, 20)
  await assert.rejects(client.query(new Cursor('select nope')).read(1), { code: '42703' })
  await client.query('rollback')
  ok('cursors of the protocol and of SQL, closed early')
}

async function copies (client) {
  await pipeline(Readable.from(Array.from({ length: 5000 }, (_, i) => `c${i}\n`)), client.query(from('copy person (name) from stdin')))
  await assert.rejects(pipeline(Readable.from(['not a number\n']), client.query(from('copy person (id) from stdin'))), { code: '22P02' })
  const chunks = []
  for await (const chunk of client.query(to('copy (select id from item) to stdout (format binary)'))) chunks.push(chunk)
  assert.equal(Buffer.concat(chunks).subarray(0, 6).toString(), 'PGCOPY')
  assert.equal((await client.query("select count(*)::int as n from person where name ~ '^c[0-9]'")).rows[0].n, 5000)
  ok('copies both ways, text, binary and wrong')
}

async function notifications (client) {
  const listener = new pg.Client()
  await listener.connect()
  await listener.query('listen one')
  await listener.query('listen two')
  const heard = on(listener, 'notification')
  for (let i = 0; i < 20; i++) {
    await client.query('select pg_notify($1, $2)', [['one', 'two'][i % 2], String(i)])
    assert.equal((await listener.query('select $1::int as n', [i])).rows[0].n, i)
  }
  for (let i = 0; i < 20; i++) {
    const [note] = (await heard.next()).value
    assert.deepEqual([note.channel, note.payload], [['one', 'two'][i % 2], String(i)])
  }
  await listener.query('unlisten *')
  await listener.end()
  ok('two channels, with queries in between')
}

async function pool () {
  const connections = new pg.Pool({ max: 8, idleTimeoutMillis: 50 })
  const work = async (number) => {
    for (let i = 0; i < 15; i++) {
      const client = await connections.connect()
      try {
        await client.query('begin')
        await client.query("select set_config('app.own', $1, true)", [String(number)])
        const { rows } = await client.query("select current_setting('app.own') as own, id from item where id = $1", [i + 1])
        assert.deepEqual(rows, [{ own: String(number), id: i + 1 }])
        await client.query(i % 3 ? 'commit' : 'rollback')
        assert.equal((await client.query("select coalesce(current_setting('app.own', true), '') as own")).rows[0].own, '')
      } finally {
        client.release(i % 5 === 4)
      }
    }
  }
  await Promise.all(Array.from({ length: 16 }, (_, number) => work(number)))
  await connections.end()
  ok('its pool, with SET LOCAL and connections thrown away')
}

const others = Array.from({ length: 4 }, (_, number) => churn(number))
const client = new pg.Client()
await client.connect()
for (const habit of [types, prepared, ddl, transactions, timeouts, cursors, copies, notifications]) await habit(client)
await client.end()
await pool()
ended = true
await Promise.all(others)
ok('the others, too')
