// Each host as its own documentation sets it up, and the one line that is ours.

import { once } from 'node:events'
import { createRequire } from 'node:module'
import { HANGS_MS } from './waits.mjs'

const require = createRequire(import.meta.url)
/** A plug-in of ours, as a module or by CommonJS. */
const plugin = (name, from) =>
  from === 'CommonJS' ? require(`floodgate-redis/${name}`) : import(`floodgate-redis/${name}`)

const WINDOW_MS = 30_000

/** @returns what closes it, and its port */
async function served(server) {
  if (!server.listening) await once(server, 'listening')
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  return { port: server.address().port, close }
}

/** By name: (our options, the host's options, our build or the host's oldest version) to a running service. */
export const hosts = {
  async express(ours, { limits, ...theirs } = {}, from) {
    const { default: express } = await import('express')
    const { rateLimit } = await import(from === 'oldest' ? 'express-rate-limit-oldest' : 'express-rate-limit')
    const { FloodgateStore } = await plugin('express', from)
    const app = express()
    const store = new FloodgateStore({ ...ours, limits })
    const quiet = { error: () => {}, warn: () => {} }
    app.use(
      rateLimit({
        windowMs: WINDOW_MS,
        ...(from !== 'oldest' && { limit: 10, logger: quiet }),
        standardHeaders: 'draft-7',
        store,
        ...theirs,
      }),
    )
    app.get('/', (request, response) => response.status('fail' in request.query ? 500 : 200).send('hello'))
    app.use((error, _request, response, _next) => response.status(500).send(error.message))
    return { store, ...(await served(app.listen(0, '127.0.0.1'))) }
  },

  async hono(ours, { limits, ...theirs } = {}, from) {
    const { serve } = await import('@hono/node-server')
    const { Hono } = await import('hono')
    const { rateLimiter } = await import('hono-rate-limiter')
    const { FloodgateStore } = await plugin('hono', from)
    const app = new Hono()
    const store = new FloodgateStore({ ...ours, limits })
    const keyGenerator = () => 'everybody'
    app.use(
      rateLimiter({
        windowMs: WINDOW_MS,
        limit: 10,
        standardHeaders: 'draft-7',
        keyGenerator,
        store,
        ...theirs,
      }),
    )
    app.get('/', (c) => c.text('hello', c.req.query('fail') === undefined ? 200 : 500))
    app.onError((error, c) => c.text(error.message, 500))
    return { store, ...(await served(serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }))) }
  },

  async fastify(ours, theirs = {}, from) {
    const { default: Fastify } = await import('fastify')
    const { default: fastifyRateLimit } = await import('@fastify/rate-limit')
    const { floodgateStore } = await plugin('fastify', from)
    const app = Fastify()
    await app.register(fastifyRateLimit, {
      max: 10,
      timeWindow: WINDOW_MS,
      store: floodgateStore(ours),
      ...theirs,
    })
    app.get('/', async () => 'hello')
    app.get('/apart', { config: { rateLimit: { max: 2 } } }, async () => 'hello')
    app.get('/one', { config: { rateLimit: { max: 2, groupId: 'group' } } }, async () => 'hello')
    app.get('/two', { config: { rateLimit: { max: 2, groupId: 'group' } } }, async () => 'hello')
    app.get('/peek', { config: { rateLimit: false } }, async (request) => peek(request, { increment: false }))
    const peek = app.createRateLimit()
    await app.listen({ port: 0, host: '127.0.0.1' })
    return { app, ...(await served(app.server)) }
  },

  async nestjs(ours, theirs = {}, from) {
    await import('reflect-metadata')
    const { Controller, Get, Module } = await import('@nestjs/common')
    const { APP_GUARD, NestFactory } = await import('@nestjs/core')
    const { ThrottlerGuard, ThrottlerModule } = await import('@nestjs/throttler')
    const { FloodgateThrottlerStorage } = await plugin('nestjs', from)
    class App {
      hello() {
        return 'hello'
      }
    }
    Controller()(App)
    Get()(App.prototype, 'hello', Object.getOwnPropertyDescriptor(App.prototype, 'hello'))
    class AppModule {}
    const throttlers = [{ ttl: WINDOW_MS, limit: 10, ...theirs }]
    Module({
      imports: [ThrottlerModule.forRoot({ throttlers, storage: new FloodgateThrottlerStorage(ours) })],
      controllers: [App],
      providers: [{ provide: APP_GUARD, useClass: ThrottlerGuard }],
    })(AppModule)
    const app = await NestFactory.create(AppModule, { logger: false })
    await app.listen(0, '127.0.0.1')
    return served(app.getHttpServer())
  },
}

/** A request, and what matters of its answer. Fails where there is none in `HANGS_MS`. */
export async function ask(port, path = '/') {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(HANGS_MS) })
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: await response.text(),
  }
}
