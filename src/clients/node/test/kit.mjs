// Servers for tests, from the program that runs them: it says on which port by
// FLOODGATE_CONTROL (tests/server/clients/node.rs). And what tests ask often.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import OldestIoredis from 'ioredis-oldest'
import { createClient } from 'redis'
import { Server } from 'floodgate-redis'

export { sleep }

// Everything is closed when the tests of the file are over.
const open = []
after(() => open.forEach((close) => close()))

/** A server of one's own, until the tests of the file are over; or a `cluster`, or a `sentinel`. */
export async function startServer(kind = 'server') {
  const control = process.env.FLOODGATE_CONTROL
  assert.ok(control, 'these tests are run by: cargo test --all-features --test server clients::node')
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
    // Of a cluster the node that has this port.
    kill: (node = '') => please(`kill ${node}`),
    start: (node = '') => please(`start ${node}`),
    freeze: (node = '') => please(`freeze ${node}`),
    thaw: (node = '') => please(`thaw ${node}`),
  }
}

/** A server whose clock stands still until it is advanced: no slow machine ends a window. */
export async function startStillServer() {
  const server = await startServer()
  const client = ioredis(server.port)
  await client.call('RL.DEBUG', 'CLOCK', 'SET', 1_700_000_000_000_000)
  const advance = (ms) => client.call('RL.DEBUG', 'CLOCK', 'ADVANCE', ms * 1000)
  return { ...server, client, advance }
}

/**
 * A way to a server on which answers to commands that WAIT get lost, and on which the server does
 * not hear that a client has gone. `cut` closes the connections of those that wait.
 */
export async function startLossyWay(port) {
  const waiting = new Set()
  const proxy = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1')
    open.push(() => server.destroy())
    let waits = false
    client.on('data', (asked) => {
      if (asked.includes('WAIT')) waits = waiting.add(client)
      server.write(asked)
    })
    server.on('data', (told) => waits || client.destroyed || client.write(told))
    for (const socket of [client, server]) socket.on('error', () => {})
  })
  proxy.listen(0, '127.0.0.1')
  const cut = () => waiting.forEach((client) => client.destroy())
  return { port: await listening(proxy), cut }
}

/**
 * A way to a server. `vanish` is as if the host vanished: the connections, those after the first `from`,
 * hear nothing any more, and stay open. `cut` closes the first one, which is that of a client itself.
 * `shut` lets nobody through any more.
 */
export async function startWay(port) {
  const ways = []
  const proxy = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1')
    open.push(() => server.destroy())
    const way = { client, vanished: false }
    ways.push(way)
    client.on('data', (asked) => way.vanished || server.write(asked))
    server.on('data', (told) => way.vanished || client.destroyed || client.write(told))
    client.on('close', () => way.vanished || server.destroy())
    server.on('close', () => way.vanished || client.destroy())
    for (const socket of [client, server]) socket.on('error', () => {})
  })
  proxy.listen(0, '127.0.0.1')
  const own = await listening(proxy)
  return {
    port: own,
    vanish: (from = 0) => ways.slice(from).forEach((way) => (way.vanished = true)),
    cut: () => ways[0].client.destroy(),
    shut: () => {
      proxy.close()
      ways.forEach(({ client }) => client.destroy())
    },
  }
}

/** The oldest version of ioredis that the package takes. */
export { OldestIoredis }

export function ioredis(port, options = {}, Client = Redis) {
  const client = new Client({ port, retryStrategy: () => 50, ...options })
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

// Tests run on busy machines, where a server that is well may take seconds to answer.
export const PATIENT = { timeoutMs: 20_000, restMs: 200, logger: null }
// For tests of an outage, which would wait 20 s for a server that hangs. A busy server may take
// longer than this: a test that wants its answer asks again (`eventually`).
export const IMPATIENT = { timeoutMs: 1000, restMs: 200, logger: null }
// Nothing that ends takes so long; what takes longer hangs.
export const HANGS_MS = 30_000

export const patient = (client) => new Server(client, PATIENT)

export async function eventually(what, holds, limitMs = 60_000) {
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

/** The answer. Fails where there is none in `HANGS_MS`. */
export async function ends(what, answer) {
  const over = new AbortController()
  const hangs = async () => {
    await sleep(HANGS_MS, undefined, { signal: over.signal }).catch(() => {})
    assert.ok(over.signal.aborted, `${what}: no answer in ${HANGS_MS} ms`)
  }
  try {
    return await Promise.race([answer, hangs()])
  } finally {
    over.abort()
  }
}

export async function listening(server) {
  if (!server.listening) await once(server, 'listening')
  open.push(() => {
    server.close()
    server.closeAllConnections?.()
  })
  return server.address().port
}
