// node-postgres through pgconvoy. Prints one `ok` line per behaviour; any failure exits non-zero.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'

// The drivers live outside the repository: an import would look beside this file.
const require = createRequire(`${process.env.PGCONVOY_NODE_DEPS}/`)
const pg = require('pg')
const Cursor = require('pg-cursor')
const { from, to } = require('pg-copy-streams')

const ok = (what) => console.log('ok', what)

async function queries (client) {
  const { rows } = await client.query('select id, name from item where id = $1', [7])
  assert.deepEqual(rows, [{ id: 7, name: 'item 7' }])
  assert.equal((await client.query('select 1 as a; select 2 as a')).length, 2)
  assert.deepEqual((await client.query({ text: 'select 1, 2', rowMode: 'array' })).rows, [[1, 2]])
  assert.equal((await client.query('')).rows.length, 0)
  ok('queries, several statements and an empty one')
}

async function prepared (client) {
  for (let i = 1; i < 100; i++) {
    const { rows } = await client.query({ name: 'by-id', text: 'select name from item where id = $1', values: [i] })
    assert.equal(rows[0].name, `item ${i}`)
  }
  ok('named prepared statements')
}

async function queued (client) {
  const results = await Promise.all(Array.from({ length: 50 }, (_, i) => client.query('select $1::int as n', [i])))
  assert.deepEqual(results.map((result) => result.rows[0].n), Array.from({ length: 50 }, (_, i) => i))
  ok('queries queued on one connection')
}

async function transactions (client) {
  await client.query('begin')
  await client.query("insert into person (name) values ('t1')")
  await client.query('savepoint s')
  await assert.rejects(client.query('select 1/0'), { code: '22012' })
  await client.query('rollback to savepoint s')
  await client.query('commit')
  const { rows } = await client.query("select count(*)::int as n from person where name = 't1'")
  assert.equal(rows[0].n, 1)
  ok('transactions and savepoints')
}

async function errors (client) {
  for (let i = 0; i < 3; i++) {
    await assert.rejects(client.query('select nope from item'), { code: '42703' })
    await assert.rejects(client.query('insert into item (id) values ($1)', [1]), { code: '23505', constraint: 'item_pkey' })
    assert.equal((await client.query('select $1::int as n', [i])).rows[0].n, i)
  }
  ok('errors keep their code and fields')
}

async function cursor (client) {
  const rows = client.query(new Cursor('select id from item order by id'))
  const seen = []
  for (;;) {
    const some = await rows.read(77)
    if (some.length === 0) break
    seen.push(...some.map((row) => row.id))
  }
  await rows.close()
  assert.equal(seen.length, 1000)
  const early = client.query(new Cursor('select id from item order by id'))
  assert.equal((await early.read(10)).length, 10)
  await early.close()
  assert.equal((await client.query('select 1 as a')).rows[0].a, 1)
  ok('a cursor, read to the end and closed early')
}

async function copy (client) {
  const lines = Readable.from(Array.from({ length: 2000 }, (_, i) => `copied ${i}\thappy\n`))
  await pipeline(lines, client.query(from('copy person (name, m) from stdin')))
  let text = ''
  const out = client.query(to('copy (select id from item order by id) to stdout'))
  for await (const chunk of out) text += chunk
  assert.equal(text.trim().split('\n').length, 1000)
  const { rows } = await client.query("select count(*)::int as n from person where name like 'copied%'")
  assert.equal(rows[0].n, 2000)
  ok('copy in and out')
}

async function notifications (client) {
  const listener = new pg.Client()
  await listener.connect()
  await listener.query('listen news')
  const heard = once(listener, 'notification')
  await client.query("notify news, 'hello'")
  const [note] = await heard
  assert.deepEqual([note.channel, note.payload], ['news', 'hello'])
  await listener.end()
  ok('listen and notify')
}

async function pool () {
  const connections = new pg.Pool({ max: 20 })
  const work = async (number) => {
    for (let i = 1; i < 20; i++) {
      assert.equal((await connections.query('select id from item where name = $1', [`item ${i}`])).rows[0].id, i)
      const client = await connections.connect()
      try {
        const { rows } = await client.query('insert into person (name) values ($1) returning id', [`w${number}`])
        const back = await client.query('select name from person where id = $1', [rows[0].id])
        assert.equal(back.rows[0].name, `w${number}`)
      } finally {
        client.release()
      }
    }
  }
  await Promise.all(Array.from({ length: 20 }, (_, number) => work(number)))
  await connections.end()
  ok('its pool: 20 connections over 4 server connections')
}

const client = new pg.Client({ application_name: 'node test', statement_timeout: 50000 })
await client.connect()
for (const behaviour of [queries, prepared, queued, transactions, errors, cursor, copy, notifications]) await behaviour(client)
await client.end()
await pool()
