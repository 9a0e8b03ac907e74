// A breaker round a call, and reservations, on a real server.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker, CircuitOpen, Denied, FailOpen, Limiter, Server, reserve } from 'floodgate-redis'
import { PATIENT, eventually, ioredis, nodeRedis, patient, sleep, startServer } from './kit.mjs'

const server = await startServer()
const client = ioredis(server.port)
const shared = patient(client)
const other = patient(await nodeRedis(server.port))
const limiter = new Limiter(shared)

const fails = async () => {
  throw new Error('no answer')
}
const state = async (key) => {
  const flat = await client.call('CB.STATE', key)
  return Object.fromEntries(flat.flatMap((name, i) => (i % 2 ? [] : [[name, flat[i + 1]]])))
}

test('it opens for all processes', async () => {
  const breakers = [new Breaker(shared, 'mail', '2:open=1h'), new Breaker(other, 'mail', '2:open=1h')]
  assert.equal(await breakers[0].call(async () => 42), 42)
  for (const breaker of breakers) await assert.rejects(breaker.call(fails), /no answer/)
  for (const breaker of breakers) {
    const open = await breaker.call(() => 42).catch((error) => error)
    assert.ok(open instanceof CircuitOpen && open.key === 'mail')
    assert.ok(3_500_000 < open.retryAfterMs && open.retryAfterMs <= 3_600_000)
  }
  const wrapped = new Breaker(shared, 'sum', '2').wrap((a, b) => a + b)
  assert.equal(await wrapped(1, 2), 3)
})

test('a timeout is a failure, an abort says nothing, and errors can be told apart', async () => {
  const breaker = new Breaker(shared, 'slow', '5/m', {
    outcomeOf: (error) => (error.name === 'AbortError' ? 'IGNORE' : error.status === 404 ? 'OK' : 'FAIL'),
  })
  const wait = (signal) => sleep(9000, undefined, { signal }).catch(() => Promise.reject(signal.reason))
  const timedOut = breaker.call(() => wait(AbortSignal.timeout(10)))
  await assert.rejects(timedOut, { name: 'TimeoutError' })
  assert.equal((await state('slow')).failures, 1)
  const gone = new AbortController()
  const call = breaker.call(() => wait(gone.signal), { signal: gone.signal })
  setTimeout(() => gone.abort(), 10)
  await assert.rejects(call, { name: 'AbortError' })
  await assert.rejects(breaker.call(() => Promise.reject(Object.assign(new Error('none'), { status: 404 }))))
  const { calls, failures } = await state('slow')
  assert.deepEqual([calls, failures], [2, 1])
})

/** Half-open: the next call is the only trial. */
async function halfOpen(key) {
  await client.call('CB.REPORT', key, 'FAIL', 'BREAKER', '1:open=100ms:lease=1h')
  await sleep(120)
  return '1:open=100ms:lease=1h'
}

test('a trial that its caller aborts while it asks is given back', async () => {
  // The answer comes late: the caller has gone meanwhile.
  const slow = new Server(async (args) => {
    const answer = await client.call(args[0], args.slice(1))
    if (args[0] === 'CB.ACQUIRE') await sleep(100)
    return answer
  }, PATIENT)
  const rule = await halfOpen('cancelled')
  const gone = new AbortController()
  const call = new Breaker(slow, 'cancelled', rule).call(() => assert.fail('made'), { signal: gone.signal })
  setTimeout(() => gone.abort(), 30)
  await assert.rejects(call, { name: 'AbortError' })
  await eventually('the trial is free', async () => {
    const admitted = await new Breaker(shared, 'cancelled', rule).call(() => true).catch(() => false)
    return admitted
  })
})

test('a trial that was admitted after the timeout is given back', async () => {
  const slow = new Server(
    async (args) => {
      const answer = await client.call(args[0], args.slice(1))
      if (args[0] === 'CB.ACQUIRE') await sleep(300)
      return answer
    },
    { timeoutMs: 100, restMs: 60_000, logger: null },
  )
  const rule = await halfOpen('late')
  assert.equal(
    await new Breaker(slow, 'late', rule).call(() => 'as if there were no breaker'),
    'as if there were no breaker',
  )
  await eventually('the trial is free', () =>
    new Breaker(shared, 'late', rule).call(() => true).catch(() => false),
  )
})

const LLM = '1000/h,concurrent:2'
const held = async (key) => (await client.call('RL.RESERVATIONS', key)).length
const used = async (key) => (await limiter.quota(key)).rows[0].used

test('what was reserved is settled at what was spent', async () => {
  await client.call('RL.ACQUIRE', 'llm:1', '1000/h')
  for (const [what, charged, { spends, breaks, lastsMs = 0 }] of [
    ['less than the estimate', 30, { spends: 30 }],
    ['more', 150, { spends: 150 }],
    ['never said: the estimate stands', 100, {}],
    ['released', 0, { breaks: true }],
    ['spent before it failed', 7, { spends: 7, breaks: true }],
    ['longer than its TTL', 3, { spends: 3, lastsMs: 2000 }],
  ]) {
    const before = await used('llm:1')
    const work = reserve(limiter, { 'llm:1': LLM }, { estimate: 100, ttlMs: 1500 }, async (spending) => {
      assert.equal(await held('llm:1'), 1)
      if (spends) spending.add(spends)
      if (lastsMs) await sleep(lastsMs)
      assert.equal(await held('llm:1'), 1, 'it was not renewed')
      if (breaks) await fails()
      return 42
    })
    if (breaks) await assert.rejects(work, /no answer/, what)
    else assert.equal(await work, 42, what)
    assert.equal((await used('llm:1')) - before, charged, what)
    assert.equal(await held('llm:1'), 0, what)
  }
})

test('denied: too much, too many, and several keys at once', async () => {
  const never = await reserve(limiter, { 'llm:2': LLM }, { estimate: 1001 }, () => assert.fail('done')).catch(
    (e) => e,
  )
  assert.ok(never instanceof Denied && never.decision.retryAfterMs === -1 && /never fit/.test(never.message))
  const keys = { org: 'concurrent:5', user: 'concurrent:1' }
  await reserve(limiter, keys, {}, async () => {
    await assert.rejects(
      reserve(limiter, keys, {}, () => assert.fail('done')),
      Denied,
    )
    assert.deepEqual([await held('org'), await held('user')], [1, 1])
  })
  assert.deepEqual([await held('org'), await held('user')], [0, 0])
})

test('it waits for a place in turn, and who goes holds none', async () => {
  const one = { place: 'concurrent:1' }
  const order = []
  const job = (name, options) => reserve(limiter, one, options, async () => order.push(name))
  const gone = new AbortController()
  let waits
  await reserve(limiter, one, {}, async () => {
    waits = job('second', { waitMs: 20_000 })
    const aborted = job('aborted', { waitMs: 20_000, signal: gone.signal })
    await eventually('they stand in line', async () => (await client.call('RL.QUEUE', 'place'))[0] === 2)
    gone.abort()
    await assert.rejects(aborted, { name: 'AbortError' })
    await eventually('it left', async () => (await client.call('RL.QUEUE', 'place'))[0] === 1)
    order.push('first')
  })
  await waits
  assert.deepEqual(order, ['first', 'second'])
  assert.equal(await held('place'), 0)
  shared.close()
})

test('a reservation that came after the timeout is released', async () => {
  const slow = new Server(
    async (args) => {
      const answer = await client.call(args[0], args.slice(1))
      if (args[0] === 'RL.RESERVE') await sleep(300)
      return answer
    },
    { timeoutMs: 100, restMs: 60_000, logger: null },
  )
  const impatient = new Limiter(slow, { fallback: new FailOpen() })
  assert.equal(await reserve(impatient, { 'late:place': 'concurrent:1' }, {}, async () => 42), 42)
  await eventually('it is released', async () => (await held('late:place')) === 0)
})
