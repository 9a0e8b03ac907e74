// A web service with Express that uses all of it.
//
//   REDIS_URL=redis://localhost:6379 PORT=8000 node web.mjs

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import {
  Breaker,
  CircuitOpen,
  Denied,
  FailClosed,
  Limiter,
  LocalBucket,
  Server,
  networkOf,
  reserve,
  retryAfterSeconds,
} from 'floodgate-redis'
import { Redis } from 'ioredis'

const redis = new Redis(process.env.REDIS_URL ?? 'redis://localhost:6379')
redis.on('error', () => {}) // the server below logs it
const server = new Server(redis, { timeoutMs: Number(process.env.REDIS_PATIENCE_MS ?? 250) })
const limiter = new Limiter(server, { fallback: new LocalBucket(20) })
const logins = new Limiter(server, { fallback: new FailClosed() })
const words = new Limiter(server, { fallback: new LocalBucket(500, 5_000) }) // its units are not requests
const payments = new Breaker(server, 'payments', '3:open=30s')

const app = express()

// Three limits at once, for each caller.
app.use(async (request, response, next) => {
  const caller = `api:${networkOf(request.ip)}`
  const { decision, headers } = await limiter.acquireWithHeaders(caller, '10/s,1000/h,10000/d')
  response.set(headers)
  if (decision.granted) next()
  else response.status(429).json({ error: 'too many requests' })
})

app.get('/hello', (_, response) => {
  response.json({ hello: 'world' })
})

// A limit by key. While Redis is away nobody logs in.
app.post('/login/:user', async (request, response) => {
  const { user } = request.params
  const decision = await logins.acquire(`login:${user}`, '5/m')
  if (decision.granted) response.json({ hello: user })
  else response.status(429).set(retryAfter(decision)).json({ error: 'too many attempts' })
})

// Waiting: two at a time pass each second, the others stand in line, and leave
// it when they hang up.
app.get('/report', async (_, response) => {
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  const decision = await limiter.wait('report', '2/s', 5000, { signal: gone.signal })
  if (decision.granted) response.json({ report: 'ready' })
  else response.status(503).set(retryAfter(decision)).json({ error: 'too many wait' })
})

// A breaker round a call, with the call's own timeout inside.
app.post('/pay/:cents', async (request, response) => {
  const timeout = AbortSignal.timeout(2000)
  response.json({ paid: await payments.call(() => charge(Number(request.params.cents), timeout)) })
})

// The tokens of a language model: an estimate is reserved, what was streamed is
// charged, also when the caller hangs up half way.
app.post('/ask/:length', async (request, response) => {
  const limits = { llm: '100000/m,concurrent:5' }
  await reserve(words, limits, { estimate: 1500, ttlMs: 3000 }, async (spending) => {
    for await (const word of model(Number(request.params.length))) {
      if (response.destroyed) return
      spending.add(1)
      response.write(word)
    }
  })
  response.end()
})

/** @param {{ retryAfterMs: number }} denied */
function retryAfter(denied) {
  const seconds = retryAfterSeconds(denied)
  return seconds === undefined ? {} : { 'Retry-After': String(seconds) }
}

/** @type {import('express').ErrorRequestHandler} */
const denials = (error, _request, response, next) => {
  if (response.destroyed) return
  if (response.headersSent) return next(error)
  if (error instanceof Denied) {
    response.status(429).set(retryAfter(error.decision)).json({ error: 'too many tokens' })
  } else if (error instanceof CircuitOpen) {
    response.status(503).set(retryAfter(error)).json({ error: 'payments are down' })
  } else {
    response.status(502).json({ error: 'no answer' })
  }
}
app.use(denials)

// What stands for the services of others.

/** @param {number} cents @param {AbortSignal} signal */
async function charge(cents, signal) {
  signal.throwIfAborted()
  if (cents === 13) throw new Error('no answer')
  return cents
}

/** @param {number} length */
async function* model(length) {
  for (let i = 0; i < length; i++) {
    await sleep(10)
    yield 'word '
  }
}

await server.check() // wrong credentials or no Floodgate: it does not start
const listener = app.listen(Number(process.env.PORT ?? 8000), '127.0.0.1')
await once(listener, 'listening')
const address = /** @type {import('node:net').AddressInfo} */ (listener.address())
console.log(`http://127.0.0.1:${address.port}`)
