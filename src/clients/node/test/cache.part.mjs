// Values that all processes share, on a real server.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Breaker, Cache, Denied, guarded, Limiter, Server } from 'floodgate-redis'
import { listener, nodeRedis, patient } from './clients.mjs'
import { inLine } from './operator.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { ends, eventually, HANGS_MS, sleep } from './waits.mjs'

const server = await startServer()
const { operator: client } = server
const shared = patient(client)
const resp3 = patient(await nodeRedis(server.port, { RESP: 3 }))

test('values that all share', async () => {
  for (const [i, asker] of [shared, resp3].entries()) {
    const cache = new Cache(asker, `a*[b]${i}`)
    const other = new Cache(asker, `ab${i}`)
    assert.deepEqual(
      [await cache.get('x'), await cache.exists('x'), await cache.ttlMs('x')],
      [undefined, false, undefined],
    )
    for (const value of [{ list: [1, 2.5, 'ü', null, true] }, null, '', 0]) {
      await cache.set('x', value)
      assert.deepEqual([await cache.get('x'), await cache.exists('x')], [value, true])
    }
    assert.equal(await cache.ttlMs('x'), Infinity)
    await cache.set('x', 1, { ttlMs: 100_000 })
    assert.ok((await cache.ttlMs('x')) > 90_000)
    await cache.set('brief', 1, { ttlMs: 50 })
    await eventually('it ends', async () => !(await cache.exists('brief')))
    for (const key of ['user:1', 'user:2', 'team:1']) await cache.set(key, key)
    await other.set('user:1', 'other')
    await cache
      .once('user:3', async () => {
        // A place is no value.
        assert.equal(await cache.clear('user:*'), 2)
        assert.equal(await client.exists(`a*[b]${i}!user:3`), 1)
      })
      .catch((error) => assert.ok(error instanceof TypeError))
    assert.deepEqual(
      [await cache.get('user:1'), await cache.get('team:1'), await other.get('user:1')],
      [undefined, 'team:1', 'other'],
    )
    await client.mset(...Array.from({ length: 3000 }, (_, n) => [`a*[b]${i}:many:${n}`, '1']).flat())
    assert.equal(await cache.clear('many:*'), 3000)
    assert.deepEqual(
      [await cache.delete('x', 'team:1', 'none'), await cache.delete(), await cache.clear()],
      [2, 0, 0],
    )
    await assert.rejects(cache.set('x', undefined), TypeError)
  }
  const cluster = new Cache(new Server((args) => client.call(args[0], args.slice(1)), PATIENT), 'c')
  await assert.rejects(cluster.clear(), /walks over the keys of one server/)
})

test('one makes what the others wait for', async () => {
  let made = 0
  const make = async () => {
    made += 1
    await sleep(200)
    return [made]
  }
  // Two processes' worth of clients, of which one has no connection to wait on.
  const lone = new Server((args) => client.call(args[0], args.slice(1)), PATIENT)
  const caches = [shared, resp3, lone].map((asker) => new Cache(asker, 'once'))
  const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => caches[i % 3].once('x', make)))
  assert.deepEqual(
    answers,
    Array.from({ length: 30 }, () => [1]),
  )

  // Who fails leaves it to the next, and its error is its own.
  await assert.rejects(
    caches[0].once('fails', () => Promise.reject(new Denied({ retryAfterMs: 7 }))),
    /retry after 7 ms/,
  )
  assert.equal(await caches[1].once('fails', () => 1), 1)
  // Rather twice than never.
  const impatient = new Cache(shared, 'slow', { patienceMs: 200 })
  assert.equal(await impatient.once('x', () => impatient.once('x', () => 2)), 2)
})

test('where waits are shorter than a cache is patient, and where so many wait already', async () => {
  const own = await startServer()
  const { operator } = own
  const hurried = { longest: '50ms', patienceMs: 30_000 }
  for (const asker of [operator, await nodeRedis(own.port)]) {
    for (const { longest, patienceMs, waiters, maxWaiters } of [
      { longest: '30s', patienceMs: 60_000, waiters: 4 },
      hurried,
      { longest: '30s', patienceMs: 30_000, maxWaiters: 1 },
    ]) {
      // Redis 6.2 has no such setting; there it can stand in line.
      await operator.call('CONFIG', 'SET', 'floodgate.wait-max', longest).catch(() => {})
      const logger = listener()
      const cache = new Cache(new Server(asker, { ...PATIENT, maxWaiters, logger }), 'brief', { patienceMs })
      let made = 0
      const make = async () => {
        made += 1
        if (waiters)
          await eventually('they wait', async () => (await inLine(operator, 'brief!x')) === waiters)
        else await sleep(200)
        return 42
      }
      const answers = await Promise.all(Array.from({ length: 5 }, () => cache.once('x', make)))
      assert.deepEqual([answers, made, await cache.delete('x')], [Array(5).fill(42), 1, 1])
      assert.deepEqual(logger.lines, [], 'a refusal is no outage')
      cache.server.close()
    }
    await operator.call('CONFIG', 'SET', 'floodgate.wait-max', hurried.longest).catch(() => {})
    const server = patient(asker)
    const cache = new Cache(server, 'paid')
    const double = (n) => 2 * n
    const breaker = new Breaker(server, 'double', '2')
    const ask = guarded({ limiter: new Limiter(server), breaker, key: 'k', limits: '9/h', cache }, double)
    assert.deepEqual([await ask(4), await ask(4)], [8, 8])
    // What is refused for another reason is told.
    await operator.set('paid!y', 'no place')
    await assert.rejects(
      cache.once('y', () => assert.fail('made')),
      /WRONGTYPE/,
    )
    await cache.clear()
    server.close()
  }
})

test('four processes make it once, and the next takes over from one that dies', async () => {
  const file = fileURLToPath(new URL('maker.mjs', import.meta.url))
  const start = (part) => fork(file, [String(server.port), part])
  const makers = Array.from({ length: 4 }, () => start('once'))
  const exits = await Promise.all(makers.map((maker) => once(maker, 'exit')))
  for (const exit of exits) assert.deepEqual(exit, [0, null])
  assert.equal(await client.get('makers:made'), '1')
  assert.deepEqual(
    await client.lrange('makers:answers', 0, -1),
    Array.from({ length: 20 }, () => '42'),
  )

  const dies = start('dies')
  await eventually('it makes', async () => (await client.get('makers:dying')) === '1')
  const died = once(dies, 'exit')
  dies.kill('SIGKILL')
  await died
  // Out of patience it would make it as well.
  const cache = new Cache(shared, 'dies', { holdMs: 500, patienceMs: 10 * HANGS_MS })
  const made = cache.once('x', () => 'mine')
  assert.equal(await ends('who takes over', made), 'mine')
})
