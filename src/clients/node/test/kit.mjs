// Servers for tests, from the program that runs them: it says on which port by
// FLOODGATE_CONTROL (tests/server/client_node.rs). And what tests ask often.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { Server } from 'floodgate-redis'

export { sleep }

// Everything is closed when the tests of the file are over.
const open = []
after(() => open.forEach((close) => close()))

/** A server of one's own, until the tests of the file are over; or a `cluster`, or a `sentinel`. */
export async function startServer(kind = 'server') {
  const control = process.env.FLOODGATE_CONTROL
  assert.ok(control, 'these tests are run by: cargo test --all-features --test server client_node')
  const socket = net.connect(Number(control), '127.0.0.1')
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  socket.write(`${kind}\n`)
  const port = Number((await lines.next()).value)
  const please = async (what) => {
    socket.write(`${what}\n`)
    assert.equal((await lines.next()).value, 'done')
  }
  open.push(() => socket.destroy())
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    kill: () => please('kill'),
    start: () => please('start'),
    freeze: () => please('freeze'),
    thaw: () => please('thaw'),
  }
}

export function ioredis(port, options = {}) {
  const client = new Redis({ port, retryStrategy: () => 50, ...options })
  client.on('error', () => {})
  open.push(() => client.disconnect())
  return client
}

/** The same of node-redis. */
export async function nodeRedis(port, options = {}) {
  const client = createClient({ ...options, socket: { port, reconnectStrategy: 50 } })
  client.on('error', () => {})
  await client.connect()
  open.push(() => client.destroy())
  return client
}

/** What is logged, to be looked at. */
export function listener() {
  const lines = []
  const tell = (level) => (message) => lines.push(`${level}: ${message}`)
  return { lines, info: tell('info'), warn: tell('warn'), error: tell('error') }
}

// Where tests run a server may take its time: not each delay is an outage.
export const PATIENT = { timeoutMs: 5000, restMs: 200, logger: null }
// Of a server that is away it is enough to wait a little.
export const IMPATIENT = { timeoutMs: 500, restMs: 200, logger: null }

export const patient = (client) => new Server(client, PATIENT)

export async function eventually(what, holds, limitMs = 20_000) {
  const deadline = performance.now() + limitMs
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, what)
    await sleep(20)
  }
}

/** One after the other. */
export async function times(n, f) {
  const all = []
  for (let i = 0; i < n; i++) all.push(await f(i))
  return all
}

/** Numbers that are the same in every run. */
export function dice(seed) {
  return (n) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return Math.floor((seed / 2 ** 32) * n)
  }
}

export async function took(f) {
  const start = performance.now()
  await f()
  return performance.now() - start
}

export async function listening(server) {
  if (!server.listening) await once(server, 'listening')
  open.push(() => {
    server.close()
    server.closeAllConnections?.()
  })
  return server.address().port
}
