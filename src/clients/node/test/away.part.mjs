// Paid calls and their cache while Redis is away, hangs, or cannot write.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker, Cache, Denied, guarded, Limiter, LocalBucket, Server } from 'floodgate-redis'
import { ioredis, listener } from './clients.mjs'
import { times } from './numbers.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { ends, eventually, sleep } from './waits.mjs'

test('while Redis is away, or hangs', async () => {
  const own = await startServer()
  const away = new Server(ioredis(own.port), { ...PATIENT, timeoutMs: 5000 })
  const limiter = new Limiter(away, { fallback: new LocalBucket(0.001, 2) })
  const cache = new Cache(away, 'answers', { most: 2, patienceMs: 2000 })
  let calls = 0
  const breaker = new Breaker(away, 'api', '2')
  const ask = guarded({ limiter, breaker, key: 'away', limits: '3/h', cache, cachedAs: (q) => q }, (q) => {
    calls += 1
    return `${q}!`
  })
  await cache.set('shared', 1)
  await own.kill()
  assert.deepEqual(await times(3, () => ask('1')), ['1!', '1!', '1!'])
  assert.equal(calls, 1)
  await ask('2')
  await assert.rejects(ask('3'), Denied)
  assert.deepEqual(
    [await cache.exists('2'), await cache.ttlMs('2'), await cache.exists('9')],
    [true, Infinity, false],
  )
  await cache.set('3', 3)
  await cache.set('4', 4, { ttlMs: 10 })
  assert.equal(await cache.exists('2'), false)
  await sleep(20)
  assert.deepEqual([await cache.get('4'), await cache.get('3')], [undefined, 3])
  assert.deepEqual([await cache.clear('[3]'), await cache.delete('3', '4')], [1, 0])
  await cache.set('shared', 'mine')
  await own.start()
  // What all share, and not what was kept meanwhile; that is forgotten.
  const isBack = () => eventually('it is asked again', async () => (await cache.get('shared')) === 1)
  await isBack()
  await own.kill()
  assert.equal(await cache.get('shared'), undefined)
  await own.start()
  await isBack()

  await own.freeze()
  const all = Promise.all(Array.from({ length: 8 }, () => cache.once('x', () => 5)))
  assert.deepEqual(await ends('who makes it alone', all), Array(8).fill(5))
  await own.thaw()
})

for (const [name, breaks, mends] of [
  ['is out of memory', (by) => by.config('SET', 'maxmemory', 1), (by) => by.config('SET', 'maxmemory', 0)],
  ['has become a replica', (by) => by.replicaof('127.0.0.1', 1), (by) => by.replicaof('NO', 'ONE')],
]) {
  test(`while Redis ${name}, and answers who only looks`, async () => {
    const own = await startServer()
    const { operator } = own
    const logger = listener()
    const full = new Server(ioredis(own.port), { ...PATIENT, restMs: 100, logger })
    const limiter = new Limiter(full)
    const cache = new Cache(full, 'answers')
    let calls = 0
    const breaker = new Breaker(full, 'api', '2')
    const options = { limiter, breaker, key: 'full', limits: '3/h', cache, ttlMs: 60_000, cachedAs: String }
    const ask = guarded(options, (question) => `${question} ${(calls += 1)}`)
    await cache.set('old', 1)
    await breaks(operator)
    const until = performance.now() + 1000 // some six rests
    while (performance.now() < until) {
      assert.equal(await ask('dear'), 'dear 1')
      await sleep(5)
    }
    await cache.set('old', 2)
    await sleep(200) // it looks, and Redis has the older value
    assert.deepEqual([await cache.get('old'), await cache.exists('dear')], [2, true])
    assert.ok((await cache.ttlMs('dear')) <= 60_000)
    assert.equal(await cache.delete('dear'), 1)
    assert.equal(await cache.exists('dear'), false)
    assert.equal(logger.lines.length, 1, logger.lines.join('\n'))

    await mends(operator)
    const isBack = async () => (await limiter.acquire('back', '100000/h')).source === 'redis'
    await eventually('it grants again', isBack)
    assert.equal(await cache.get('old'), 1, 'what all share')
    assert.deepEqual(logger.lines.slice(1), ['info: floodgate: Redis is back'])
  })
}
