// A mistake of the caller is told before anything is asked, by the name of the argument. It is no
// outage: others are decided by Redis meanwhile.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  Breaker,
  Cache,
  FailClosed,
  guarded,
  Lease,
  Limiter,
  LocalBucket,
  networkOf,
  reserve,
  Server,
  Spending,
} from 'floodgate-redis'
import { FloodgateStore } from 'floodgate-redis/express'
import { floodgateStore } from 'floodgate-redis/fastify'
import { FloodgateThrottlerStorage } from 'floodgate-redis/nestjs'
import { BOTH, ioredis } from './clients.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'

const { port, operator } = await startServer()
const units = 'it must be a whole number from 1 to 1000000000000'
const text = 'it must be a string'
const ms = (least, most = 1000000000) => `it must be ${least} to ${most} ms`
const waitMs = `${ms(0)}, and at most the server's setting wait-max (30 s unless told)`
const aClient =
  'it must be a client of ioredis or node-redis, such as new Redis(url), or a function that sends a command'
const callable = 'it must be a function'
const noGenerator = 'it must be no generator, which works after its call'
const done = () => assert.fail('done')

/** Calls with a mistake in the argument of that name, each with its error. */
const MISTAKES = (limiter, server) => {
  const cache = new Cache(server, 'cache')
  const call = (options, ...f) =>
    guarded(
      { limiter, breaker: new Breaker(server, 'b', '2'), key: 'k', limits: '9/h', ...options },
      ...(f.length ? f : [done]),
    )
  return [
    ...[undefined, null, {}, 5, 'redis://:secret@localhost'].flatMap((wrong) => [
      ['client', wrong, aClient, () => new Limiter(wrong)],
      ['client', wrong, aClient, () => new Server(wrong)],
      ['client', wrong, aClient, () => new Breaker(wrong, 'b')],
      ['client', wrong, aClient, () => new Cache(wrong, 'c')],
      ['client', wrong, aClient, () => new FloodgateStore({ client: wrong })],
      ['client', wrong, aClient, () => floodgateStore({ client: wrong })],
      ['client', wrong, aClient, () => new FloodgateThrottlerStorage({ client: wrong })],
    ]),
    ...[undefined, null].flatMap((wrong) => [
      ['options', wrong, 'it must be an object', () => new FloodgateStore(wrong)],
      ['options', wrong, 'it must be an object', () => floodgateStore(wrong)],
      ['options', wrong, 'it must be an object', () => new FloodgateThrottlerStorage(wrong)],
      ['options', wrong, 'it must be an object', () => guarded(wrong, done)],
      ['limiter', wrong, 'it must be a Limiter', () => reserve(wrong, { k: '9/h' }, {}, done)],
      ['limiter', wrong, 'it must be a Limiter', () => new Lease(wrong, 'k')],
      ['limiter', wrong, 'it must be a Limiter', () => guarded({ limiter: wrong }, done)],
      ['breaker', wrong, 'it must be a Breaker', () => guarded({ limiter, breaker: wrong }, done)],
      ['limits', wrong, "it must be an object of each key's limits", () => reserve(limiter, wrong, {}, done)],
      ['work', wrong, callable, () => reserve(limiter, { k: '9/h' }, {}, wrong)],
      ['work', wrong, callable, () => reserve(limiter, { k: '9/h' }, undefined, wrong)],
      ['f', wrong, callable, () => new Breaker(server, 'b', '1').call(wrong)],
      ['f', wrong, callable, () => new Breaker(server, 'b', '1').wrap(wrong)],
      ['call', wrong, callable, () => call({}, wrong)],
      ['make', wrong, callable, () => cache.once('k', wrong)],
      ['how', wrong, 'it must be ALL or EACH', () => limiter.batch(wrong, [{ key: 'k' }])],
      ['items', wrong, 'it must be an array', () => limiter.batch('ALL', wrong)],
      ['items[0]', wrong, 'it must be an object', () => limiter.batch('ALL', [wrong])],
    ]),
    ...[function* () {}, async function* streams() {}].flatMap((wrong) => [
      ['work', wrong, noGenerator, () => reserve(limiter, { k: '9/h' }, {}, wrong)],
      ['f', wrong, noGenerator, () => new Breaker(server, 'b', '1').call(wrong)],
      ['f', wrong, noGenerator, () => new Breaker(server, 'b', '1').wrap(wrong)],
      ['call', wrong, noGenerator, () => call({}, wrong)],
      ['make', wrong, noGenerator, () => cache.once('k', wrong)],
    ]),
    ['key', undefined, text, (key) => call({ key })],
    ['ttlMs', -1, 'it must be at least 0 ms', (ttlMs) => cache.once('k', done, { ttlMs })],
    ['key', undefined, text, (key) => limiter.acquire(key, '9/h')],
    ['key', null, text, (key) => limiter.acquireWithHeaders(key, '9/h')],
    ['key', ['a', 'b'], text, (key) => limiter.wait(key, '9/h', 10)],
    ['key', 7, text, (key) => limiter.charge(key, '9/h', 1)],
    ['key', undefined, text, (key) => limiter.refund(key, 1)],
    ['key', undefined, text, (key) => limiter.quota(key)],
    ['key', undefined, text, (key) => limiter.headers(key)],
    ['items[1].key', undefined, text, (key) => limiter.batch('EACH', [{ key: 'k' }, { key }])],
    ['key', undefined, text, (key) => new Lease(limiter, key)],
    ['key', undefined, text, (key) => new Breaker(server, key)],
    ['key', undefined, text, (key) => call({ key: () => key })()],
    ['key', undefined, text, (key) => cache.get(key)],
    ['key', undefined, text, (key) => cache.set(key, 1)],
    ['key', undefined, text, (key) => cache.exists(key)],
    ['key', undefined, text, (key) => cache.ttlMs(key)],
    ['key', undefined, text, (key) => cache.delete('k', key)],
    ['key', undefined, text, (key) => cache.once(key, done)],
    ['pattern', 7, text, (pattern) => cache.clear(pattern)],
    ['namespace', undefined, text, (namespace) => new Cache(server, namespace)],
    ['cachedAs', undefined, text, (answer) => call({ cache, cachedAs: () => answer })()],
    ['rule', 5, text, (rule) => new Breaker(server, 'b', rule)],
    ['limits', null, text, (limits) => limiter.acquire('k', limits)],
    ['limits', ['9/h', '9/d'], text, (limits) => limiter.wait('k', limits, 10)],
    ['limits', 9, text, (limits) => call({ limits })],
    ["limits['k']", undefined, text, (limits) => reserve(limiter, { k: limits }, {}, done)],
    ['limits', 9, text, (limits) => new Lease(limiter, 'k', limits)],
    ...[NaN, 1.5, 0, -1, 1e13, Infinity, '2'].flatMap((cost) => [
      ['cost', cost, units, () => limiter.acquire('k', '9/h', { cost })],
      ['cost', cost, units, () => limiter.acquireWithHeaders('k', '9/h', { cost })],
      ['cost', cost, units, () => limiter.wait('k', '9/h', 10, { cost })],
      ['cost', cost, units, () => limiter.quota('k', '9/h', { cost })],
      ['cost', cost, units, () => limiter.headers('k', '9/h', { cost })],
      ['items[0].cost', cost, units, () => limiter.batch('ALL', [{ key: 'k', cost }])],
      ['units', cost, units, () => limiter.charge('k', '9/h', cost)],
      ['units', cost, units, () => limiter.refund('k', cost)],
      ['estimate', cost, units, () => reserve(limiter, { k: '9/h' }, { estimate: cost }, done)],
      ['cost', cost, units, () => new Lease(limiter, 'k', '9/h').acquire(cost)],
      ['cost', cost, units, () => call({ cost: () => cost })()],
    ]),
    ...[NaN, 1.5, -1, 1e13].map((cost) => {
      return ['units', cost, units.replace('1', '0'), () => new Spending().add(cost)]
    }),
    ...[NaN, -5, Infinity, 2 ** 31, '5'].flatMap((wrong) => [
      ['waitMs', wrong, waitMs, () => limiter.wait('k', '9/h', wrong)],
      ['waitMs', wrong, waitMs, () => reserve(limiter, { k: '9/h' }, { waitMs: wrong }, done)],
      ['waitMs', wrong, waitMs, () => server.wait(['RL.ACQUIRE', 'k', '9/h'], wrong)],
      ['restMs', wrong, ms(0), () => new Server(ioredis(port), { restMs: wrong })],
      ['timeoutMs', wrong, ms(1), () => new Server(ioredis(port), { timeoutMs: wrong })],
      ['intervalMs', wrong, ms(1), () => new Lease(limiter, 'k', '9/h', { intervalMs: wrong })],
    ]),
    ['waitMs', undefined, waitMs, () => limiter.wait('k', '9/h')],
    ['timeoutMs', 0, ms(1), () => new Server(ioredis(port), { timeoutMs: 0 })],
    ...[NaN, 0, 0.5, Infinity, 4e10].flatMap((wrong) => [
      ['ttlMs', wrong, ms(1, 31622400000), () => reserve(limiter, { k: '9/h' }, { ttlMs: wrong }, done)],
      ['holdMs', wrong, ms(1, 31622400000), () => new Cache(server, 'c', { holdMs: wrong })],
    ]),
    ...[NaN, -1, '5'].flatMap((wrong) => [
      ['ttlMs', wrong, 'it must be at least 0 ms', () => cache.set('k', 1, { ttlMs: wrong })],
      ['ttlMs', wrong, 'it must be at least 0 ms', () => call({ cache, cachedAs: String, ttlMs: wrong })],
      ['patienceMs', wrong, 'it must be at least 0 ms', () => new Cache(server, 'c', { patienceMs: wrong })],
      [
        'most',
        wrong,
        'it must be a whole number of at least 0',
        () => new Cache(server, 'c', { most: wrong }),
      ],
      [
        'maxWaiters',
        wrong,
        'it must be a whole number of at least 0',
        () => new Server(ioredis(port), { maxWaiters: wrong }),
      ],
    ]),
    ...[NaN, 0, 1.5].map((processes) => {
      const must = 'it must be a whole number of at least 1'
      return ['processes', processes, must, () => new Lease(limiter, 'k', '9/h', { processes })]
    }),
    ...[NaN, undefined, 0, -1, Infinity, '5'].flatMap((wrong) => [
      ['rate', wrong, 'it must be a number above 0', () => new LocalBucket(wrong)],
      ['burst', wrong ?? null, 'it must be a number above 0', () => new LocalBucket(1, wrong ?? null)],
    ]),
    ...[NaN, -1, 129, 63.5].map((prefix) => {
      return ['ipv6Prefix', prefix, 'it must be a whole number from 0 to 128', () => networkOf('::1', prefix)]
    }),
  ]
}

for (const [name, connect] of BOTH) {
  test(`${name}: it is told, and nothing is asked`, async () => {
    const client = await connect(port)
    const server = new Server(client, PATIENT)
    const limiter = new Limiter(server, { fallback: new FailClosed() })
    await operator.config('RESETSTAT')
    for (const [argument, wrong, must, call] of MISTAKES(limiter, server)) {
      const error = await (async () => call(wrong))().catch((error) => error)
      const what = `${argument} is ${String(wrong)}: ${call}`
      const isNumber = typeof wrong === 'number' && ![text, aClient].includes(must)
      assert.ok(error instanceof (isNumber ? RangeError : TypeError), `${what}: ${error}`)
      assert.ok(error.message.startsWith(`${argument} is `), error.message)
      assert.ok(error.message.endsWith(`: ${must}`), `${what}: ${error.message}`)
      assert.doesNotMatch(error.message, /secret/)
    }
    await assert.rejects(reserve(limiter, {}, {}, done), /^TypeError: limits is empty: name at least one key/)
    const asked = /cmdstat_(rl|cb)\.|cmdstat_(get|set|exists|pttl|unlink):/
    assert.doesNotMatch(await operator.info('commandstats'), asked)
    assert.equal((await limiter.acquire(`fine:${name}`, '9/h')).source, 'redis')
  })
}

test('what all units together would be is looked at, too', () => {
  const spending = new Spending()
  assert.equal(spending.units, undefined)
  for (const units of [0, 5, 1e12 - 5]) spending.add(units)
  assert.throws(() => spending.add(1), /^RangeError: the sum of units is 1000000000001: /)
  assert.equal(spending.units, 1e12)
})

test('the ends of what may be said', async () => {
  const client = ioredis(port)
  const server = new Server(client, { ...PATIENT, maxWaiters: Infinity })
  const limiter = new Limiter(server, { fallback: new FailClosed() })
  assert.equal((await limiter.wait('ends', '9/h', 0)).source, 'redis')
  assert.equal(await reserve(limiter, { ends: '9/h' }, undefined, () => 7), 7)
  assert.equal(await reserve(limiter, { ends: '9/h' }, { waitMs: 0, ttlMs: 31622400000 }, () => 42), 42)
  const cache = new Cache(server, 'ends', { patienceMs: Infinity, most: Infinity })
  await cache.set('k', 1, { ttlMs: Infinity })
  assert.equal(await cache.ttlMs('k'), Infinity)
  await cache.set('brief', 1, { ttlMs: 0 })
  for (const ttlMs of [1e17, 1e19, 1e300]) {
    await cache.set('ages', 1, { ttlMs })
    assert.ok((await cache.ttlMs('ages')) > 9e15)
  }
  assert.equal(await cache.once('k', done), 1)
  assert.equal(networkOf('::1', 128), '0:0:0:0:0:0:0:1/128')
  await assert.rejects(new FloodgateThrottlerStorage({ client: server }).increment('k', 1000, 3, NaN, 'd'), {
    name: 'RangeError',
    message: /^blockDuration is NaN: /,
  })
})
