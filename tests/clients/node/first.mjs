// The first limited request: REDIS_URL=redis://localhost:6379 node first.mjs

import { Redis } from 'ioredis'

const redis = new Redis(process.env.REDIS_URL ?? 'redis://localhost:6379')
const [granted, limit, remaining, retryAfterMs, resetAfterMs, index] =
  await redis.call('RL.ACQUIRE', 'user:42', '10/s,1000/h')
console.log(granted ? `${remaining} left` : `again in ${retryAfterMs} ms`)
redis.disconnect()
