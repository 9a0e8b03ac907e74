// Paid calls and their cache, on a real server.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  Breaker,
  Cache,
  CircuitOpen,
  Denied,
  FailClosed,
  guarded,
  Limiter,
  LocalBucket,
  Server,
} from 'floodgate-redis'
import { ioredis, listener, nodeRedis, patient } from './clients.mjs'
import { times } from './numbers.mjs'
import { calls as commandCalls, fields, inLine } from './operator.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { ends, eventually, HANGS_MS, sleep } from './waits.mjs'

const server = await startServer()
const { operator: client } = server
const shared = patient(client)
const resp3 = patient(await nodeRedis(server.port, { RESP: 3 }))

/** The totals of a key. */
async function stats(key) {
  return fields(fields(await client.call('RL.STATS', key)).total)
}

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

test('a paid call', async () => {
  const limiter = new Limiter(shared, { fallback: new FailClosed() })
  const cache = new Cache(shared, 'answers')
  let [calls, fails] = [0, false]
  const answer = async (_user, question) => {
    calls += 1
    if (fails) throw new Error('no answer')
    return { text: `${question}!`, dollars: 0.0125 }
  }
  const ask = guarded(
    {
      limiter,
      breaker: new Breaker(shared, '{llm}api', '2:open=1h'),
      key: (user) => `{llm}${user}`,
      limits: '3/h',
      cache,
      ttlMs: 60_000,
      cachedAs: (_user, question) => question,
      spend: ({ dollars }) => dollars,
    },
    answer,
  )
  const before = await commandCalls(client, 'cb.acquire')
  for (const user of ['ann', 'ann', 'bob']) {
    assert.deepEqual(await ask(user, '1+1?'), { text: '1+1?!', dollars: 0.0125 })
  }
  assert.deepEqual([calls, (await commandCalls(client, 'cb.acquire')) - before], [1, 1])
  assert.ok((await cache.ttlMs('1+1?')) <= 60_000)
  // A cached answer takes no quota.
  const used = async (user) => (await limiter.quota(`{llm}${user}`, '3/h')).rows[0].used
  assert.equal(await used('ann'), 1)
  const [ann, bob] = [await stats('{llm}ann'), await stats('{llm}bob')]
  assert.deepEqual([ann.ok, ann.cached, ann.fail, Number(ann.spend)], [2, 1, 0, 0.0125])
  assert.deepEqual([bob.ok, bob.cached], [1, 1])

  await ask('ann', '2')
  await ask('ann', '3')
  const denied = await ask('ann', '4').catch((error) => error)
  assert.ok(denied instanceof Denied && denied.decision.retryAfterMs > 0)
  assert.equal(calls, 3)
  fails = true
  for (const question of ['5', '6']) await assert.rejects(ask('joe', question), /no answer/)
  const open = await ask('joe', '7').catch((error) => error)
  assert.ok(open instanceof CircuitOpen && open.retryAfterMs > 3_500_000)
  // An open breaker uses up no quota, and no failure is cached.
  assert.deepEqual([calls, await used('joe'), (await stats('{llm}joe')).fail], [5, 2, 2])
  assert.equal((await ask('joe', '1+1?')).dollars, 0.0125)

  // Without a cache; with limits of operators, a cost, an abort; and an answer that is no JSON.
  await client.call('RL.PIN', '{llm}odd', '10/h')
  const odd = { limiter, breaker: new Breaker(resp3, '{llm}odd:api', '2'), key: '{llm}odd' }
  assert.equal(await guarded({ ...odd, cost: (n) => n }, (n) => -n)(4), -4)
  assert.equal((await limiter.quota('{llm}odd')).rows[0].used, 4)
  const abort = () => Promise.reject(Object.assign(new Error('gone'), { name: 'AbortError' }))
  await assert.rejects(guarded(odd, abort)(), { name: 'AbortError' })
  assert.equal((await stats('{llm}odd')).fail, 0)
  const logger = listener()
  const heard = new Limiter(new Server(client, { ...PATIENT, logger }))
  const telling = new Cache(heard.server, 'answers')
  const none = guarded({ ...odd, limiter: heard, cache: telling }, function nothing() {})
  assert.equal(await none(), undefined)
  assert.ok(logger.lines.length === 1 && /is not cached/.test(logger.lines[0]), logger.lines)
  assert.throws(() => guarded({ ...odd, cache }, () => {}), /cachedAs/)
  const double = (n) => 2 * n
  const doubled = guarded({ ...odd, cache }, double)
  assert.deepEqual([await doubled(4), await doubled(4), await doubled(5)], [8, 8, 10])
})

test('what was paid for or made is the answer, whatever the cache and the record say of it', async () => {
  await client.call('ACL', 'SETUSER', 'looks', 'on', '>secret', '~*', '+@all', '-set')
  const logger = listener()
  const looks = new Server(ioredis(server.port, { username: 'looks', password: 'secret' }), {
    ...PATIENT,
    logger,
  })
  const limiter = new Limiter(looks, { fallback: new FailClosed() })
  const cache = new Cache(looks, 'unkept')
  let made = 0
  const make = () => ++made
  assert.equal(await cache.once('x', make), 1)
  const paid = (key, options) =>
    guarded({ limiter, breaker: new Breaker(looks, `${key}:api`, '2'), key, limits: '9/h', ...options }, make)
  assert.equal(await paid('unkept', { cache, cachedAs: String, ttlMs: 1000 })(), 2)
  assert.equal(logger.lines.length, 2, logger.lines.join('\n'))
  for (const line of logger.lines)
    assert.match(line, /^warn: floodgate: the value '.*' is not cached: NOPERM/)

  const kept = new Cache(shared, 'ages')
  assert.equal(await paid('ages', { cache: kept, cachedAs: String, ttlMs: 1e19 })(), 3)
  assert.equal(await paid('ages', { cache: kept, cachedAs: String, ttlMs: 1e19 })(), 3)

  // Of another program, say.
  await client.set('ages:torn', '{"text":')
  assert.equal(await kept.get('torn'), undefined)
  assert.equal(await kept.once('torn', make), 4)
  assert.equal(await kept.get('torn'), 4)

  const broken = () => {
    throw new Error('no usage in the answer')
  }
  for (const spend of [() => NaN, () => 'free', () => 1e13, broken]) {
    logger.lines.length = 0
    assert.equal(await paid('odd money', { spend })(), made)
    assert.equal(logger.lines.length, 1, logger.lines.join('\n'))
  }
  assert.equal(await paid('odd money', { spend: () => 1e-7 })(), made)
  const { ok, spend } = await stats('odd money')
  assert.deepEqual([ok, Number(spend)], [5, 1e-7])
})

test('what JSON would make {} of is not cached, and each caller gets the thing itself', async () => {
  const logger = listener()
  const telling = new Server(client, { ...PATIENT, logger })
  const limiter = new Limiter(telling, { fallback: new FailClosed() })
  const cache = new Cache(telling, 'things')
  class Person {
    name = 'ann'
  }
  const stream = async function* () {
    yield 'hello'
  }
  const things = {
    map: () => new Map([[1, 2]]),
    response: () => new Response('body'),
    nested: () => [{ tags: new Set(['a']) }],
    stream: () => stream(),
    person: () => new Person(),
    method: () => ({ close() {} }),
  }
  for (const [name, make] of Object.entries(things)) {
    logger.lines.length = 0
    const breaker = new Breaker(telling, `${name}:api`, '2')
    const options = { limiter, breaker, key: name, limits: '9/h', cache, cachedAs: () => name }
    const ask = guarded(options, make)
    const answers = [await ask(), await ask(), await cache.once(name, make)]
    for (const answer of answers) assert.equal(answer.constructor, make().constructor, name)
    assert.equal(await cache.get(name), undefined, name)
    await assert.rejects(cache.set(name, make()), /^TypeError: JSON cannot hold /)
    assert.match(
      logger.lines.join('\n'),
      new RegExp(`^(warn: .* '${name}' is not cached: JSON cannot .*\n?){3}$`),
    )
  }
  const held = { at: new Date(0), no: undefined, list: Object.assign(Object.create(null), { a: [1n > 0] }) }
  await cache.set('held', held)
  assert.deepEqual(await cache.get('held'), { at: '1970-01-01T00:00:00.000Z', list: { a: [true] } })
  const asker = {
    name: 'ann',
    ask: guarded(
      { limiter, breaker: new Breaker(telling, 'asker:api', '2'), key: 'asker', limits: '9/h' },
      async function (question) {
        return `${this.name} asks ${question}`
      },
    ),
  }
  assert.equal(await asker.ask('why'), 'ann asks why')
})

test('what was granted too late is given back', async () => {
  const other = await nodeRedis(server.port)
  await client.call('RL.POLICY', 'SET', 'late', '5/h', 'PREFIX', '{late}policy:')
  const rule = '1:open=100ms:lease=1h'
  const late = async (send, named, name) => {
    let deny
    const denied = new Promise((resolve) => (deny = resolve))
    const slow = new Server(
      async (args) => {
        const answer = await send(args)
        if (args[0] === 'CB.ACQUIRE') {
          // Others take by other limits, before it is given back.
          await send(['RL.ACQUIRE', name, '9/d'])
          await denied
        }
        return answer
      },
      { timeoutMs: 3000, restMs: 60_000, logger: null },
    )
    const limiter = new Limiter(slow, { fallback: new FailClosed() })
    const api = `${name}:api`
    await client.call('CB.REPORT', api, 'FAIL', 'BREAKER', rule)
    await sleep(120)
    const breaker = new Breaker(slow, api, rule)
    const call = guarded({ limiter, breaker, key: name, limits: named }, () => assert.fail('made'))
    await assert.rejects(call(), Denied)
    deny()
    await eventually('the trial is free', () => new Breaker(shared, api).call(() => true).catch(() => false))
    const used = async (limits) => (await new Limiter(shared).quota(name, limits)).rows[0].used
    await eventually('the unit is back', async () => (await used('5/h')) === 0)
    assert.equal(await used('9/d'), 1)
  }
  const senders = [(args) => client.call(args[0], args.slice(1)), (args) => other.sendCommand(args)]
  await Promise.all(
    senders.flatMap((send, i) => [
      late(send, '5/h', `{late}ann${i}`),
      late(send, undefined, `{late}policy:ann${i}`),
    ]),
  )
})

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
