// Applications limited by their usual libraries, on Floodgate: one process of several.
//
//   PORT_OF_REDIS=6379 node plugins_app.mjs ioredis|redis express|hono|fastify

import { createServer } from 'node:http'
import { once } from 'node:events'
import rateLimitOfFastify from '@fastify/rate-limit'
import { getRequestListener } from '@hono/node-server'
import express from 'express'
import { rateLimit } from 'express-rate-limit'
import Fastify from 'fastify'
import { FloodgateStore } from 'floodgate-redis/express'
import { floodgateStore } from 'floodgate-redis/fastify'
import { FloodgateStore as FloodgateStoreOfHono } from 'floodgate-redis/hono'
import { Hono } from 'hono'
import { rateLimiter } from 'hono-rate-limiter'
import { Redis } from 'ioredis'
import { createClient } from 'redis'

const port = Number(process.env.PORT_OF_REDIS)
const [which, host] = process.argv.slice(2)

async function connected() {
  if (which === 'redis') {
    const client = createClient({ url: `redis://127.0.0.1:${port}`, RESP: 3, disableOfflineQueue: true })
    client.on('error', () => {})
    return client.connect()
  }
  const client = new Redis(port, { maxRetriesPerRequest: 0, enableOfflineQueue: false })
  client.on('error', () => {})
  await once(client, 'ready')
  return client
}

const client = await connected()
const HOUR = 3_600_000

/** @type {Record<string, () => Promise<import('node:http').RequestListener>>} */
const hosts = {
  async express() {
    const app = express()
    const common = { windowMs: HOUR, passOnStoreError: true, legacyHeaders: true, logger: { error() {}, warn() {} } }
    const limited = (/** @type {string} */ name, /** @type {object} */ options) =>
      rateLimit({ ...common, ...options, store: new FloodgateStore({ client, prefix: `${name}:` }) })
    app.get('/ten', limited('ten', { limit: 10 }), (_, response) => { response.send('ten') })
    app.get('/by', limited('by', { limit: () => 3 }), (_, response) => { response.send('by') })
    // Only what succeeds counts; what is denied gives nothing back.
    app.get('/failed', limited('failed', { limit: 2, skipFailedRequests: true }), (request, response) => {
      response.status(request.query.ok ? 200 : 500).send('failed')
    })
    const both = new FloodgateStore({ client, limits: '2/h,100/d', prefix: 'both:' })
    app.get('/both', rateLimit({ ...common, limit: 50, store: both }), (_, response) => { response.send('both') })
    app.delete('/ten', async (_, response) => {
      const store = new FloodgateStore({ client, prefix: 'ten:' })
      store.init({ windowMs: HOUR, limit: 10 })
      const before = await store.get('127.0.0.1')
      await store.resetKey('127.0.0.1')
      response.json({ before: before?.totalHits, after: (await store.get('127.0.0.1')) ?? null })
      await store.resetAll()
    })
    return app
  },
  async hono() {
    const app = new Hono()
    const common = { windowMs: HOUR, keyGenerator: () => 'everybody' }
    const store = (/** @type {string} */ name) => new FloodgateStoreOfHono({ client, prefix: `hono-${name}:` })
    app.get('/ten', rateLimiter({ ...common, limit: 10, store: store('ten') }), (c) => c.text('ten'))
    const failed = rateLimiter({ ...common, limit: 2, skipFailedRequests: true, store: store('failed') })
    app.get('/failed', failed, (c) => c.text('failed', c.req.query('ok') ? 200 : 500))
    const passed = rateLimiter({ ...common, limit: 2, skipSuccessfulRequests: true, store: store('passed') })
    app.get('/passed', passed, (c) => c.text('passed', c.req.query('ok') ? 200 : 500))
    return getRequestListener(app.fetch)
  },
  async fastify() {
    const app = Fastify()
    const store = floodgateStore({ client })
    await app.register(rateLimitOfFastify, { max: 10, timeWindow: HOUR, skipOnError: true, store })
    app.get('/ten', async () => 'ten')
    app.get('/three', { config: { rateLimit: { max: 3, timeWindow: '1 hour' } } }, async () => 'three')
    app.get('/ban', { config: { rateLimit: { max: 1, ban: 1, timeWindow: '1 hour' } } }, async () => 'ban')
    await app.ready()
    return (request, response) => { app.routing(request, response) }
  },
}

const listener = createServer(await hosts[host]()).listen(0, '127.0.0.1')
await once(listener, 'listening')
console.log(/** @type {import('node:net').AddressInfo} */ (listener.address()).port)
