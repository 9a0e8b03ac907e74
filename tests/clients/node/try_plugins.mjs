// Tries the plug-ins with their real hosts, four processes each, on a real server:
// node try_plugins.mjs PORT PLAIN. Talks as try_it.mjs does.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import rateLimitOfFastify from '@fastify/rate-limit'
import { floodgateStore } from 'floodgate-redis/fastify'
import { Redis } from 'ioredis'

const PORT = process.argv[2]
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** @param {string} what */
async function please(what) {
  console.log(what)
  await lines.next()
}

/** Four processes of an application; gives their ports. @param {string} host @param {string[]} clients */
async function four(host, clients) {
  const env = { ...process.env, PORT_OF_REDIS: PORT }
  return Promise.all(clients.map(async (client) => {
    const words = ['--pdeathsig', 'KILL', '--', 'node', 'plugins_app.mjs', client, host]
    const app = spawn('setpriv', words, { env, cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'inherit'] })
    const [said] = await once(app.stdout, 'data')
    return Number(String(said))
  }))
}

/** @param {number} port @param {string} path */
async function get(port, path, method = 'GET') {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method })
  return { status: response.status, headers: response.headers, body: await response.text() }
}

/** @param {number[]} ports @param {string} path @param {number} n */
async function statuses(ports, path, n) {
  const answers = await Promise.all([...Array(n).keys()].map((i) => get(ports[i % ports.length], path)))
  /** @type {Record<number, number>} */
  const counted = {}
  for (const { status } of answers) counted[status] = (counted[status] ?? 0) + 1
  return counted
}

const MIXED = ['ioredis', 'redis', 'ioredis', 'redis']
const [express, hono, fastify] = await Promise.all(['express', 'hono', 'fastify'].map((host) => four(host, MIXED)))

// One limit, however many processes and whichever client.
for (const ports of [express, hono, fastify]) {
  assert.deepEqual(await statuses(ports, '/ten', 40), { 200: 10, 429: 30 })
  const denied = await get(ports[0], '/ten')
  assert.equal(denied.status, 429)
  const seconds = Number(denied.headers.get('retry-after'))
  assert.ok(3500 < seconds && seconds <= 3600, String(seconds))
  assert.equal(denied.headers.get('x-ratelimit-remaining') ?? denied.headers.get('ratelimit-remaining'), '0')
}
assert.deepEqual(await statuses(express, '/by', 12), { 200: 3, 429: 9 }) // where the limit is a function
assert.deepEqual(await statuses(express, '/both', 12), { 200: 2, 429: 10 }) // limits of ours
assert.deepEqual(await statuses(fastify, '/three', 12), { 200: 3, 429: 9 })

// Failed requests do not count, and a denied one, which the host calls failed too,
// opens no door.
for (const ports of [express, hono]) {
  for (let i = 0; i < 6; i++) assert.equal((await get(ports[i % 4], '/failed')).status, 500)
  await sleep(100) // the host takes back after its answer
  for (let i = 0; i < 2; i++) assert.equal((await get(ports[i % 4], '/failed?ok=1')).status, 200)
  for (let i = 0; i < 12; i++) assert.equal((await get(ports[i % 4], '/failed?ok=1')).status, 429)
  await sleep(100)
  assert.deepEqual(await statuses(ports, '/failed?ok=1', 12), { 429: 12 })
}
for (let i = 0; i < 5; i++) assert.equal((await get(hono[i % 4], '/passed?ok=1')).status, 200)
for (let i = 0; i < 2; i++) assert.equal((await get(hono[i % 4], '/passed')).status, 500)
for (let i = 0; i < 5; i++) assert.equal((await get(hono[i % 4], '/passed?ok=1')).status, 429)

assert.equal((await get(express[0], '/ten', 'DELETE')).body, '{"before":10,"after":null}')
assert.equal((await get(express[1], '/ten')).status, 200)

// A ban counts how often one came back; what cannot be had is refused by name.
const banned = []
for (let i = 0; i < 4; i++) banned.push((await get(fastify[i], '/ban')).status)
assert.deepEqual(banned, [200, 429, 403, 403])
const client = new Redis(Number(PORT))
client.on('error', () => {})
for (const refused of ['continueExceeding', 'exponentialBackoff']) {
  const app = Fastify()
  app.register(rateLimitOfFastify, { store: floodgateStore({ client }), [refused]: true })
  await assert.rejects(async () => { await app.ready() }, new RegExp(`${refused} is not had here.*block=`))
}
const looking = Fastify()
await looking.register(rateLimitOfFastify, { global: false, store: floodgateStore({ client, prefix: 'look:' }) })
const check = looking.createRateLimit({ max: 3, timeWindow: 60_000 })
looking.get('/', async (request) => {
  const before = await check(request, { increment: false })
  const after = await check(request)
  return [before, after].map((it) => (it.isAllowed ? undefined : it.remaining))
})
assert.equal((await looking.inject('/')).body, '[3,2]')
assert.equal((await looking.inject('/')).body, '[2,1]')

// By require() too.
const required = createRequire(import.meta.url)
assert.equal(typeof required('floodgate-redis/express').FloodgateStore, 'function')
assert.equal(typeof required('floodgate-redis/fastify').floodgateStore, 'function')

// Away, the host's own word holds: both are told to let requests pass.
for (const [goes, comes] of [['down', 'up'], ['freeze', 'thaw']]) {
  await please(goes)
  for (const ports of [express, fastify]) {
    const away = await Promise.all(ports.map((port) => get(port, goes === 'down' ? '/ten' : '/by')))
    const expected = goes === 'down' || ports === express ? 200 : 404
    assert.deepEqual(away.map(({ status }) => status), [expected, expected, expected, expected])
  }
  await please(comes)
  const deadline = performance.now() + 30_000
  for (const port of fastify) {
    // What was granted before stands.
    while ((await get(port, '/ten')).status !== 429) {
      assert.ok(performance.now() < deadline, 'it never asks again')
      await sleep(50)
    }
  }
}
console.log('done')
process.exit(0)
