// A program ends by itself when its client is closed, and nothing of the package stays open.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mock, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Limiter } from 'floodgate-redis'
import { Connections } from '../dist/cjs/connections.js'
import { ioredis, nodeRedis, patient } from './clients.mjs'
import { startServer } from './servers.mjs'
import { ends, eventually } from './waits.mjs'
import { warningsDuring } from './warnings.mjs'
import { startWay } from './ways.mjs'

const server = await startServer()
const cluster = await startServer('cluster')
// Where nobody listens.
const nobody = await startWay(server.port)
nobody.shut()
const program = fileURLToPath(new URL('ends.mjs', import.meta.url))

for (const [kind, ways] of [
  ['ioredis', ['quit', 'disconnect', 'at once']],
  ['node-redis', ['close', 'destroy', 'at once']],
  ['cluster', ['quit', 'disconnect']],
  ['sentinel', ['disconnect', 'at once']],
]) {
  test(`${kind}: a program that has waited ends`, async (t) => {
    const { port } = { cluster, sentinel: nobody }[kind] ?? server
    const child = spawn(process.execPath, [program, kind, port, ...ways], { stdio: ['ignore', 'pipe', 2] })
    t.after(() => child.kill('SIGKILL'))
    const exit = once(child, 'exit')
    let said = ''
    const allClosed = new Promise((resolve) => {
      child.stdout.on('data', (told) => (said += told).includes(`closed: ${ways.at(-1)}\n`) && resolve())
    })
    // It dies before that, or it comes to it.
    await Promise.race([exit, allClosed])
    assert.deepEqual(await ends(`a program whose clients are closed: ${said}`, exit), [0, null])
    assert.equal(said, ways.map((how) => `closed: ${how}\n`).join(''))
  })
}

test('in a process that goes on, too, they are closed with the client, and new ones are opened after it', async () => {
  const { operator } = server
  const own = async () => {
    const list = String(await operator.call('CLIENT', 'LIST'))
    return list.split('\n').filter((line) => line.includes('cmd=rl.acquire')).length
  }
  for (const [client, close, again] of [
    [ioredis(server.port), (client) => client.quit(), (client) => client.connect()],
    [await nodeRedis(server.port), (client) => client.close(), (client) => client.connect()],
  ]) {
    await eventually('none is there', async () => (await own()) === 0)
    // Many who ask by one client, of whom each has waited.
    const limiters = Array.from({ length: 12 }, () => new Limiter(patient(client)))
    const waitAll = () => Promise.all(limiters.map((limiter) => limiter.wait('all', '100000/h', 1000)))
    const warnings = await warningsDuring(async () => {
      for (let i = 0; i < 3; i++) await waitAll()
      assert.equal(await own(), 12)
      await close(client)
      await eventually('they are closed', async () => (await own()) === 0)
      await again(client)
      assert.ok((await waitAll()).every(({ source }) => source === 'redis'))
      assert.equal(await own(), 12)
      await close(client)
      await eventually('they are closed again', async () => (await own()) === 0)
    })
    assert.deepEqual(warnings, [])
  }
})

test('a free one is used again, and closed when nobody has waited on it for a minute', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  let opened = 0
  const open = async () => ({
    name: ++opened,
    isOpen: true,
    close() {
      this.isOpen = false
    },
  })
  const connections = new Connections({ open, isClosed: () => false, watch: () => {} })
  const take = () => connections.take(new AbortController().signal)
  const [first, second] = [await take(), await take()]
  connections.keep(first)
  mock.timers.tick(59_000)
  assert.equal(await take(), first)
  mock.timers.tick(59_000)
  assert.ok(first.isOpen, 'it is in use')
  connections.keep(second)
  mock.timers.tick(30_000)
  connections.keep(first)
  mock.timers.tick(30_000)
  assert.deepEqual([first.isOpen, second.isOpen], [true, false])
  // One that the server has closed meanwhile.
  first.isOpen = false
  assert.equal((await take()).name, 3)
})
