// Tries the recipes on a real server: node try_it.mjs PORT PLAIN
//
// PLAIN is the port of a server without the module.
//
// Prints `down` when the server is to be killed, `up` when it is to be started
// again, `freeze` and `thaw` when it is to be stopped and to go on, and goes on
// itself when a line comes in.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Breaker, CircuitOpen } from './breaker.mjs'
import { FailClosed, FailOpen, Limiter, LocalBucket, Misconfigured, Server } from './floodgate.mjs'
import { byAddress, byNetwork } from './middleware.mjs'
import { Denied, reserve } from './reservation.mjs'

/** @typedef {import('./floodgate.mjs').Decision} Decision */

const URL = `redis://127.0.0.1:${process.argv[2]}`
const PLAIN = `redis://127.0.0.1:${process.argv[3]}`
// Where tests run a server may take its time: not each delay is an outage.
const PATIENCE = 5000
const LLM = '1000/h,concurrent:2'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** @param {string} what */
async function please(what) {
  console.log(what)
  await lines.next()
}

/** @param {string} what @param {() => Promise<boolean>} holds */
async function eventually(what, holds) {
  const deadline = performance.now() + 20_000
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, what)
    await sleep(20)
  }
}

/** @template T @param {number} n @param {() => Promise<T>} f */
async function times(n, f) {
  const all = []
  for (let i = 0; i < n; i++) all.push(await f())
  return all
}

/** @param {Decision[]} decisions */
const granted = (decisions) => decisions.map((d) => d.granted)

/** Units counted on the first limit of a key. @param {Server} server @param {string} key */
async function used(server, key) {
  const [first] = await server.ask('RL.QUOTA', key)
  return first[first.indexOf('used') + 1]
}

/** @param {Server} server @param {string} key */
const held = async (server, key) => (await server.ask('RL.RESERVATIONS', key)).length

/** @param {Server} server @param {string} key */
const waiting = async (server, key) => (await server.ask('RL.QUEUE', key))[0]

/** @param {Server} server */
const ready = ({ redis, taking }) =>
  eventually('it is connected', async () => redis.status === 'ready' && taking.status === 'ready')

function theFirstRequest() {
  const env = { ...process.env, REDIS_URL: URL }
  const said = execFileSync('node', ['first.mjs'], { env, cwd: import.meta.dirname, encoding: 'utf8' })
  assert.equal(said, '9 left\n')
}

/** @param {Limiter} limiter */
async function aLimitByKey(limiter) {
  const decisions = await times(4, () => limiter.acquire('user:1', '3/h'))
  assert.deepEqual(granted(decisions), [1, 1, 1, 0])
  assert.ok(decisions[3].retryAfterMs > 0 && decisions[3].fromRedis)
  assert.equal((await limiter.acquire('user:2', '3/h')).remaining, 2)
  await assert.rejects(limiter.acquire('user:1', '3/'), /invalid limit '3\/'/)
}

/** The tightest binds, and a denial takes from none. @param {Limiter} limiter */
async function threeLimitsAtOnce(limiter) {
  const decisions = await times(3, () => limiter.acquire('user:3', '100/s,5/h,1000/d', { cost: 2 }))
  assert.deepEqual([granted(decisions), decisions[2].index], [[2, 2, 0], 1])
  assert.equal((await limiter.acquire('user:3', '100/s,5/h,1000/d')).remaining, 0)
}

/** @param {Limiter} limiter */
async function standingInLine(limiter) {
  // Longer than the patience of what does not wait.
  const server = new Server(URL, { patienceMs: 1000 })
  await ready(server)
  const impatient = new Limiter(server, new FailClosed())
  const start = performance.now()
  const waits = [1, 2, 3].map(() => impatient.acquire('line', '2/1500ms', { waitMs: 9000 }))
  const served = await Promise.all(waits)
  assert.ok(served.every((d) => d.granted && d.fromRedis), JSON.stringify(served))
  assert.ok(performance.now() - start > 1400)
  server.close()

  // Who goes leaves the line.
  await limiter.acquire('slow', '1/h')
  const gone = new AbortController()
  const waiter = limiter.acquire('slow', '1/h', { waitMs: 20_000, signal: gone.signal })
  await eventually('it stands in line', async () => (await waiting(limiter.server, 'slow')) === 1)
  // Past the most that may wait in a process one is denied at once.
  const before = limiter.server.freeWaiters
  limiter.server.freeWaiters = 0
  const overtaking = await limiter.acquire('slow', '1/h', { waitMs: 20_000 })
  assert.deepEqual([overtaking.granted, overtaking.index], [0, -2])
  limiter.server.freeWaiters = before
  gone.abort()
  await assert.rejects(waiter, { name: 'AbortError' })
  await eventually('it left the line', async () => (await waiting(limiter.server, 'slow')) === 0)
  assert.ok((await limiter.acquire('user:2', '3/h')).fromRedis, 'an abort is no outage')
}

const fails = async () => {
  throw new Error('no answer')
}

/** @param {Server} server */
async function aBreakerRoundACall(server) {
  const breaker = new Breaker(server, 'mail', '2:open=1h')
  assert.equal(await breaker.call(async () => 42), 42)
  for (let i = 0; i < 2; i++) await assert.rejects(breaker.call(fails), /no answer/)
  const open = await breaker.call(async () => 42).catch((error) => error)
  assert.ok(open instanceof CircuitOpen && 3_500_000 < open.retryAfterMs && open.retryAfterMs <= 3_600_000)

  // A trial that its caller aborts is given back: neither lost nor a failure. A
  // timeout is a failure.
  const flaky = new Breaker(server, 'flaky', '1:open=100ms:lease=1h')
  const slow = (/** @type {AbortSignal} */ signal) => sleep(9000, undefined, { signal })
  const timedOut = flaky.call(() => slow(AbortSignal.timeout(10)).catch((error) => Promise.reject(error.cause)))
  await assert.rejects(timedOut, { name: 'TimeoutError' })
  const state = await server.ask('CB.STATE', 'flaky')
  assert.equal(state[state.indexOf('openings') + 1], 1)
  await sleep(150)
  const gone = new AbortController()
  const trial = flaky.call(() => {
    setTimeout(() => gone.abort(), 10)
    return slow(gone.signal)
  })
  await assert.rejects(trial, { name: 'AbortError' })
  assert.equal(await flaky.call(async () => 42), 42)
  assert.equal((await server.ask('CB.ACQUIRE', 'flaky'))[1], 'closed')
}

/** Or out of patience: what was taken meanwhile is given back. @param {Limiter} limiter */
async function abortedWhileItIsAsked(limiter) {
  const { server } = limiter
  const impatient = new Server(URL, { patienceMs: 1000, log: () => {} })
  const [rule, place] = ['1:open=100ms:lease=1h', { place: 'concurrent:1' }]
  const [aborted, late] = ['trial:aborted', 'trial:late'].map((key) => new Breaker(server, key, rule))
  for (const breaker of [aborted, late]) await assert.rejects(breaker.call(fails), /no answer/)
  await sleep(150)
  await ready(impatient)
  await please('freeze')
  const gone = new AbortController()
  const { signal } = gone
  const asking = [
    aborted.call(async () => assert.fail('it was aborted'), { signal }),
    reserve(limiter, place, { estimate: 1, ttlMs: 3_600_000, signal }, async () => assert.fail('it was aborted')),
  ]
  const goesThrough = new Breaker(impatient, 'trial:late', rule).call(async () => 42)
  setTimeout(() => gone.abort(), 50)
  await Promise.all(asking.map((work) => assert.rejects(work, { name: 'AbortError' })))
  assert.equal(await goesThrough, 42)
  await please('thaw')
  await eventually('the trials and the place are given back', async () => {
    try {
      for (const breaker of [aborted, late]) await breaker.call(async () => 42)
      await reserve(limiter, place, { estimate: 1 }, async () => 42)
      return true
    } catch (error) {
      assert.ok(error instanceof CircuitOpen || error instanceof Denied, String(error))
      return false
    }
  })
  impatient.close()
}

/** @param {Limiter} limiter */
async function tokensOfALanguageModel(limiter) {
  const { server } = limiter
  await server.ask('RL.ACQUIRE', 'llm:1', '1000/h')
  for (const [charged, spends, breaks, lastsMs] of /** @type {[number, number?, boolean?, number?][]} */ ([
    [30, 30], // less than the estimate
    [150, 150], // more
    [100], // never said: the estimate stands
    [0, undefined, true], // released
    [7, 7, true], // spent before it failed
    [3, 3, false, 2000], // longer than its TTL
  ])) {
    const before = await used(server, 'llm:1')
    const work = reserve(limiter, { 'llm:1': LLM }, { estimate: 100, ttlMs: 1500 }, async (spending) => {
      assert.equal(await held(server, 'llm:1'), 1)
      if (spends) spending.add(spends)
      if (lastsMs) await sleep(lastsMs)
      assert.equal(await held(server, 'llm:1'), 1, 'it was not renewed')
      if (breaks) await fails()
    })
    if (breaks) await assert.rejects(work, /no answer/)
    else await work
    assert.equal((await used(server, 'llm:1')) - before, charged)
    assert.equal(await held(server, 'llm:1'), 0)
  }
  const never = reserve(limiter, { 'llm:2': LLM }, { estimate: 1001 }, async () => assert.fail('too much'))
  assert.equal((await never.catch((error) => error)).decision.retryAfterMs, -1)
  const one = { 'llm:3': 'concurrent:1' }
  await reserve(limiter, one, { estimate: 1 }, async () => {
    const second = reserve(limiter, one, { estimate: 1 }, async () => assert.fail('too many'))
    await assert.rejects(second, Denied)
  })
}

/** The service as a process of its own. */
async function startWeb() {
  const env = { ...process.env, REDIS_URL: URL, REDIS_PATIENCE_MS: String(PATIENCE), PORT: '0' }
  // It ends when this process does, however that ends.
  const words = ['--pdeathsig', 'KILL', '--', 'node', 'web.mjs']
  const web = spawn('setpriv', words, { env, cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'inherit'] })
  const [said] = await once(web.stdout, 'data')
  return { web, port: Number(String(said).trim().split(':').pop()) }
}

/**
 * From one of the machine's own addresses, 127.0.0.0/8.
 * @param {number} port
 * @param {string} request
 * @param {string} localAddress
 * @returns {Promise<http.IncomingMessage>}
 */
async function send(port, request, localAddress) {
  const [method, path] = request.split(' ')
  const sent = http.request({ host: '127.0.0.1', port, method, path, localAddress, agent: false }).end()
  const [response] = await once(sent, 'response')
  return response
}

/** @param {number} port @param {string} request */
async function ask(port, request, localAddress = '127.0.0.1') {
  const response = await send(port, request, localAddress)
  let body = ''
  for await (const chunk of response) body += chunk
  return { status: response.statusCode, headers: response.headers, body }
}

/** @param {number} port */
async function overHttp(port) {
  const first = await ask(port, 'GET /hello', '127.0.0.2')
  assert.deepEqual([first.status, first.body], [200, '{"hello":"world"}'])
  const policies = '"10/s";q=10;w=1, "1000/h";q=1000;w=3600, "10000/d";q=10000;w=86400'
  assert.equal(first.headers['ratelimit-policy'], policies)
  assert.match(String(first.headers.ratelimit), /^"10\/s";r=9;t=1, "1000\/h";r=999;t=/)
  assert.deepEqual([first.headers['x-ratelimit-limit'], first.headers['x-ratelimit-remaining']], ['10', '9'])
  let next
  while ((next = await ask(port, 'GET /hello', '127.0.0.2')).status === 200) {
    assert.equal(next.headers['retry-after'], undefined)
  }
  assert.deepEqual([next.status, next.headers['retry-after']], [429, '1'])
  assert.match(String(next.headers.ratelimit), /^"10\/s";r=0;t=/)
  assert.equal(next.body, '{"error":"too many requests"}')
  assert.equal((await ask(port, 'GET /hello', '127.0.0.3')).status, 200)

  const logins = await times(6, () => ask(port, 'POST /login/joe', '127.0.0.3'))
  assert.deepEqual(logins.map((login) => login.status), [200, 200, 200, 200, 200, 429])
  assert.ok(Number(logins[5].headers['retry-after']) > 0)

  const start = performance.now()
  const reports = await times(3, () => ask(port, 'GET /report', '127.0.0.4'))
  assert.ok(reports.every((report) => report.status === 200) && performance.now() - start > 500)

  const paid = []
  for (const cents of [7, 13, 13, 13, 7]) paid.push(await ask(port, `POST /pay/${cents}`, '127.0.0.5'))
  assert.deepEqual(paid.map((pay) => pay.status), [200, 502, 502, 502, 503])
  const seconds = Number(paid[4].headers['retry-after'])
  assert.ok(25 <= seconds && seconds <= 30, String(seconds))
}

/** @param {number} port @param {Server} server */
async function aStreamOverHttp(port, server) {
  const answer = await ask(port, 'POST /ask/20')
  assert.deepEqual([answer.status, answer.body], [200, 'word '.repeat(20)])
  assert.equal(await used(server, 'llm'), 20)

  // Who hangs up half way is charged for half.
  const response = await send(port, 'POST /ask/100000', '127.0.0.1')
  await once(response, 'data')
  response.destroy()
  await eventually('the hung up answer is settled', async () => (await held(server, 'llm')) === 0)
  const charged = await used(server, 'llm')
  assert.ok(21 <= charged && charged < 1020, String(charged))

  // An estimate that never fits: no Retry-After.
  await server.ask('RL.PIN', 'llm', '1000/m')
  const never = await ask(port, 'POST /ask/20')
  assert.deepEqual([never.status, never.headers['retry-after']], [429, undefined])
  await server.ask('RL.UNPIN', 'llm')

  // Denied before the first byte.
  const holders = [0, 1, 2, 3, 4].map((i) => `held-${i}`)
  for (const id of holders) {
    await server.ask('RL.RESERVE', 1, 'llm', '100000/m,concurrent:5', 'TTL', '30s', 'ID', id)
  }
  const denied = await ask(port, 'POST /ask/20')
  assert.ok(denied.status === 429 && Number(denied.headers['retry-after']) > 0)
  for (const id of holders) await server.ask('RL.RELEASE', id, 1, 'llm')

  // Who hangs up in line leaves it, long before the wait is over.
  await server.ask('RL.PIN', 'report', '1/h')
  await server.ask('RL.ACQUIRE', 'report')
  const slow = http.request({ host: '127.0.0.1', port, path: '/report', agent: false }).end()
  slow.on('error', () => {})
  await eventually('it stands in line', async () => (await waiting(server, 'report')) === 1)
  const start = performance.now()
  slow.destroy()
  await eventually('it left the line', async () => (await waiting(server, 'report')) === 0)
  assert.ok(performance.now() - start < 3000)
}

/** All that may be under way when the server goes ends well. @param {Limiter} limiter */
async function inFlight(limiter) {
  /** @type {() => void} */
  let isGone = () => {}
  /** @type {Promise<void>} */
  const gone = new Promise((resolve) => { isGone = resolve })
  const requests = async () => {
    for (let shared = 0; ; shared++) {
      const start = performance.now()
      const { fromRedis } = await limiter.acquire('flight', '1000000/h')
      assert.ok(performance.now() - start < 2000)
      if (!fromRedis) return shared
      await sleep(1)
    }
  }
  await limiter.acquire('flight:line', '1/h')
  const waiter = limiter.acquire('flight:line', '1/h', { waitMs: 25_000 })
  const call = new Breaker(limiter.server, 'flight:mail', '1').call(() => gone)
  const stream = reserve(limiter, { 'flight:llm': LLM }, { estimate: 100, ttlMs: 300 }, async (spending) => {
    await gone
    spending.add(1)
    return 42
  })
  const loops = [requests(), requests(), requests()]
  await sleep(300)
  await please('down')
  isGone()
  for (const shared of await Promise.all(loops)) assert.ok(shared > 0)
  await call
  assert.equal(await stream, 42)
  const alone = await waiter
  assert.deepEqual([alone.granted, alone.fromRedis], [1, false])
}

async function misconfiguredAtTheStart() {
  const server = new Server(URL)
  await server.check()
  await server.ask('CONFIG', 'SET', 'requirepass', 'secret')
  for (const [url, what] of /** @type {const} */ ([
    [URL.replace('//', '//:wrong@'), /refuses the credentials/],
    [URL, /refuses the credentials/],
    [PLAIN, /has no Floodgate/],
  ])) {
    const wrong = new Server(url, { patienceMs: PATIENCE })
    const limiter = new Limiter(wrong, new FailOpen())
    for (const attempt of [
      () => wrong.check(),
      () => limiter.acquire('a', '1/s'),
      () => limiter.acquireWithHeaders('a', '1/s'),
    ]) {
      const error = await attempt().then(() => assert.fail(`${url}: nothing was thrown`), (error) => error)
      assert.ok(error instanceof Misconfigured, String(error))
      assert.match(error.message, what)
    }
    wrong.close()
  }
  await server.ask('CONFIG', 'SET', 'requirepass', '')
  server.close()
  // A server that is away is none: it is logged.
  const lines = /** @type {string[]} */ ([])
  const away = new Server('redis://127.0.0.1:1', { log: (line) => lines.push(line) })
  await away.check()
  away.close()
  assert.equal(lines.length, 1)
  assert.match(lines[0], /^Redis is away, the fallback decides: .*ECONNREFUSED/)
}

/** It answers, and decides nothing: that is an outage like others, logged once. */
async function itCannotWrite() {
  const admin = new Server(URL, { patienceMs: PATIENCE })
  const lines = /** @type {string[]} */ ([])
  const server = new Server(URL, { patienceMs: PATIENCE, restMs: 10, log: (line) => lines.push(line) })
  const limiter = new Limiter(server, new FailOpen())
  await admin.check()
  await server.check()
  const sets = (/** @type {string} */ name, /** @type {string | number} */ value) =>
    admin.ask('CONFIG', 'SET', name, value)

  /** As when the disk is full. */
  async function failsToSave() {
    await sets('save', '3600 1')
    await sets('rdb-key-save-delay', 10_000_000)
    await admin.ask('BGSAVE')
    const pid = /process_id:(\d+)/.exec(await admin.ask('INFO', 'server'))?.[1]
    for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')) {
      process.kill(Number(child), 'SIGKILL')
    }
    await eventually('it fails to save', async () =>
      (await admin.ask('INFO', 'persistence')).includes('rdb_last_bgsave_status:err'))
  }

  for (const [what, breaks, mends] of /** @type {[string, () => Promise<void>, () => Promise<void>][]} */ ([
    ['OOM', () => sets('maxmemory', 1), () => sets('maxmemory', 0)],
    ['NOREPLICAS', () => sets('min-replicas-to-write', 1), () => sets('min-replicas-to-write', 0)],
    ['READONLY', () => admin.ask('REPLICAOF', '127.0.0.1', 1), () => admin.ask('REPLICAOF', 'NO', 'ONE')],
    ['MISCONF', failsToSave, () => sets('save', '')],
    ['NOAUTH', async () => {
      await sets('requirepass', 'secret')
      await admin.ask('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    }, () => sets('requirepass', '')],
  ])) {
    lines.length = 0
    await breaks()
    for (let i = 0; i < 5; i++) {
      assert.equal((await limiter.acquire('user:9', '1000/h')).fromRedis, false, what)
      await sleep(20)
      const [decided, headers] = await limiter.acquireWithHeaders('user:9', '1000/h')
      assert.deepEqual([decided.granted, decided.fromRedis, headers], [1, false, {}], what)
      await new Breaker(server, 'none:yet', '1').call(() => sleep(20))
    }
    await sleep(20)
    await mends()
    await asksAgain(limiter)
    assert.equal(lines.length, 2, `${what}: ${lines}`)
    assert.match(lines[0], /^Redis is away, the fallback decides: ./)
    assert.equal(lines[1], 'Redis is back')
    await ready(server)
  }
  server.close()
  admin.close()
}

function callersByAddress() {
  const caller = (/** @type {string | undefined} */ ip, of = byAddress) => of(/** @type {any} */ ({ ip }))
  for (const [ip, key] of [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8:1:3::', '2001:db8:1:3::/64'],
    ['2001:DB8::1:3:0:0:1', '2001:db8:0:1::/64'],
    ['fe80::1%eth0', 'fe80::/64'],
    ['::1', '::/64'],
    [undefined, 'unknown'],
  ]) assert.equal(caller(ip), key)
  assert.equal(caller('2001:db8:1:234::1', byNetwork(56)), '2001:db8:1:200::/56')
  assert.equal(caller('2001:db8:1:2::1', byNetwork(128)), '2001:db8:1:2::1/128')
}

/** @param {Server} server @param {number} port */
async function redisIsAway(server, port) {
  for (const [fallback, least, most] of /** @type {const} */ ([
    [new FailOpen(), 20, 20],
    [new FailClosed(), 0, 0],
    [new LocalBucket(5), 5, 10],
  ])) {
    const start = performance.now()
    const decisions = await times(20, () => new Limiter(server, fallback).acquire('user:1', '3/h'))
    const sum = granted(decisions).reduce((a, b) => a + b)
    assert.ok(least <= sum && sum <= most, `${fallback.constructor.name}: ${sum}`)
    assert.ok(decisions.every((d) => !d.fromRedis) && performance.now() - start < 1000)
  }
  assert.equal(await new Breaker(server, 'mail', '2:open=1h').call(async () => 42), 42)
  const closed = new Limiter(server, new FailClosed())
  await assert.rejects(reserve(closed, { 'llm:1': LLM }, { estimate: 100 }, fails), Denied)

  const hello = await ask(port, 'GET /hello', '127.0.0.7')
  assert.deepEqual([hello.status, hello.headers.ratelimit], [200, undefined])
  assert.equal((await ask(port, 'POST /login/ann', '127.0.0.7')).status, 429)
  assert.equal((await ask(port, 'POST /pay/7', '127.0.0.7')).status, 200)
  assert.equal((await ask(port, 'POST /ask/3', '127.0.0.7')).body, 'word word word ')
}

/** Of a crowd that meets a server which hangs, one pays the timeout. @param {Server} server */
async function oneAsksForAll(server) {
  const limiter = new Limiter(server, new FailOpen())
  const took = async () => {
    const start = performance.now()
    assert.ok(!(await limiter.acquire('user:1', '3/h')).fromRedis)
    return performance.now() - start
  }
  assert.ok((await took()) > 900)
  await sleep(350) // the longest rest
  const slow = (await Promise.all([...Array(20)].map(took))).filter((ms) => ms > 300)
  assert.equal(slow.length, 1, String(slow))
  server.close()
}

/** @param {Limiter} limiter */
const asksAgain = (limiter) =>
  eventually('it asks again', async () => (await limiter.acquire('user:9', '1000/h')).fromRedis)

callersByAddress()
await misconfiguredAtTheStart()
const server = new Server(URL, { patienceMs: PATIENCE, restMs: 200 })
const impatient = new Server(URL, { patienceMs: 1000, restMs: 200 })
await ready(server)
const limiter = new Limiter(server, new LocalBucket(5))
const { web, port } = await startWeb()
await eventually('the service finds Redis', async () => 'ratelimit' in (await ask(port, 'GET /hello')).headers)

theFirstRequest()
await aLimitByKey(limiter)
await threeLimitsAtOnce(limiter)
await standingInLine(limiter)
await aBreakerRoundACall(server)
await abortedWhileItIsAsked(limiter)
await tokensOfALanguageModel(limiter)
await overHttp(port)
await aStreamOverHttp(port, server)

await inFlight(limiter)
await redisIsAway(server, port)
await please('up')
await asksAgain(limiter)
// What was granted before stands.
assert.equal((await limiter.acquire('user:1', '3/h')).granted, 0)

await ready(impatient)
await asksAgain(new Limiter(impatient, new FailOpen()))
await please('freeze')
await oneAsksForAll(impatient)
await please('thaw')
await asksAgain(limiter)

await itCannotWrite()

web.kill()
console.log('done')
process.exit(0)
