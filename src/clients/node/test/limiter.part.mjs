// Limits on a real server, by both clients and both protocols.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import {
  Breaker,
  FailClosed,
  FailOpen,
  Limiter,
  LocalBucket,
  Server,
  guarded,
  networkOf,
  reserve,
  retryAfterSeconds,
} from 'floodgate-redis'
import { ioredis, nodeRedis, patient } from './clients.mjs'
import { times } from './numbers.mjs'
import { inLine } from './operator.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { eventually, sleep } from './waits.mjs'
import { warningsDuring } from './warnings.mjs'

const server = await startServer()
const clients = {
  'ioredis, RESP2': () => ioredis(server.port, { protocol: 2 }),
  'ioredis, RESP3': () => ioredis(server.port),
  'ioredis, RESP3 with maps': () => ioredis(server.port, { protocol: 3, replyMapping: 'resp3' }),
  'ioredis, numbers as strings': () => ioredis(server.port, { stringNumbers: true }),
  'node-redis, RESP2': () => nodeRedis(server.port, { RESP: 2 }),
  'node-redis, RESP3': () => nodeRedis(server.port, { RESP: 3 }),
  'node-redis, bytes and Maps': () =>
    nodeRedis(server.port, { RESP: 3, commandOptions: { typeMapping: { 36: Buffer, 37: Map } } }),
  'node-redis, the newest first': () => nodeRedis(server.port, { commandOptions: { asap: true } }),
  'a function': async () => {
    const client = await nodeRedis(server.port)
    return (args) => client.sendCommand(args)
  },
}
const { operator } = server
const granted = (decisions) => decisions.map((decision) => decision.granted)

let run = 0
for (const [name, connect] of Object.entries(clients)) {
  describe(name, () => {
    const key = (what) => `${what}:${name}`
    let limiter
    before(async () => {
      limiter = new Limiter(patient(await connect()), { fallback: new FailClosed(), rememberDenials: false })
      run += 1
    })

    test('a limit by key', async () => {
      const decisions = await times(4, () => limiter.acquire(key('user'), '3/h'))
      assert.deepEqual(granted(decisions), [1, 1, 1, 0])
      assert.ok(decisions.every(({ source }) => source === 'redis'))
      assert.ok(decisions[3].retryAfterMs > 3_500_000 && decisions[3].retryAfterMs <= 3_600_000)
      assert.deepEqual([decisions[0].limit, decisions[0].remaining, decisions[0].index], [3, 2, 0])
      await assert.rejects(limiter.acquire(key('user'), '3/'), /invalid limit '3\/'/)
      assert.equal(
        (await limiter.acquire(key('user'), '3/').catch(() => limiter.acquire(key('other'), '3/h'))).source,
        'redis',
        'a mistake is no outage',
      )
    })

    test('several at once: the tightest binds, and a denial takes from none', async () => {
      const limits = '100/s,5/h,1000/d'
      const decisions = await times(3, () => limiter.acquire(key('three'), limits, { cost: 2 }))
      assert.deepEqual([granted(decisions), decisions[2].index], [[2, 2, 0], 1])
      assert.equal((await limiter.acquire(key('three'), limits, { cost: 9, partial: true })).granted, 1)
    })

    test('without limits those of the server hold', async () => {
      await operator.call('RL.PIN', key('pinned'), '2/h')
      assert.deepEqual(granted(await times(3, () => limiter.acquire(key('pinned')))), [1, 1, 0])
      assert.equal((await limiter.quota(key('pinned'))).rows[0].source, 'pin')
    })

    test('headers say what was decided', async () => {
      const ask = () => limiter.acquireWithHeaders(key('headers'), '2/m,100/h')
      const [first, , third] = await times(3, ask)
      assert.equal(first.headers['RateLimit-Policy'], '"2/m";q=2;w=60, "100/h";q=100;w=3600')
      assert.match(first.headers.RateLimit, /^"2\/m";r=1;t=[56]\d, "100\/h";r=99;t=\d+$/)
      assert.equal(first.headers['Retry-After'], undefined)
      assert.equal(third.decision.granted, 0)
      assert.match(third.headers.RateLimit, /^"2\/m";r=0;/)
      const seconds = Number(third.headers['Retry-After'])
      assert.ok(30 <= seconds && seconds <= 60, String(seconds))
      const never = await limiter.acquireWithHeaders(key('headers'), '2/m,100/h', { cost: 3 })
      assert.deepEqual([never.decision.granted, never.headers['Retry-After']], [0, undefined])
      assert.equal((await limiter.headers(key('headers'), '2/m'))['X-RateLimit-Remaining'], '0')
    })

    test('quota looks and takes nothing', async () => {
      assert.equal(await limiter.quota(key('nobody')), undefined)
      await limiter.acquire(key('quota'), '5/h', { cost: 2 })
      const { rows, blocked } = await limiter.quota(key('quota'), '5/h')
      assert.equal(blocked, undefined)
      const { name: limitName, algorithm, limit, used, remaining, periodMs, shadow, source } = rows[0]
      assert.deepEqual(
        [limitName, algorithm, limit, used, remaining, periodMs, shadow, source],
        ['5/h', 'sliding', 5, 2, 3, 3_600_000, false, 'call'],
      )
      await operator.call('RL.BLOCK', key('quota'), 'FOR', '1h', 'REASON', 'abuse')
      const block = (await limiter.quota(key('quota'), '5/h')).blocked
      assert.ok(block.reason === 'abuse' && block.untilMs > Date.now())
    })

    test('batches: all or nothing, and each on its own', async () => {
      const items = [
        { key: key('a'), limits: '10/h', cost: 2 },
        { key: key('b'), limits: '1/h' },
      ]
      assert.deepEqual(granted(await limiter.batch('ALL', items)), [2, 1])
      const none = await limiter.batch('ALL', items)
      assert.deepEqual([granted(none), none[0].index], [[0, 0], -3])
      assert.deepEqual(granted(await limiter.batch('EACH', items)), [2, 0])
      assert.deepEqual(await limiter.batch('ALL', []), [])
    })

    test('refunds', async () => {
      await limiter.acquire(key('refund'), '5/h', { cost: 5 })
      assert.equal(await limiter.refund(key('refund'), 2), 2)
      assert.equal((await limiter.acquire(key('refund'), '5/h', { cost: 2 })).granted, 2)
      await limiter.acquire(key('refund'), '9/d')
      assert.equal(await limiter.refund(key('refund'), 2, '5/h'), 2)
      assert.equal((await limiter.quota(key('refund'), '9/d')).rows[0].used, 1)
    })

    test('charges what was used already: beyond the limit it is debt', async () => {
      const first = await limiter.charge(key('charge'), '5/h', 4)
      assert.deepEqual([first.granted, first.remaining, first.source], [4, 1, 'redis'])
      const debt = await limiter.charge(key('charge'), '5/h', 4, { track: true })
      assert.deepEqual([debt.granted, debt.remaining], [4, 0])
      assert.ok(debt.retryAfterMs > 0)
      assert.equal((await limiter.quota(key('charge'))).rows[0].used, 8)
      assert.equal((await limiter.acquire(key('charge'), '5/h')).granted, 0)
      await assert.rejects(limiter.charge(key('place'), 'concurrent:3', 1), /concurrent/)
    })

    test('waiting: served in turn, and who goes leaves the line', async () => {
      if (name === 'a function') {
        await assert.rejects(limiter.wait('k', '1/h', 100), /pass a client of ioredis/)
        return
      }
      const start = performance.now()
      const waits = [1, 2, 3].map(() => limiter.wait(key('line'), '2/700ms', 25_000))
      const served = await Promise.all(waits)
      assert.deepEqual(granted(served), [1, 1, 1])
      assert.ok(performance.now() - start > 600)

      await limiter.acquire(key('slow'), '1/h')
      const gone = new AbortController()
      const waiter = limiter.wait(key('slow'), '1/h', 20_000, { signal: gone.signal })
      await eventually('it stands in line', async () => (await inLine(operator, key('slow'))) === 1)
      gone.abort()
      await assert.rejects(waiter, { name: 'AbortError' })
      await eventually('it left the line', async () => (await inLine(operator, key('slow'))) === 0)
      const tooLong = /WAIT must be at most 30000ms \(setting wait-max\)/
      await assert.rejects(limiter.wait(key('slow'), '1/h', 31_000), tooLong)
      const limits = { [key('slow')]: '1/h' }
      await assert.rejects(
        reserve(limiter, limits, { waitMs: 31_000 }, () => assert.fail('made')),
        tooLong,
      )
      assert.equal((await limiter.acquire(key('user:2'), '3/h')).source, 'redis', 'an abort is no outage')
      limiter.server.close()
    })
  })
}

test('each client was tried', () => assert.equal(run, Object.keys(clients).length))

test('past the most that may wait, one is denied at once', async () => {
  const limiter = new Limiter(new Server(operator, { ...PATIENT, maxWaiters: 1 }))
  await limiter.acquire('full', '1/h')
  const gone = new AbortController()
  const first = limiter.wait('full', '1/h', 20_000, { signal: gone.signal })
  await eventually('it stands in line', async () => (await inLine(operator, 'full')) === 1)
  assert.equal(limiter.server.freeWaiters, 0)
  const { granted, index } = await limiter.wait('full', '1/h', 20_000)
  assert.deepEqual([granted, index], [0, -2])
  gone.abort()
  await assert.rejects(first, { name: 'AbortError' })
  assert.equal(limiter.server.freeWaiters, 1)
})

test('a connection on which somebody waited is used again', async () => {
  const { operator } = await startServer()
  const limiter = new Limiter(patient(operator))
  const clients = async () =>
    String(await operator.call('CLIENT', 'LIST'))
      .trim()
      .split('\n').length
  await limiter.wait('again', '100/h', 1000)
  const one = await clients()
  await times(5, () => limiter.wait('again', '100/h', 1000))
  assert.equal(await clients(), one)
  // One that the server has closed meanwhile is no outage.
  const lines = String(await operator.call('CLIENT', 'LIST', 'TYPE', 'normal')).split('\n')
  const ids = lines.filter((line) => line.includes('cmd=rl.acquire')).map((line) => /id=(\d+)/.exec(line)[1])
  assert.ok(ids.length > 0)
  for (const id of ids) await operator.call('CLIENT', 'KILL', 'ID', id)
  await sleep(50)
  assert.equal((await limiter.wait('again', '100/h', 1000)).source, 'redis')
  limiter.server.close()
  await eventually('they are closed', async () => (await clients()) < one)
})

test('a crowd that comes before the client is connected is served', async () => {
  const warnings = await warningsDuring(async () => {
    for (const client of [ioredis(server.port), ioredis(server.port, { lazyConnect: true })]) {
      const limiter = new Limiter(patient(client))
      const decisions = await Promise.all([...Array(50)].map(() => limiter.acquire('crowd', '1000/h')))
      assert.ok(decisions.every(({ source }) => source === 'redis'))
    }
  })
  assert.deepEqual(warnings, [])
})

test('what a signal aborts is not waited for', async () => {
  const limiter = new Limiter(patient(operator))
  const signal = AbortSignal.abort()
  await assert.rejects(limiter.acquire('aborted', '1/h', { signal }), { name: 'AbortError' })
  assert.equal((await limiter.acquire('aborted', '1/h')).granted, 1)
})

test('a function as client may give the answer itself, and what it throws at once is an outage', async () => {
  const six = [1, 9, 8, 0, 0, 60_000]
  const plain = new Server(([name]) => (name === 'RL.ACQUIRE' ? six : []), PATIENT)
  const { granted, source } = await new Limiter(plain).acquire('plain', '9/h')
  assert.deepEqual([granted, source], [1, 'redis'])
  assert.deepEqual(await new Limiter(plain).headers('plain', '9/h'), {})
  const throwing = () => {
    throw new Error('no connection')
  }
  const away = new Limiter(new Server(throwing, PATIENT))
  assert.equal((await away.acquire('plain', '9/h')).source, 'fallback')
})

test('fallbacks', async () => {
  assert.equal(new FailOpen().acquire('k', 7).granted, 7)
  assert.deepEqual(
    [new FailClosed().acquire('k', 1).granted, new FailClosed().acquire().retryAfterMs],
    [0, 1000],
  )
  const bucket = new LocalBucket(2, 2)
  assert.deepEqual(granted([1, 2, 3].map(() => bucket.acquire('k', 1))), [1, 1, 0])
  const { retryAfterMs } = bucket.acquire('k', 1)
  assert.ok(1 <= retryAfterMs && retryAfterMs <= 500, String(retryAfterMs))
  await sleep(retryAfterMs + 2)
  assert.equal(bucket.acquire('k', 1).granted, 1)
  bucket.refund('k', 1)
  assert.equal(bucket.acquire('k', 1).granted, 1)
  assert.equal(bucket.acquire('k', 3).retryAfterMs, -1)
  const three = new LocalBucket(0.001, 3.5)
  const part = () => three.acquire('part', 5, true)
  assert.deepEqual([three.acquire('part', 5).granted, part().granted, part().granted], [0, 3, 0])
  assert.ok(part().retryAfterMs > 400_000 && part().retryAfterMs <= 500_000, 'until there is one')
  for (let i = 0; i < LocalBucket.MAX_KEYS; i++) bucket.acquire(`other:${i}`, 1)
  assert.equal(bucket.acquire('k', 2).granted, 2, 'who was not asked for longest is forgotten')
})

test('each decision of the fallback is counted, and takes what is left where that is asked for', async () => {
  const away = new Server(async () => Promise.reject(new Error('away')), { logger: null })
  const limiter = new Limiter(away, { fallback: new LocalBucket(0.001, 10) })
  const breaker = new Breaker(away, 'b', '2')
  assert.equal((await limiter.charge('k', '9/h', 3)).granted, 3)
  assert.equal(await reserve(limiter, { k: '9/h' }, { estimate: 2 }, () => 42), 42)
  assert.equal(await guarded({ limiter, breaker, key: 'k', limits: '9/h' }, () => 7)(), 7)
  assert.equal((await limiter.acquire('k', '9/h', { cost: 9, partial: true })).granted, 4)
  assert.deepEqual(limiter.counters, { redis: 0, memory: 0, fallback: 4 })
})

test('Retry-After is a whole second at least, and none for what will never be', () => {
  const seconds = [1, 1000, 1001, 0, -1].map((retryAfterMs) => retryAfterSeconds({ retryAfterMs }))
  assert.deepEqual(seconds, [1, 1, 2, undefined, undefined])
})

test('an IPv6 caller is its network', () => {
  for (const [address, network] of [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::ffff:c000:207', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2:0:0:0:0/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2:0:0:0:0/64'],
    ['fe80::1%eth0', 'fe80:0:0:0:0:0:0:0/64'],
    ['::1', '0:0:0:0:0:0:0:0/64'],
    [undefined, 'unknown'],
  ]) {
    assert.equal(networkOf(address), network)
  }
  assert.equal(networkOf('2001:db8:1:2ff::', 56), '2001:db8:1:200:0:0:0:0/56')
})
