// @nestjs/throttler counts in Floodgate:
//
//   ThrottlerModule.forRoot({ throttlers: [{ ttl: 60_000, limit: 100 }], storage: new FloodgateThrottlerStorage({ client }) })

import type { RedisClient } from './client.js'
import { decisionOf } from './decision.js'
import { Server } from './server.js'
import { slidingLimit } from './window.js'

export interface FloodgateThrottlerOptions {
  /** A client of ioredis or node-redis that you have already, or a Server of it. */
  client: RedisClient | Server
  /** What stands before each key (`throttler:`). */
  prefix?: string | undefined
}

/** What the guard is told; times are seconds. */
export interface ThrottlerRecord {
  totalHits: number
  timeToExpire: number
  isBlocked: boolean
  timeToBlockExpire: number
}

/** The `storage` of ThrottlerModule. */
export class FloodgateThrottlerStorage {
  readonly #server: Server
  readonly #prefix: string

  constructor({ client, prefix = 'throttler:' }: FloodgateThrottlerOptions) {
    this.#server = Server.of(client)
    this.#prefix = prefix
  }

  /** Counts a request; `ttl` and `blockDuration` are milliseconds. */
  async increment(
    key: string,
    ttl: number,
    limit: number,
    blockDuration: number,
    throttlerName: string,
  ): Promise<ThrottlerRecord> {
    // A blockDuration of 0 is what a limit does by itself.
    if (blockDuration > 0 && blockDuration !== ttl) {
      throw new Error(
        `blockDuration is ${blockDuration} ms and ttl ${ttl} ms: this storage does not use block= yet, which ` +
          'would keep a caller out for another time than its limit does; leave blockDuration out',
      )
    }
    if (limit < 1) {
      const seconds = inSeconds(ttl)
      return { totalHits: 1, timeToExpire: seconds, isBlocked: true, timeToBlockExpire: seconds }
    }
    const name = `${this.#prefix}${throttlerName}:${key}`
    const limits = slidingLimit(limit, ttl, 'ttl')
    const decision = decisionOf(await this.#server.ask(['RL.ACQUIRE', name, limits], { key: name }))
    const { granted, remaining, retryAfterMs, resetAfterMs } = decision
    return {
      totalHits: granted ? Math.max(1, decision.limit - remaining) : Math.floor(limit) + 1,
      timeToExpire: inSeconds(resetAfterMs),
      isBlocked: !granted,
      timeToBlockExpire: granted ? 0 : inSeconds(retryAfterMs < 0 ? ttl : retryAfterMs),
    }
  }
}

const inSeconds = (ms: number) => Math.ceil(ms / 1000)
