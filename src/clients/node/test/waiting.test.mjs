// Requests that wait on connections of their own, which fail while the client itself is well, and which
// end when the client does.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { Breaker, Cache, Closed, FailOpen, Limiter, Server, guarded, reserve } from 'floodgate-redis'
import { BOTH, ioredis, listener, nodeRedis, patient } from './clients.mjs'
import { times } from './numbers.mjs'
import { inLine as inLineOf } from './operator.mjs'
import { OldestIoredis } from './oldest.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { ends, eventually } from './waits.mjs'
import { warningsDuring } from './warnings.mjs'
import { startWay } from './ways.mjs'

const server = await startServer()
const { operator } = server
const inLine = (key) => inLineOf(operator, key)

const CLIENTS = {
  ioredis: (port) => ioredis(port),
  'ioredis, oldest': (port) => ioredis(port, {}, OldestIoredis),
  'node-redis': (port) => nodeRedis(port),
}

for (const [name, connect] of Object.entries(CLIENTS)) {
  test(`${name}: a server that takes no more connections decides all the same`, async () => {
    const full = await startServer()
    const { operator } = full
    const logger = listener()
    const server = new Server(await connect(full.port), { ...PATIENT, logger })
    const limiter = new Limiter(server, { fallback: new FailOpen(), rememberDenials: false })
    const cache = new Cache(server, 'full')
    const breaker = new Breaker(server, 'breaker:full', '3')
    await times(3, () => limiter.acquire('full', '3/h'))
    const [, clients] = /connected_clients:(\d+)/.exec(await operator.info('clients'))
    await operator.config('SET', 'maxclients', clients)
    // Each by a connection that is refused, and then by the client itself.
    assert.deepEqual((await times(3, () => limiter.wait('line', '2/h', 50))).map(sourced), [
      [1, 'redis'],
      [1, 'redis'],
      [0, 'redis'],
    ])
    assert.equal(await cache.once('x', () => 42), 42)
    const paid = guarded({ limiter, breaker, key: 'paid', limits: '9/h', cache }, function double(n) {
      return 2 * n
    })
    assert.equal(await paid(4), 8)
    const held = () => reserve(limiter, { place: 'concurrent:1' }, { waitMs: 50 }, held)
    await assert.rejects(held(), { name: 'Denied' })
    const after = await times(20, () => limiter.acquire('full', '3/h'))
    assert.deepEqual(after.map(sourced), Array(20).fill([0, 'redis']))
    assert.deepEqual(logger.lines, [])
  })

  test(`${name}: a host that has vanished leaves no connection behind on which somebody waits in vain`, async () => {
    const way = await startWay(server.port)
    const logger = listener()
    const limiter = new Limiter(new Server(await connect(way.port), { ...PATIENT, logger }))
    const key = `vanished:${name}`
    await limiter.acquire(key, '1000/h')
    const waitAll = () => Promise.all([1, 2, 3].map(() => limiter.wait(key, '1000/h', 25_000)))
    await waitAll()
    way.vanish()
    way.cut()
    await eventually(
      'it is connected anew',
      async () => (await limiter.acquire(key, '1000/h')).source === 'redis',
    )
    const start = performance.now()
    assert.deepEqual((await ends('they are granted', waitAll())).map(sourced), Array(3).fill([1, 'redis']))
    assert.ok(performance.now() - start < 20_000)
    logger.lines.splice(0, 2) // where it was asked in between
    assert.deepEqual(logger.lines, [])
  })

  test(`${name}: a connection that goes silent alone is no outage, and takes no place for good`, async () => {
    const way = await startWay(server.port)
    const logger = listener()
    const limiter = new Limiter(new Server(await connect(way.port), { ...PATIENT, timeoutMs: 2000, logger }))
    const [line, place] = ['line', 'place'].map((kind) => `silent:${kind}:${name}`)
    await limiter.acquire(line, '2/h')
    for (const [i, wait] of [
      () => limiter.wait(line, '2/h', 100).then(sourced),
      () => reserve(limiter, { [place]: 'concurrent:1' }, { waitMs: 100 }, async () => 'done'),
    ].entries()) {
      await limiter.wait(`kept:${name}`, '1000/h', 1000)
      way.vanish(1)
      assert.deepEqual(await wait(), [[1, 'redis'], 'done'][i])
    }
    assert.equal((await operator.call('RL.RESERVATIONS', place)).length, 0)
    assert.deepEqual(logger.lines, [])
  })

  test(`${name}: who waits is told when the client or the server is closed`, async () => {
    const key = (what) => `closed:${what}:${name}`
    const isOfIoredis = name.startsWith('ioredis')
    const ways = isOfIoredis
      ? [(client) => client.quit(), (client) => client.disconnect()]
      : [(client) => client.close(), (client) => client.destroy()]
    for (const close of [...ways, (_, server) => server.close()]) {
      const client = await connect(server.port)
      const asked = patient(client)
      const limiter = new Limiter(asked)
      await operator.call('RL.ACQUIRE', key('line'), '1/h')
      await operator.call('RL.RESERVE', 1, key('place'), 'concurrent:1', 'TTL', '1h', 'ID', 'theirs')
      await operator.call('RL.RESERVE', 1, `${key('ns')}!x`, 'concurrent:1', 'TTL', '1h', 'ID', 'theirs')
      const keys = [key('line'), key('place'), `${key('ns')}!x`]
      const waiting = [
        limiter.wait(key('line'), '1/h', 25_000),
        reserve(limiter, { [key('place')]: 'concurrent:1' }, { waitMs: 25_000 }, () => assert.fail('done')),
        new Cache(asked, key('ns')).once('x', () => assert.fail('made')),
      ].map((waits) =>
        waits.then(
          () => 'granted',
          (error) => error,
        ),
      )
      for (const key of keys) await eventually('it stands in line', async () => (await inLine(key)) === 1)
      await close(client, asked)
      for (const came of await ends('they end', Promise.all(waiting))) assert.ok(came instanceof Closed, came)
      for (const key of keys) await eventually('it has left the line', async () => (await inLine(key)) === 0)
    }
  })
}

test('where only Sentinel is away, the master decides all the same', async () => {
  const sentinel = await startServer('sentinel')
  const way = await startWay(sentinel.port)
  const client = new Redis({ sentinels: [{ host: '127.0.0.1', port: way.port }], name: 'floodgate' })
  client.on('error', () => {})
  const logger = listener()
  const limiter = new Limiter(new Server(client, { ...PATIENT, logger }))
  await limiter.acquire('k', '3/h')
  way.shut()
  const decisions = await Promise.all([1, 2, 3].map(() => limiter.wait('k', '3/h', 50)))
  assert.deepEqual(decisions.map(sourced).sort(), [
    [0, 'redis'],
    [1, 'redis'],
    [1, 'redis'],
  ])
  assert.deepEqual(logger.lines, [])
  client.disconnect()
})

test('many requests that share one signal are no leak of listeners', async () => {
  const warnings = await warningsDuring(async () => {
    for (const [, connect] of BOTH) {
      const limiter = new Limiter(patient(await connect(server.port)))
      const { signal } = new AbortController()
      const all = (ask) => Promise.all(Array.from({ length: 30 }, ask))
      await all(() => limiter.acquire('shared', '1000/h', { signal }))
      await all(() => limiter.wait('shared', '1000/h', 1000, { signal }))
      await all(() => new Breaker(limiter.server, 'breaker:shared', '3').call(() => 1, { signal }))
      await all(() => limiter.acquireWithHeaders('shared', '1000/h', { signal }))
    }
  })
  assert.deepEqual(warnings, [])
})

function sourced({ granted, source }) {
  return [granted, source]
}
