// Paid calls and what is cached of them, on a real server.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker, Cache, CircuitOpen, Denied, FailClosed, guarded, Limiter, Server } from 'floodgate-redis'
import { ioredis, listener, nodeRedis, patient } from './clients.mjs'
import { calls as commandCalls, fields } from './operator.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { eventually, sleep } from './waits.mjs'

const server = await startServer()
const { operator: client } = server
const shared = patient(client)
const resp3 = patient(await nodeRedis(server.port, { RESP: 3 }))

/** The totals of a key. */
async function stats(key) {
  return fields(fields(await client.call('RL.STATS', key)).total)
}

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
