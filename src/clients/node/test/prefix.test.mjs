// What the client puts before all keys stands before those of this package, too: applications that
// it keeps apart share no limit, no breaker and no value.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker, Cache, Denied, FailClosed, Lease, Limiter, Server, guarded, reserve } from 'floodgate-redis'
import { FloodgateStore } from 'floodgate-redis/express'
import { floodgateStore } from 'floodgate-redis/fastify'
import { FloodgateThrottlerStorage } from 'floodgate-redis/nestjs'
import { ioredis, nodeRedis, patient } from './clients.mjs'
import { times } from './numbers.mjs'
import { inLine, used as usedOf } from './operator.mjs'
import { OldestIoredis } from './oldest.mjs'
import { PATIENT } from './patience.mjs'
import { startStillServer } from './servers.mjs'
import { eventually } from './waits.mjs'

const { port, operator, advance } = await startStillServer()
const keys = async () => (await operator.keys('*')).sort()
const call = (...words) => operator.call(...words)
const used = (key) => usedOf(operator, key)

// Patterns of keys take it word for word.
const PREFIX = 'a*[b]?\\^:'
for (const [name, connect] of [
  ['ioredis', (keyPrefix) => ioredis(port, { keyPrefix })],
  ['ioredis, in pipelines', (keyPrefix) => ioredis(port, { keyPrefix, enableAutoPipelining: true })],
  ['ioredis, oldest', (keyPrefix) => ioredis(port, { keyPrefix }, OldestIoredis)],
  [
    'ioredis, oldest in pipelines',
    (keyPrefix) => ioredis(port, { keyPrefix, enableAutoPipelining: true }, OldestIoredis),
  ],
  ['ioredis, RESP3 with maps', (keyPrefix) => ioredis(port, { keyPrefix, replyMapping: 'resp3' })],
  ['node-redis', (keyPrefix) => nodeRedis(port, { keyPrefix })],
]) {
  const mine = (key) => PREFIX + key
  const connected = async () => {
    await operator.flushall()
    // What is given back is given back once more after this time.
    const server = new Server(await connect(PREFIX), { ...PATIENT, timeoutMs: 5000 })
    return { server, limiter: new Limiter(server, { fallback: new FailClosed(), rememberDenials: false }) }
  }
  const areMine = async (...expected) => assert.deepEqual(await keys(), expected.map(mine).sort())

  test(`${name}: limits`, async () => {
    const { limiter, server } = await connected()
    assert.equal((await limiter.acquire('k', '9/h')).remaining, 8)
    assert.equal((await limiter.acquireWithHeaders('k', '9/h')).headers['X-RateLimit-Remaining'], '7')
    assert.equal((await limiter.wait('k', '9/h', 1000)).remaining, 6)
    assert.equal((await limiter.charge('k', '9/h', 4)).remaining, 2)
    assert.equal(await limiter.refund('k', 1), 1)
    assert.equal((await limiter.quota('k')).rows[0].used, 6)
    assert.equal((await limiter.headers('k'))['X-RateLimit-Remaining'], '3')
    const items = ['b', 'c'].map((key) => ({ key, limits: '9/h', cost: 2 }))
    assert.deepEqual(
      (await limiter.batch('ALL', items)).map(({ granted }) => granted),
      [2, 2],
    )
    await areMine('k', 'b', 'c')
    assert.deepEqual([await used(mine('k')), await used(mine('c'))], [6, 2])
    // Of commands that this package does not send, the key that is told.
    assert.equal(await server.ask(['RL.RESET', 'b'], { key: 'b' }), 1)
    await areMine('k', 'c')

    const other = new Limiter(patient(await connect('other:')))
    assert.equal((await other.acquire('k', '9/h')).remaining, 8)
    assert.equal((await new Limiter(patient(ioredis(port))).acquire('k', '9/h')).remaining, 8)
  })

  test(`${name}: reservations and leases`, async () => {
    const { limiter, server } = await connected()
    const limits = { k: '9/h,concurrent:1', l: '9/h' }
    const leftMs = async (key) => (await call('RL.RESERVATIONS', mine(key)))[0]?.[3]
    await reserve(limiter, limits, { ttlMs: 3000 }, async (spending) => {
      await advance(2000)
      for (const key of ['k', 'l'])
        await eventually('it is renewed', async () => (await leftMs(key)) === 3000)
      spending.add(5)
    })
    assert.deepEqual([await leftMs('k'), await used(mine('k')), await used(mine('l'))], [undefined, 5, 5])
    await assert.rejects(
      reserve(limiter, limits, {}, () => Promise.reject(new Error('fails'))),
      /fails/,
    )
    assert.deepEqual([await leftMs('k'), await used(mine('k')), await used(mine('l'))], [undefined, 5, 5])
    // In line; and who goes gives it back.
    const one = { k: 'concurrent:1' }
    await reserve(limiter, one, { waitMs: 1000 }, async () => {
      const gone = new AbortController()
      const waits = reserve(limiter, one, { waitMs: 20_000, signal: gone.signal }, () => assert.fail('done'))
      await eventually('it stands in line', async () => (await inLine(operator, mine('k'))) === 1)
      gone.abort()
      await assert.rejects(waits, { name: 'AbortError' })
    })
    await eventually('nobody holds it', async () => (await leftMs('k')) === undefined)
    await areMine('k', 'l')

    const lease = new Lease(limiter, 'hot', '1000000/h', { intervalMs: 60_000 })
    await eventually(
      'it leases',
      async () => (await times(20, () => lease.acquire())).at(-1).source === 'lease',
    )
    await lease.close()
    const { leased, asked } = lease.counters
    assert.deepEqual([await leftMs('hot'), await used(mine('hot'))], [undefined, leased + asked])
    server.close()
  })

  test(`${name}: breakers, paid calls and values`, async () => {
    const { limiter, server } = await connected()
    const breaker = new Breaker(server, 'api', '1:open=1h')
    await assert.rejects(
      breaker.call(() => Promise.reject(new Error('fails'))),
      /fails/,
    )
    assert.ok(String(await call('CB.STATE', mine('api'))).startsWith('state,open'))
    const cache = new Cache(server, 'v*')
    // A key that is a word of the command.
    const pays = { limiter, breaker: new Breaker(server, 'LIMIT', '3'), key: 'LIMIT:k', limits: '9/h' }
    const paid = guarded({ ...pays, cache, cachedAs: String }, (n) => 2 * n)
    assert.deepEqual([await paid(4), await paid(4), await used(mine('LIMIT:k'))], [8, 8, 1])
    assert.match(String(await call('RL.STATS', mine('LIMIT:k'))), /,ok,2,fail,0,cached,1,/)
    assert.equal(await guarded({ ...pays, breaker: new Breaker(server, 'LIMIT') }, () => 1)(), 1)
    await areMine('api', 'LIMIT', 'LIMIT:k', 'v*:4')

    await cache.set('a', 1, { ttlMs: 60_000 })
    await operator.set('v*:a', 'of others')
    await operator.set('other:v*:a', 'of others')
    assert.deepEqual([await cache.get('a'), await cache.exists('a'), await cache.delete('4')], [1, true, 1])
    assert.ok((await cache.ttlMs('a')) > 50_000)
    assert.equal(
      await cache.once('b', async () => {
        assert.equal(await operator.exists(mine('v*!b')), 1)
        return 42
      }),
      42,
    )
    await operator.mset(...Array.from({ length: 3000 }, (_, n) => [mine(`v*:many:${n}`), '1']).flat())
    assert.deepEqual(
      [await cache.clear('many:*'), await cache.clear(), await cache.exists('a')],
      [3000, 2, false],
    )
    assert.deepEqual(await keys(), [...['api', 'LIMIT', 'LIMIT:k'].map(mine), 'other:v*:a', 'v*:a'].sort())
    server.close()
  })

  test(`${name}: plug-ins`, async () => {
    const { server } = await connected()
    const store = new FloodgateStore({ client: server })
    store.init({ windowMs: 60_000, limit: 5 })
    await times(2, () => store.increment('u'))
    await store.decrement('u')
    assert.equal((await store.get('u')).totalHits, 1)
    const fastify = new (floodgateStore({ client: server }))({})
    const counted = (how) =>
      new Promise((resolve, reject) =>
        fastify[how]('u', (error, hits) => (error ? reject(error) : resolve(hits.current)), 60_000, 5),
      )
    assert.deepEqual([await counted('incr'), await counted('read')], [1, 1])
    await new FloodgateThrottlerStorage({ client: server }).increment('u', 60_000, 5, 0, 'd')
    await areMine('express-rate-limit:u', 'fastify-rate-limit:u', 'throttler:d:u')
    await store.increment('v')
    await store.resetKey('u')
    await call('RL.ACQUIRE', 'express-rate-limit:w', '9/h')
    await store.resetAll()
    const left = [mine('fastify-rate-limit:u'), mine('throttler:d:u'), 'express-rate-limit:w']
    assert.deepEqual(await keys(), left.sort())
  })
}

test('without one nothing stands before them', async () => {
  await operator.flushall()
  for (const client of [ioredis(port), await nodeRedis(port)]) {
    assert.equal(patient(client).prefix, '')
    await new Limiter(patient(client)).acquire('k', '9/h')
  }
  assert.deepEqual(await keys(), ['k'])
  await assert.rejects(
    reserve(new Limiter(patient(ioredis(port))), { k: '1/h' }, {}, () => {}),
    Denied,
  )
})
