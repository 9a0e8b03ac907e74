// A breaker round a call, and reservations, on a real server.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker, CircuitOpen, Denied, FailClosed, FailOpen, Limiter, Server, reserve } from 'floodgate-redis'
import { BOTH, ioredis, listener, nodeRedis, patient } from './clients.mjs'
import { calls, fields, held as heldBy, inLine, used as usedOf } from './operator.mjs'
import { IMPATIENT, PATIENT } from './patience.mjs'
import { startServer, startStillServer } from './servers.mjs'
import { eventually, sleep } from './waits.mjs'
import { startLossyWay } from './ways.mjs'

const server = await startServer()
const { operator: client } = server
const shared = patient(client)
const other = patient(await nodeRedis(server.port))
const limiter = new Limiter(shared)

const fails = async () => {
  throw new Error('no answer')
}
const state = async (key) => fields(await client.call('CB.STATE', key))

test('it opens for all processes', async () => {
  const breakers = [new Breaker(shared, 'mail', '2:open=1h'), new Breaker(other, 'mail', '2:open=1h')]
  assert.equal(await breakers[0].call(async () => 42), 42)
  for (const breaker of breakers) await assert.rejects(breaker.call(fails), /no answer/)
  for (const breaker of breakers) {
    const open = await breaker.call(() => 42).catch((error) => error)
    assert.ok(open instanceof CircuitOpen && open.key === 'mail')
    assert.ok(3_500_000 < open.retryAfterMs && open.retryAfterMs <= 3_600_000)
  }
  await client.call('CB.FORCE', 'mail', 'OPEN')
  await assert.rejects(
    breakers[0].call(() => 42),
    /'mail' is open, with no retry time/,
  )
  const wrapped = new Breaker(shared, 'sum', '2').wrap((a, b) => a + b)
  assert.equal(await wrapped(1, 2), 3)
  class Mail {
    to = 'ann'
    send = breakers[0].wrap(async function (text) {
      return `${text} ${this.to}`
    })
  }
  await client.call('CB.RESET', 'mail')
  assert.equal(await new Mail().send('for'), 'for ann')
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

/** A server that does a command at once; its answer comes when `answer` is called. */
function answersLate(command, timeoutMs) {
  let [answer, admit] = []
  const isAnswered = new Promise((resolve) => (answer = resolve))
  const isAdmitted = new Promise((resolve) => (admit = resolve))
  const send = async (args) => {
    const reply = await client.call(args[0], args.slice(1))
    if (args[0] === command) {
      admit()
      await isAnswered
    }
    return reply
  }
  return { slow: new Server(send, { timeoutMs, restMs: 60_000, logger: null }), answer, isAdmitted }
}

/** Half-open: the next call is the only trial. */
async function halfOpen(key) {
  await client.call('CB.REPORT', key, 'FAIL', 'BREAKER', '1:open=100ms:lease=1h')
  await sleep(120)
  return '1:open=100ms:lease=1h'
}

test('a trial that its caller aborts while it asks is given back', async () => {
  // The answer comes late: the caller has gone meanwhile.
  const { slow, answer, isAdmitted } = answersLate('CB.ACQUIRE', PATIENT.timeoutMs)
  const rule = await halfOpen('cancelled')
  const gone = new AbortController()
  const call = new Breaker(slow, 'cancelled', rule).call(() => assert.fail('made'), { signal: gone.signal })
  const aborted = assert.rejects(call, { name: 'AbortError' })
  await isAdmitted
  gone.abort()
  await aborted
  answer()
  await eventually('the trial is free', async () => {
    const admitted = await new Breaker(shared, 'cancelled', rule).call(() => true).catch(() => false)
    return admitted
  })
})

test('a trial that was admitted after the timeout is given back', async () => {
  const { slow, answer } = answersLate('CB.ACQUIRE', 2000)
  const rule = await halfOpen('late')
  assert.equal(
    await new Breaker(slow, 'late', rule).call(() => 'as if there were no breaker'),
    'as if there were no breaker',
  )
  answer()
  await eventually('the trial is free', () =>
    new Breaker(shared, 'late', rule).call(() => true).catch(() => false),
  )
})

const LLM = '1000/h,concurrent:2'
const held = (key) => heldBy(client, key)
const used = (key) => usedOf(client, key)

test('what was reserved is settled at what was spent', async () => {
  await client.call('RL.ACQUIRE', 'llm:1', '1000/h')
  for (const [what, charged, { spends, breaks }] of [
    ['less than the estimate', 30, { spends: 30 }],
    ['more', 150, { spends: 150 }],
    ['never said: the estimate stands', 100, {}],
    ['released', 0, { breaks: true }],
    ['spent before it failed', 7, { spends: 7, breaks: true }],
  ]) {
    const before = await used('llm:1')
    const work = reserve(limiter, { 'llm:1': LLM }, { estimate: 100 }, async (spending) => {
      assert.equal(await held('llm:1'), 1)
      if (spends) spending.add(spends)
      if (breaks) await fails()
      return 42
    })
    if (breaks) await assert.rejects(work, /no answer/, what)
    else assert.equal(await work, 42, what)
    assert.equal((await used('llm:1')) - before, charged, what)
    assert.equal(await held('llm:1'), 0, what)
  }
})

test('where the server refuses the commit, what was reserved is released', async () => {
  await client.call('ACL', 'SETUSER', 'works', 'on', '>secret', '~llm:*', '+@all', '-rl.commit')
  const logger = listener()
  const works = ioredis(server.port, { username: 'works', password: 'secret' })
  const refused = new Limiter(new Server(works, { ...PATIENT, logger }))
  for (const spends of [7, undefined]) {
    const work = (spending) => spends && spending.add(spends)
    await reserve(refused, { 'llm:refused': LLM }, { ttlMs: 3_600_000 }, work)
    assert.equal(await held('llm:refused'), 0)
    assert.match(logger.lines.pop(), /^warn: floodgate: RL\.COMMIT failed: NOPERM/)
  }
  // What cannot be charged is told to who says it.
  const wrong = reserve(limiter, { 'llm:refused': LLM }, { estimate: 9 }, async (spending) => {
    spending.add(3)
    spending.add(1.5)
  })
  await assert.rejects(wrong, /^RangeError: units is 1.5: /)
  assert.deepEqual([await held('llm:refused'), await used('llm:refused')], [0, 3])
})

test('work that takes longer than the TTL keeps what it holds', async () => {
  const still = await startStillServer()
  const leftMs = async () => (await still.operator.call('RL.RESERVATIONS', 'llm'))[0]?.[3]
  const limits = { llm: '9/h,concurrent:2' }
  await reserve(new Limiter(patient(still.operator)), limits, { ttlMs: 3000 }, async () => {
    for (let i = 0; i < 3; i++) {
      await eventually('it is renewed', async () => (await leftMs()) === 3000)
      await still.advance(2000)
      assert.ok((await leftMs()) >= 1000)
    }
  })
  assert.equal(await leftMs(), undefined)
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
    await eventually('they stand in line', async () => (await inLine(client, 'place')) === 2)
    gone.abort()
    await assert.rejects(aborted, { name: 'AbortError' })
    await eventually('it left', async () => (await inLine(client, 'place')) === 1)
    order.push('first')
  })
  await waits
  assert.deepEqual(order, ['first', 'second'])
  assert.equal(await held('place'), 0)
  shared.close()
})

for (const [name, connect] of BOTH) {
  test(`${name}: what is granted to who waits no more is released`, async () => {
    const way = await startLossyWay(server.port)
    const lossy = new Server(await connect(way.port), { ...IMPATIENT, timeoutMs: 5000 })
    const deaf = new Limiter(lossy, { fallback: new FailClosed() })
    const one = (key) => ({ [key]: 'concurrent:1' })
    const waits = async (key, options, work = () => assert.fail('done')) => {
      await client.call('RL.RESERVE', 1, key, 'concurrent:1', 'TTL', '1h', 'ID', 'holder')
      const waiting = reserve(deaf, one(key), { ttlMs: 3_600_000, ...options }, work)
      const ended = waiting.catch((error) => error)
      await eventually('it stands in line', async () => (await inLine(client, key)) === 1)
      return { ended }
    }
    const leaves = (key) => client.call('RL.RELEASE', 'holder', 1, key)
    const isReleased = (key) => eventually('it is released', async () => (await held(key)) === 0)
    const released = () => calls(client, 'rl.release')

    // Granted, and then aborted.
    let key = `granted:${name}`
    let gone = new AbortController()
    let { ended } = await waits(key, { waitMs: 25_000, signal: gone.signal })
    await leaves(key)
    assert.equal(await held(key), 1)
    gone.abort()
    assert.equal((await ended).name, 'AbortError')
    await isReleased(key)

    // Aborted, and then granted.
    key = `aborted:${name}`
    gone = new AbortController()
    ;({ ended } = await waits(key, { waitMs: 25_000, signal: gone.signal }))
    const before = await released()
    gone.abort()
    assert.equal((await ended).name, 'AbortError')
    await eventually('it wants nothing', async () => (await released()) > before)
    await leaves(key)
    await isReleased(key)

    // The connection is lost, or the answer does not come: the reservation is found again by its id.
    for (const [what, waitMs, loses] of [
      ['lost', 25_000, way.cut],
      ['late', 4000, () => {}],
    ]) {
      key = `${what}:${name}`
      await eventually('it asks', () => lossy.ask(['PING']).catch(() => false))
      ;({ ended } = await waits(key, { waitMs }, async () => 'done'))
      await leaves(key)
      loses()
      assert.equal(await ended, 'done', what)
      await isReleased(key)
    }
    lossy.close()
  })
}

test('who has left a line of which the server does not hear holds nothing, however late it is granted', async () => {
  const timeoutMs = 1000
  const way = await startLossyWay(server.port)
  const lossy = new Server(ioredis(way.port), { ...IMPATIENT, timeoutMs })
  const deaf = new Limiter(lossy, { fallback: new FailClosed() })
  // On a busy machine it may not come to the line in time: then once more.
  await eventually('it stands in line', async () => {
    await client.call('RL.RESERVE', 1, 'deaf', 'concurrent:1', 'TTL', '1h', 'ID', 'holder')
    const gone = new AbortController()
    const options = { waitMs: 25_000, ttlMs: 3_600_000, signal: gone.signal }
    const waits = reserve(deaf, { deaf: 'concurrent:1' }, options, () => assert.fail('done'))
    const ended = waits.catch(({ name }) => name)
    await eventually('it stands in line', async () => (await inLine(client, 'deaf')) === 1, 2000).catch(
      () => {},
    )
    gone.abort()
    return (await ended) === 'AbortError' && (await inLine(client, 'deaf')) === 1
  })
  await sleep(2 * timeoutMs)
  await client.call('RL.RELEASE', 'holder', 1, 'deaf')
  await eventually('it is released', async () => (await held('deaf')) === 0, 20_000)
  lossy.close()
})

test('a late answer that nobody understands is told', async () => {
  let answer
  const logger = listener()
  const late = new Promise((resolve) => (answer = resolve))
  const slow = new Server(() => late, { timeoutMs: 50, restMs: 60_000, logger })
  assert.equal(await new Breaker(slow, 'odd', '2').call(() => 42), 42)
  answer('nonsense')
  await eventually('it is told', () => logger.lines.length === 2)
  assert.match(logger.lines[1], /^warn: floodgate: CB\.ACQUIRE: the server replied string/)
})

test('a reservation that came after the timeout is released', async () => {
  const { slow, answer } = answersLate('RL.RESERVE', 2000)
  const impatient = new Limiter(slow, { fallback: new FailOpen() })
  assert.equal(await reserve(impatient, { 'late:place': 'concurrent:1' }, {}, async () => 42), 42)
  assert.equal(await held('late:place'), 1)
  answer()
  await eventually('it is released', async () => (await held('late:place')) === 0)
})
