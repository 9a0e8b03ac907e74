// Answers that are late because the process itself is busy, or because much is asked at once.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FailClosed, Limiter, Server } from 'floodgate-redis'
import { asksAgain } from './asks-again.mjs'
import { ioredis, listener, nodeRedis, patient } from './clients.mjs'
import { IMPATIENT, PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { eventually, sleep } from './waits.mjs'

const server = await startServer()
const { port, operator } = server
const granted = (decisions) => decisions.map((decision) => decision.granted)

/** Blocks the process for so long, as work of its own would, and takes no processor from others. */
const works = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
const turn = () => new Promise(setImmediate)

/** Both clients, of which each sends nothing before the next turn: of ioredis one that has no connection yet. */
const SEND_LATER = {
  ioredis: () => ioredis(port, { lazyConnect: true }),
  'node-redis': () => nodeRedis(port),
}

for (const [name, connect] of Object.entries(SEND_LATER)) {
  test(`${name}: a process that was too slow to send itself waits as long once more`, async () => {
    // On a busy machine that may be too short, too: then once more.
    await eventually('it waits for the answer', async () => {
      const asked = new Server(await connect(), { ...IMPATIENT, timeoutMs: 500 })
      const limiter = new Limiter(asked, { fallback: new FailClosed() })
      // After this the loop comes to its timers first, then to what it sends, and then to what it reads.
      await turn()
      const decides = limiter.acquire('slow process', '1000/h')
      works(600)
      return (await decides).source === 'redis'
    })
  })

  test(`${name}: a process that was too slow to open a connection stands in line all the same`, async () => {
    const key = `slow line:${name}`
    await operator.call('RL.ACQUIRE', key, '1/h')
    await eventually('it stands in line', async () => {
      const asked = new Server(await connect(), { ...IMPATIENT, timeoutMs: 500 })
      const gone = new AbortController()
      const waits = new Limiter(asked).wait(key, '1/h', 25_000, { signal: gone.signal })
      const ended = waits.then(
        () => 'an answer',
        ({ name }) => name,
      )
      works(600)
      const inLine = async () => (await operator.call('RL.QUEUE', key))[0] === 1
      const stands = Promise.race([eventually('it stands in line', inLine, 20_000), ended])
      const isInLine = (await stands.catch(() => 'none')) === undefined
      gone.abort()
      return (await ended) === 'AbortError' && isInLine
    })
  })
}

test('an answer that lies there is read before it is judged, by a process that was not busy, too', async () => {
  const own = await startServer()
  for (const client of [ioredis(own.port), await nodeRedis(own.port)]) {
    const limiter = new Limiter(new Server(client, IMPATIENT), { fallback: new FailClosed() })
    await eventually('it reads the answer', async () => {
      await asksAgain(limiter)
      await own.freeze()
      const decides = limiter.acquire('slow server', '1000/h')
      // Less than half of the time it works, and at the end.
      await sleep(IMPATIENT.timeoutMs * 0.75)
      await turn() // after this the loop comes to its timers first, and then to what it reads
      const thawed = own.thaw()
      works(IMPATIENT.timeoutMs * 0.4)
      const { source } = await decides
      await thawed
      return source === 'redis'
    })
  }
})

/** A server by a function of which the test answers each request. */
function answered() {
  const requests = []
  const send = () => new Promise((resolve) => requests.push(() => resolve([1, 99, 98, 0, 0, 0])))
  const asked = new Server(send, { timeoutMs: 1000, restMs: 60_000, logger: null })
  const limiter = new Limiter(asked, { fallback: new FailClosed() })
  const sources = async (n) => {
    const decisions = await Promise.all(Array.from({ length: n }, () => limiter.acquire('k', '99/h')))
    return decisions.map(({ source }) => source)
  }
  return { requests, sources }
}

test('while answers come, a process that is busy itself is no outage', async () => {
  const { requests, sources } = answered()
  const all = sources(8)
  // As of a burst, of which the answers take three times the timeout to be read.
  works(1200)
  for (const answer of requests) {
    await turn()
    answer()
    works(400)
  }
  assert.deepEqual(await all, Array(8).fill('redis'))
})

test('no answers at all are an outage, however busy the process is', async () => {
  const { sources } = answered()
  let isOver = false
  const all = sources(8).finally(() => (isOver = true))
  const start = performance.now()
  while (!isOver) {
    works(200)
    await turn()
    assert.ok(performance.now() - start < 60_000, 'it ends')
  }
  assert.deepEqual(await all, Array(8).fill('fallback'))
})

test('answers that come slowly to a process that has nothing to do are an outage', async () => {
  const { requests, sources } = answered()
  const all = sources(40)
  const answering = setInterval(() => requests.shift()?.(), 300)
  const found = await all
  clearInterval(answering)
  assert.equal(found.at(-1), 'fallback')
})

test('who answers late is left alone all the same', async () => {
  const { requests, sources } = answered()
  assert.deepEqual(await sources(1), ['fallback'])
  requests[0]()
  await sleep(10)
  assert.deepEqual(await sources(5), Array(5).fill('fallback'))
  assert.equal(requests.length, 1, 'nobody else was sent')
})

test('a queue of node-redis that is full is no outage', async () => {
  const logger = listener()
  const client = await nodeRedis(port, { commandsQueueMaxLength: 20 })
  const limiter = new Limiter(new Server(client, { ...PATIENT, logger }))
  const acquire = (key) => limiter.acquire(key, '10/h')
  const decisions = await Promise.all(Array.from({ length: 500 }, () => acquire('burst')))
  assert.equal(
    granted(decisions).reduce((a, b) => a + b),
    10,
  )
  // Nor what others send by it.
  const others = Promise.all(Array.from({ length: 20 }, () => client.ping()))
  decisions.push(...(await Promise.all([acquire('others'), acquire('others')])))
  assert.ok((await others).every((pong) => pong === 'PONG'))
  assert.ok(decisions.every(({ source }) => source === 'redis'))
  assert.deepEqual(logger.lines, [])
  assert.equal((await limiter.acquireWithHeaders('others', '10/h')).headers['X-RateLimit-Remaining'], '7')
})

test('the timeout of a client of node-redis is not ours', async () => {
  const limiter = new Limiter(patient(await nodeRedis(port, { commandOptions: { timeout: 1 } })))
  // So many that not all are written at once.
  const keys = Array.from({ length: 2000 }, (_, i) => `${i}:${'long'.repeat(250)}`)
  const decisions = await Promise.all(keys.map((key) => limiter.acquire(key, '9/h')))
  assert.ok(decisions.every(({ source }) => source === 'redis'))
})
