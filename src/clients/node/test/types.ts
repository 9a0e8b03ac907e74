// What a strict compiler must accept: each client, and each plug-in where its host wants it.

import fastifyRateLimit from '@fastify/rate-limit'
import { ThrottlerModule, type ThrottlerStorage } from '@nestjs/throttler'
import { rateLimit, type Store } from 'express-rate-limit'
import fastify from 'fastify'
import { rateLimiter } from 'hono-rate-limiter'
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import {
  Breaker,
  FailClosed,
  Limiter,
  reserve,
  retryAfterSeconds,
  Server,
  type Decision,
} from 'floodgate-redis'
import { FloodgateStore } from 'floodgate-redis/express'
import { floodgateStore } from 'floodgate-redis/fastify'
import { FloodgateStore as HonoStore } from 'floodgate-redis/hono'
import { FloodgateThrottlerStorage } from 'floodgate-redis/nestjs'

export const limiters = [
  new Limiter(new Redis()),
  new Limiter(new Cluster([]), { fallback: new FailClosed() }),
  new Limiter(createClient()),
  new Limiter(createClient({ RESP: 2 })),
  new Limiter(createClient({ RESP: 3 }), { rememberDenials: false }),
  new Limiter(createClientPool()),
  new Limiter(createCluster({ rootNodes: [] })),
  new Limiter(createSentinel({ name: 'm', sentinelRootNodes: [] })),
  new Limiter(async (args: string[], key: string | undefined) => [args, key]),
  new Limiter((args: string[]) => args),
  new Limiter(new Server(new Redis(), { timeoutMs: 100, logger: null })),
]

export async function decides(limiter: Limiter, signal?: AbortSignal): Promise<number | undefined> {
  const decision: Decision = await limiter.acquire('user:1', '10/s', { cost: 2, signal })
  const { headers } = await limiter.acquireWithHeaders('user:1', '10/s')
  const sent: string | undefined = headers['Retry-After']
  const paid: number = await new Breaker(limiter.server, 'pay', '3').call(() => 42)
  const words: string = await reserve(limiter, { llm: '1/s' }, {}, async (spending) => {
    spending.add(1)
    return 'words'
  })
  const plain: number = await reserve(limiter, { llm: '1/s' }, {}, () => 42)
  // @ts-expect-error a cost is a number
  await limiter.acquire('user:1', '10/s', { cost: '2' })
  return paid + plain + words.length + (sent?.length ?? 0) + (retryAfterSeconds(decision) ?? 0)
}

export const wrapped: (cents: number) => Promise<number> = new Breaker(new Redis(), 'pay').wrap(
  (cents: number) => cents,
)

const client = new Redis()
export const store: Store = new FloodgateStore({ client, limits: '10/s,1000/h', prefix: 'api:' })
export const express = [
  rateLimit({ store: new FloodgateStore({ client }), limit: 10 }),
  rateLimit({ store, limit: async (request) => (request.ip ? 10 : 1) }),
]
export const hono = rateLimiter({
  limit: 10,
  keyGenerator: (c) => c.req.header('x-user') ?? 'nobody',
  store: new HonoStore({ client }),
})
export const throttlers: ThrottlerStorage = new FloodgateThrottlerStorage({ client: createClient() })
export const module = ThrottlerModule.forRoot({ throttlers: [{ ttl: 1000, limit: 3 }], storage: throttlers })
await fastify().register(fastifyRateLimit, { max: 3, store: floodgateStore({ client, prefix: 'api:' }) })

class Mailer {
  readonly name = 'mailer'
  readonly send = new Breaker(client, 'mail').wrap(async function (this: Mailer, text: string) {
    return `${this.name} ${text}`
  })
}
export const sent: Promise<string> = new Mailer().send('text')
