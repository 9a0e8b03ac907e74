// The memory of denials against an exact model, and the round trips that it saves.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DenialMemory, Limiter, reserve } from 'floodgate-redis'
import { patient } from './clients.mjs'
import { dice, times } from './numbers.mjs'
import { calls } from './operator.mjs'
import { startStillServer } from './servers.mjs'
import { sleep } from './waits.mjs'

const { operator: client, advance } = await startStillServer()

const denied = (retryAfterMs) => ({
  granted: 0,
  limit: 9,
  remaining: 0,
  retryAfterMs,
  // What never comes, a credit denies.
  resetAfterMs: retryAfterMs < 0 ? -1 : retryAfterMs + 5,
  index: 0,
  source: 'redis',
})

test('it says what a list of all denials says', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const roll = dice(seed)
    let now = 1000
    const memory = new DenialMemory(() => now)
    let model = []
    const freed = {} // when units of a key were given back
    const asked = []
    for (let step = 0; step < 300; step++) {
      now += roll(5) === 0 ? roll(1500) : roll(40)
      const [key, limits, cost] = [`k${roll(3)}`, `${1 + roll(2)}/s`, 1 + roll(6)]
      const action = roll(20)
      if (action === 0) {
        memory.forget(key)
        freed[key] = now
        model = model.filter((entry) => entry.key !== key)
      } else if (action < 8) {
        const retryAfterMs = [-1, 1, 50, 400, 999, 1000, 1001, 60_000][roll(8)]
        const at = now - roll(2) * roll(200)
        memory.note(key, limits, cost, denied(retryAfterMs), at)
        if (at < freed[key]) continue
        const until = at + (retryAfterMs < 0 ? 1000 : Math.min(1000, retryAfterMs))
        model.push({ key, limits, cost, until, at, retryAfterMs })
      } else if (action === 8) {
        memory.note(key, limits, cost, { ...denied(0), granted: cost }, now)
      } else {
        const hold = model.filter(
          (entry) => entry.key === key && entry.limits === limits && entry.cost <= cost && now < entry.until,
        )
        const found = memory.find(key, limits, cost)
        assert.equal(found !== undefined, hold.length > 0, `seed ${seed}, step ${step}`)
        asked.push(found !== undefined)
        if (!found) continue
        const { retryAfterMs, resetAfterMs, granted, source } = found.decision
        assert.deepEqual([granted, source], [0, 'memory'])
        // It is the answer that one of these gives now.
        const left = hold.map((entry) => (entry.retryAfterMs < 0 ? -1 : entry.at + entry.retryAfterMs - now))
        assert.ok(left.includes(retryAfterMs), `seed ${seed}, step ${step}: ${retryAfterMs} of ${left}`)
        assert.equal(resetAfterMs, retryAfterMs < 0 ? -1 : retryAfterMs + 5)
      }
    }
    assert.ok(asked.includes(true) && asked.includes(false))
  }
})

test('what never comes back has no time at which it does', () => {
  let now = 0
  const memory = new DenialMemory(() => now)
  memory.note('credit', 'fixed:9/ever', 1, { ...denied(-1), resetAfterMs: -1 }, now)
  now = 500
  const { retryAfterMs, resetAfterMs } = memory.find('credit', 'fixed:9/ever', 1).decision
  assert.deepEqual([retryAfterMs, resetAfterMs], [-1, -1])
})

test('it is bounded', () => {
  const memory = new DenialMemory(() => 0)
  for (let i = 0; i < DenialMemory.MAX_KEYS + 100; i++) memory.note(`k${i}`, '1/s', 1, denied(500), 0)
  assert.equal(memory.size, DenialMemory.MAX_KEYS)
  assert.equal(memory.find('k0', '1/s', 1), undefined)
  assert.ok(memory.find(`k${DenialMemory.MAX_KEYS + 99}`, '1/s', 1))
  for (let i = 0; i < 100; i++) memory.note('k', `${i + 1}/s`, 1, denied(500), 0)
  assert.equal(memory.find('k', '1/s', 1), undefined)
  assert.ok(memory.find('k', '100/s', 1))
  for (let cost = 100; cost > 0; cost--) memory.note('costs', '1/s', cost, denied(cost), 0)
  assert.ok(memory.find('costs', '1/s', 1))
})

const commands = () => calls(client, 'rl.acquire')

test('round trips are saved, and counted', async () => {
  const limiter = new Limiter(patient(client))
  const before = await commands()
  const start = performance.now()
  const decisions = await times(1000, () => limiter.acquire('attacked', '10/h'))
  const seconds = (performance.now() - start) / 1000
  const asked = (await commands()) - before
  // Ten grants, then one denial a second.
  assert.ok(asked >= 11 && asked <= 11 + seconds, `${asked} round trips in ${seconds} s`)
  assert.deepEqual(limiter.counters, { redis: asked, memory: 1000 - asked, fallback: 0 })
  assert.equal(decisions.filter(({ granted }) => granted).length, 10)
  const remembered = decisions.findLast(({ source }) => source === 'memory')
  assert.deepEqual([remembered.source, remembered.limit, remembered.index], ['memory', 10, 0])
  assert.ok(remembered.retryAfterMs > 3_590_000)
})

test('with headers too', async () => {
  const limiter = new Limiter(patient(client))
  const start = performance.now()
  const answers = await times(20, () => limiter.acquireWithHeaders('web', '2/m'))
  const asked = answers.filter(({ decision }) => decision.source === 'redis')
  assert.ok(asked.length >= 3 && asked.length <= 3 + (performance.now() - start) / 1000, String(asked.length))
  const remembered = answers.find(({ decision }) => decision.source === 'memory')
  assert.match(remembered.headers.RateLimit, /^"2\/m";r=0;t=/)
  assert.equal(remembered.headers['Retry-After'], '60')
})

test('a request for less, for other limits or that is critical is asked', async () => {
  const limiter = new Limiter(patient(client))
  const take = (cost, options) => limiter.acquire('small', '10/h', { cost, ...options })
  assert.equal((await take(8)).granted, 8)
  assert.equal((await take(5)).source, 'redis')
  assert.equal((await take(6)).source, 'memory')
  assert.equal((await take(5, { critical: true })).source, 'redis')
  assert.deepEqual([(await take(9, { partial: true })).granted, (await take(1)).source], [2, 'redis'])
  assert.equal((await limiter.acquire('small', '20/h', { cost: 9 })).source, 'redis')
})

test('it is over at the retry time, and after a refund', async () => {
  const limiter = new Limiter(patient(client))
  const take = () => limiter.acquire('short', '1/900ms')
  assert.equal((await take()).granted, 1)
  const { retryAfterMs } = await take()
  assert.equal((await take()).source, 'memory')
  await advance(920) // units come back at most 2 % late
  await sleep(retryAfterMs + 2)
  const again = await take()
  assert.deepEqual([again.source, again.granted], ['redis', 1])

  await limiter.acquire('refunded', '1/h')
  await limiter.acquire('refunded', '1/h')
  await limiter.refund('refunded', 1)
  assert.equal((await limiter.acquire('refunded', '1/h')).granted, 1)
})

test('an answer that is late is remembered from when it was asked', async () => {
  const late = async (args) => {
    const answer = await client.call(args[0], args.slice(1))
    await sleep(300)
    return answer
  }
  const limiter = new Limiter(patient(late))
  await limiter.acquire('late', '1/400ms')
  const asked = performance.now()
  assert.equal((await limiter.acquire('late', '1/400ms')).retryAfterMs, 400)
  const again = await limiter.acquire('late', '1/400ms')
  // A busy machine may take longer than it is remembered.
  if (again.source === 'memory') assert.ok(again.retryAfterMs <= 100, `${again.retryAfterMs} ms more`)
  await advance(408)
  await sleep(asked + 402 - performance.now())
  const after = await limiter.acquire('late', '1/400ms')
  assert.deepEqual([after.source, after.granted], ['redis', 1])
})

test('what is given back while a request is under way is not denied from memory', async () => {
  const limiter = new Limiter(patient(client))
  const take = (key) => limiter.acquire(key, '1/h')
  await take('crossed')
  const [crossed, given] = await Promise.all([take('crossed'), limiter.refund('crossed', 1)])
  assert.deepEqual([crossed.granted, given], [0, 1])
  const again = await take('crossed')
  assert.deepEqual([again.source, again.granted], ['redis', 1])

  const failed = new Error('failed')
  const work = async () => {
    assert.equal((await take('held')).granted, 0)
    assert.equal((await take('held')).source, 'memory')
    throw failed
  }
  await assert.rejects(reserve(limiter, { held: '1/h' }, {}, work), failed)
  const released = await take('held')
  assert.deepEqual([released.source, released.granted], ['redis', 1])

  await take('reset')
  await take('reset')
  await client.call('RL.RESET', 'reset')
  limiter.forget('reset')
  assert.equal((await take('reset')).granted, 1)
})

test('it can be turned off', async () => {
  const limiter = new Limiter(patient(client), { rememberDenials: false })
  const decisions = await times(5, () => limiter.acquire('off', '1/h'))
  assert.ok(decisions.every(({ source }) => source === 'redis'))
})
