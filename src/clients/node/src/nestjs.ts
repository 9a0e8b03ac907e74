// @nestjs/throttler counts in Floodgate:
//
//   ThrottlerModule.forRoot({ throttlers: [{ ttl: 60_000, limit: 100 }], storage: new FloodgateThrottlerStorage({ client }) })

import { checkObject } from './checks.js'
import type { RedisClient } from './client.js'
import { decisionOf } from './decision.js'
import { Server } from './server.js'
import { periodOf, slidingLimit } from './window.js'

/** The options of a FloodgateThrottlerStorage. */
export interface FloodgateThrottlerOptions {
  /** A client of ioredis or node-redis that you have already, or a Server of it. */
  client: RedisClient | Server
  /** The text that stands before each key. The default is `throttler:`. */
  prefix?: string | undefined
}

/** What the guard gets. Its times are seconds. */
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

  constructor(options: FloodgateThrottlerOptions) {
    checkObject('options', options)
    const { client, prefix = 'throttler:' } = options
    this.#server = Server.of(client)
    this.#prefix = prefix
  }

  /**
   * Counts a request; `ttl` and `blockDuration` are milliseconds. A caller who exceeds the limit is
   * kept out for `blockDuration`, which the host sets to `ttl` by default. A `blockDuration` of 0 keeps
   * nobody out for longer than the limit does.
   */
  async increment(
    key: string,
    ttl: number,
    limit: number,
    blockDuration: number,
    throttlerName: string,
  ): Promise<ThrottlerRecord> {
    if (limit < 1) {
      const seconds = inSeconds(ttl)
      return { totalHits: 1, timeToExpire: seconds, isBlocked: true, timeToBlockExpire: seconds }
    }
    const name = `${this.#prefix}${throttlerName}:${key}`
    const limits = closingLimit(slidingLimit(limit, ttl, 'ttl'), blockDuration)
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

/** Has the limit close for `blockDuration` when it is exceeded. */
function closingLimit(limit: string, blockDuration: number): string {
  if (blockDuration <= 0 || limit === 'unlimited') return limit
  return `${limit}:block=${periodOf(blockDuration, 'blockDuration')}`
}

const inSeconds = (ms: number) => Math.ceil(ms / 1000)
