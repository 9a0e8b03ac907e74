// Leases against an exact model: of what they spend, and of the server that they ask. Then on
// a real one.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { FailClosed, Lease, Limiter, LocalBucket, Server } from 'floodgate-redis'
import { ioredis, listener, nodeRedis, patient } from './clients.mjs'
import { dice } from './numbers.mjs'
import { calls as callsOf } from './operator.mjs'
import { IMPATIENT, PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { ends, eventually, sleep } from './waits.mjs'

const INTERVAL = 100
const PERIOD = 1000

/** A sliding limit that remembers each grant, with the replies of the commands that a lease sends. */
class ExactServer {
  grants = []
  now = 0

  constructor(count) {
    this.count = count
  }

  used(now = this.now) {
    return this.grants.reduce((sum, { at, units }) => (at > now - PERIOD ? sum + units : sum), 0)
  }

  answer([name, ...words]) {
    const left = this.count - this.used()
    const six = (granted) => [granted, this.count, left - granted, granted ? 0 : 1, 0, 0]
    if (name === 'RL.ACQUIRE') {
      const cost = Number(words[3])
      if (cost > left) return six(0)
      this.grants.push({ at: this.now, units: cost })
      return six(cost)
    }
    if (name === 'RL.RESERVE') {
      const [one, , , , cost, , , , id, how] = words
      assert.deepEqual([one, how], ['1', 'PARTIAL'])
      const granted = Math.min(Number(cost), left)
      if (granted > 0) this.grants.push({ at: this.now, units: granted, id })
      return [granted > 0 ? id : null, [six(granted)]]
    }
    if (name === 'RL.QUOTA') return ['RateLimit-Policy', `"k";q=${this.count};w=1`]
    assert.equal(name, 'RL.COMMIT')
    const [id, , , , used] = words
    const grant = this.grants.find((grant) => grant.id === id)
    assert.ok(grant, 'a block is settled once')
    grant.id = undefined
    assert.ok(Number(used) <= grant.units, 'no more is spent than was granted')
    grant.units = Number(used)
    return 1
  }
}

/** What a lease has to do, by the book. */
class ExactLease {
  blocks = []
  asked = []
  remaining = 0

  constructor(processes) {
    this.processes = processes
  }

  /** Units that may be spent at `now`. */
  alive(now) {
    return this.blocks.filter(({ left, until }) => left > 0 && now < until)
  }

  spends(cost, now) {
    const alive = this.alive(now)
    if (alive.reduce((sum, { left }) => sum + left, 0) < cost) return false
    for (const block of alive) {
      const part = Math.min(cost, block.left)
      block.left -= part
      cost -= part
    }
    return true
  }

  /** Units that were asked for since then. */
  since(then) {
    return this.asked.reduce((sum, { at, cost }) => (at >= then ? sum + cost : sum), 0)
  }
}

const flushed = () => new Promise(setImmediate)

test('what is spent, taken and given back is what the model says, and the promise holds', async () => {
  let leased = 0
  let denied = 0
  for (let seed = 1; seed <= 60; seed++) {
    const roll = dice(seed)
    const count = [100, 1000, 5000][roll(3)]
    const processes = 1 + roll(4)
    const server = new ExactServer(count)
    const uses = [] // { step, at, units }
    const out = [] // { step, at, units }: on lease, when each request came
    const held = [] // answers that are not there yet
    const coming = new Set() // their blocks
    const makers = [...Array(processes)].map(() => {
      const model = new ExactLease(processes)
      const send = async (words) => {
        const reply = server.answer(words)
        if (words[0] === 'RL.ACQUIRE') model.remaining = reply[2]
        if (words[0] !== 'RL.RESERVE') return reply
        const wanted = Number(words[5])
        assert.ok(wanted >= 10 && wanted <= model.remaining / (2 * processes), `seed ${seed}: ${wanted}`)
        assert.ok(
          wanted <= model.since(server.now - 2 * INTERVAL),
          `seed ${seed}: ${wanted} were not asked for`,
        )
        const block = { left: reply[1][0][0], until: server.now + INTERVAL }
        coming.add(block)
        await new Promise((resolve) => held.push({ resolve, at: server.now + roll(3) * roll(60) }))
        coming.delete(block)
        model.remaining = reply[1][0][2]
        model.blocks.push(block)
        return reply
      }
      const asked = new Server(send, { ...PATIENT, timeoutMs: 60_000 })
      const limiter = new Limiter(asked, { fallback: new FailClosed(), rememberDenials: false })
      const lease = new Lease(
        limiter,
        'k',
        `${count}/s`,
        { processes, intervalMs: INTERVAL },
        () => server.now,
      )
      return { model, lease }
    })
    const onLease = () => {
      const blocks = [...coming].filter(({ until }) => server.now < until)
      return [...blocks, ...makers.flatMap(({ model }) => model.alive(server.now))].reduce(
        (sum, { left }) => sum + left,
        0,
      )
    }
    for (let step = 0; step < 400; step++) {
      server.now += roll(10) === 0 ? roll(150) : roll(4)
      for (const answer of held.splice(0)) {
        if (answer.at <= server.now) answer.resolve()
        else held.push(answer)
      }
      await flushed()
      out.push({ step, at: server.now, units: onLease() })
      const { model, lease } = makers[roll(processes)]
      const cost = 1 + roll(roll(8) === 0 ? 30 : 5)
      model.asked.push({ at: server.now, cost })
      const expected = model.spends(cost, server.now)
      const decision = await lease.acquire(cost)
      assert.equal(decision.source === 'lease', expected, `seed ${seed}, step ${step}`)
      if (expected) assert.equal(decision.granted, cost)
      if (decision.granted) uses.push({ step, at: server.now, units: cost })
      leased += expected
      denied += decision.granted === 0
      assert.ok(server.used() <= count)
      const left = model.alive(server.now).reduce((sum, block) => sum + block.left, 0)
      assert.equal(lease.left, left, `seed ${seed}, step ${step}`)
    }
    for (const answer of held) answer.resolve()
    await flushed()
    await Promise.all(makers.map(({ lease }) => lease.close()))
    // All that was granted was used, and nothing is out.
    assert.ok(server.grants.every(({ id }) => id === undefined))
    const charged = server.grants.reduce((sum, { units }) => sum + units, 0)
    const used = uses.reduce((sum, { units }) => sum + units, 0)
    assert.equal(charged, used, `seed ${seed}`)
    // In no period more than the limit, and what was out when it began.
    for (const begin of out) {
      const inPeriod = uses.reduce(
        (sum, use) => (use.step >= begin.step && use.at < begin.at + PERIOD ? sum + use.units : sum),
        0,
      )
      assert.ok(inPeriod <= count + begin.units, `seed ${seed}: ${inPeriod} of ${count} + ${begin.units}`)
    }
  }
  assert.ok(leased > 5000 && denied > 100, `${leased} leased, ${denied} denied`)
})

test('few requests are not leased, nor critical ones; what cannot be leased is refused', async () => {
  const words = []
  const server = new ExactServer(1000)
  const send = async (command) => (words.push(command[0]), server.answer(command))
  const limiter = new Limiter(new Server(send, PATIENT))
  const lease = new Lease(limiter, 'k', '1000/s', {}, () => server.now)
  for (let i = 0; i < 9; i++) await lease.acquire()
  assert.deepEqual(new Set(words), new Set(['RL.ACQUIRE']))
  await lease.acquire()
  await flushed()
  assert.deepEqual(words.slice(-2), ['RL.ACQUIRE', 'RL.QUOTA'], 'it looks whether it can lease')
  await lease.acquire()
  await flushed()
  assert.equal(words.filter((word) => word === 'RL.RESERVE').length, 1)
  const asked = lease.counters.asked
  await lease.acquire(1, { critical: true })
  assert.equal(lease.counters.asked, asked + 1)
  assert.equal((await lease.acquire()).source, 'lease')
  await assert.rejects(lease.acquire(1, { signal: AbortSignal.abort() }), { name: 'AbortError' })
  await lease.close()
  assert.equal((await lease.acquire()).source, 'redis', 'once closed it asks')
  assert.throws(() => new Lease(limiter, 'k', '90000/m,60/m:per=call'), /per=call.*limiter\.acquire/)
  assert.throws(() => new Lease(limiter, 'k', '9/m', { processes: 0 }), /processes is 0/)
})

test('where nothing can be leased it is told once, and each request is asked for', async () => {
  const logger = listener()
  const exact = new ExactServer(1000)
  let reserved = 0
  const send = async (command) => {
    if (command[0] !== 'RL.RESERVE') return exact.answer(command)
    reserved += 1
    throw new Error("ERR syntax error near 'PARTIAL'")
  }
  const limiter = new Limiter(new Server(send, { ...PATIENT, logger }))
  const lease = new Lease(limiter, 'k', '1000/s', {}, () => exact.now)
  for (let i = 0; i < 300; i++) {
    exact.now += 1
    assert.equal((await lease.acquire()).source, 'redis')
  }
  assert.equal(reserved, 2)
  assert.equal(logger.lines.length, 1)
  assert.match(logger.lines[0], /^warn: floodgate: nothing is leased of 'k'.*PARTIAL/)
})

const server = await startServer()
const { operator } = server
const calls = (command) => callsOf(operator, command)
const used = async (key) => {
  const limiter = new Limiter(patient(operator))
  return (await limiter.quota(key))?.rows[0].used ?? 0
}
const leases = (lease) =>
  eventually('it leases', async () => {
    for (let i = 0; i < 50; i++) if ((await lease.acquire()).source === 'lease') return true
    return false
  })

for (const [name, connect] of [
  ['ioredis', () => ioredis(server.port)],
  ['node-redis, RESP2', () => nodeRedis(server.port, { RESP: 2 })],
  ['node-redis, RESP3', () => nodeRedis(server.port, { RESP: 3 })],
]) {
  test(`${name}: round trips are saved and counted, and the rest is given back`, async () => {
    const key = `hot:${name}`
    const limiter = new Limiter(patient(await connect()))
    // Longer than a round trip takes on a busy machine: what comes later cannot be spent.
    const lease = new Lease(limiter, key, '1000000/h', { intervalMs: 2000 })
    await operator.config('RESETSTAT')
    let granted = 0
    while (granted < 5000) {
      granted += (await lease.acquire()).granted
      if (granted % 20 === 0) await sleep(1)
    }
    await lease.close()
    const { leased, asked, taken, settled } = lease.counters
    assert.deepEqual([leased + asked, await calls('rl.acquire')], [granted, asked])
    assert.deepEqual([await calls('rl.reserve'), await calls('rl.commit')], [taken, settled])
    assert.ok(asked + taken + settled < granted / 5, `${asked} + ${taken} + ${settled} of ${granted}`)
    assert.equal(await used(key), granted)
    assert.deepEqual(await operator.call('RL.RESERVATIONS', key), [])
  })
}

for (const [name, key, limits, give] of [
  [
    'the policy of its prefix',
    'bulk:a',
    '*',
    ['RL.POLICY', 'SET', 'bulk', '200/h:per=call', 'PREFIX', 'bulk:'],
  ],
  ['a policy by its name', 'named', '@calls', ['RL.POLICY', 'SET', 'calls', '9000/h,200/h:per=call']],
  ['a pin', 'pinned', '9000/h', ['RL.PIN', 'pinned', '200/h:per=call']],
]) {
  test(`what counts requests by ${name} is not leased`, async () => {
    const logger = listener()
    const asked = new Server(ioredis(server.port), { ...PATIENT, logger })
    await operator.call(...give)
    const lease = new Lease(new Limiter(asked), key, limits)
    let granted = 0
    for (let i = 0; i < 1000; i++) {
      granted += (await lease.acquire()).granted
      if (i % 20 === 0) await sleep(1)
    }
    await lease.close()
    assert.deepEqual([granted, lease.counters.leased, lease.counters.taken], [200, 0, 0])
    assert.match(logger.lines.join(), /^warn: floodgate: nothing is leased of '.*', each .*per=call/)
  })
}

test('limits that come later: it looks again after ten blocks, and leases again when it can', async () => {
  const asked = new Server(ioredis(server.port), { ...PATIENT, restMs: 1 })
  const lease = new Lease(new Limiter(asked), 'later', '1000000/h')
  await leases(lease)
  await operator.call('RL.PIN', 'later', '1000000/h:per=call')
  const { taken } = lease.counters
  let looks = 0
  await eventually('it asks for each', async () => {
    const { leased } = lease.counters
    const before = await calls('rl.quota')
    for (let i = 0; i < 200; i++) await lease.acquire()
    looks = lease.counters.leased === leased && (await calls('rl.quota')) > before ? looks + 1 : 0
    return looks === 5
  })
  assert.ok(lease.counters.taken <= taken + 10, `${taken} blocks, then ${lease.counters.taken}`)
  await operator.call('RL.UNPIN', 'later')
  await leases(lease)
  await lease.close()
})

test('four processes at once, one of them killed: never more than the limit', async (t) => {
  const processes = [...Array(4)].map(() =>
    fork(new URL('leaser.mjs', import.meta.url), [String(server.port), 'four', '4000/h']),
  )
  t.after(() => processes.forEach((process) => process.kill('SIGKILL')))
  const told = processes.map((process) => once(process, 'message'))
  await eventually('they lease', async () => (await calls('rl.reserve')) > 20 && (await used('four')) > 500)
  processes[0].kill('SIGKILL')
  let granted = 0
  for (const answer of told.slice(1)) granted += (await answer)[0].granted
  // What the one that was killed had used or held stays charged.
  await eventually(
    'all is settled',
    async () => (await operator.call('RL.RESERVATIONS', 'four')).length === 0,
  )
  const charged = await used('four')
  assert.ok(granted > 0 && granted <= charged && charged <= 4000, `${granted} of ${charged}`)
})

test('killed and frozen: the fallback decides, and afterwards it leases again', async () => {
  const asked = new Server(ioredis(server.port), IMPATIENT)
  const lease = new Lease(new Limiter(asked, { fallback: new LocalBucket(1, 5) }), 'away', '1000000/h')
  await leases(lease)
  for (const [breaks, mends] of [
    [() => server.kill(), () => server.start()],
    [() => server.freeze(), () => server.thaw()],
  ]) {
    await breaks()
    await sleep(INTERVAL + 20)
    const start = performance.now()
    let passed = 0
    for (let i = 0; i < 50; i++) {
      const { granted, source } = await ends('a request', lease.acquire())
      assert.notEqual(source, 'redis')
      passed += granted
    }
    // Five, and one a second.
    assert.ok(passed <= 5 + (performance.now() - start) / 1000, `${passed} passed`)
    await mends()
    await leases(lease)
  }
  await lease.close()
})
