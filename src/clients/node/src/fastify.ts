// @fastify/rate-limit counts in Floodgate:
//
//   await app.register(rateLimit, { max: 100, timeWindow: '1 minute', store: floodgateStore({ client }) })

import { checkObject } from './checks.js'
import type { RedisClient } from './client.js'
import { decisionOf } from './decision.js'
import { quotaOf, type Limits } from './limiter.js'
import { Server } from './server.js'
import { countingLimit, slidingLimit } from './window.js'

/** The options of `floodgateStore`. */
export interface FloodgateStoreOptions {
  /** A client of ioredis or node-redis that you have already, or a Server of it. */
  client: RedisClient | Server
  /** The text that stands before each key. The default is `fastify-rate-limit:`. */
  prefix?: string | undefined
  /**
   * The time for which a caller who exceeds the limit is kept out, as the option `block=` of a limit
   * says it: `15m`, or `1m:grow=2:maxblock=1d` for longer each time.
   */
  block?: string | undefined
}

/**
 * The plugin's options, as it hands them to its store. A route's store gets them merged with the
 * route's own.
 */
export interface RateLimitParams {
  global?: boolean
  ban?: number
  continueExceeding?: boolean
  exponentialBackoff?: boolean
  groupId?: string
  routeInfo?: { method?: string | string[]; url?: string }
}

/** How a caller stands. */
export interface CurrentHits {
  current: number
  ttl: number
}

type Callback = (error: Error | null, result?: CurrentHits) => void

/** The `store` of @fastify/rate-limit: the plugin makes one of it, and one for each route. */
export interface FloodgateFastifyStore {
  incr(key: string, callback: Callback, timeWindow: number, max: number): void
  read(key: string, callback: Callback, timeWindow: number, max: number): void
  child(params: object): FloodgateFastifyStore
}

/** Makes the class that the plugin's option `store` takes. */
export function floodgateStore(
  options: FloodgateStoreOptions,
): new (params: object) => FloodgateFastifyStore {
  checkObject('options', options)
  const { client, prefix = 'fastify-rate-limit:', block } = options
  const shared: Shared = { server: Server.of(client), prefix, block }
  return class FloodgateStore extends RouteStore {
    constructor(params: RateLimitParams) {
      super(shared, params, prefix)
    }
  }
}

/** What all routes of one plugin share. */
interface Shared {
  readonly server: Server
  readonly prefix: string
  readonly block: string | undefined
}

/** The store of the plugin as a whole, or of one route. */
class RouteStore implements FloodgateFastifyStore {
  readonly #shared: Shared
  readonly #params: RateLimitParams
  readonly #prefix: string
  readonly #refusal: Error | undefined

  constructor(shared: Shared, params: RateLimitParams, prefix: string) {
    this.#shared = shared
    this.#params = params
    this.#prefix = prefix
    this.#refusal = refusalOf(params, shared.block)
    // With `global: false` only routes count. Their options may differ.
    if (this.#refusal && params.global !== false) throw this.#refusal
  }

  incr(key: string, callback: Callback, timeWindow: number, max: number): void {
    answer(callback, async () => {
      const limits = this.#limits(timeWindow, max)
      if (limits === undefined) return { current: 1, ttl: timeWindow }
      const name = this.#prefix + key
      const decision = decisionOf(await this.#shared.server.ask(['RL.ACQUIRE', name, limits], { key: name }))
      const { granted, limit, remaining, retryAfterMs, resetAfterMs } = decision
      if (granted) return { current: Math.max(1, limit - remaining), ttl: resetAfterMs }
      return { current: max + 1, ttl: retryAfterMs < 0 ? timeWindow : retryAfterMs }
    })
  }

  read(key: string, callback: Callback, timeWindow: number, max: number): void {
    answer(callback, async () => {
      const limits = this.#limits(timeWindow, max)
      if (limits === undefined) return { current: 0, ttl: 0 }
      const name = this.#prefix + key
      const reply = await this.#shared.server.ask(['RL.QUOTA', name, limits], { key: name })
      const [row] = quotaOf(reply).rows
      if (!row) return { current: 0, ttl: 0 }
      // A closed limit may have used less than it denies.
      return { current: Math.max(row.used, row.limit - row.remaining), ttl: row.resetAfterMs }
    })
  }

  child(params: RateLimitParams): FloodgateFastifyStore {
    const { groupId, routeInfo } = params
    // Routes of a group count together: the plugin puts the group's name behind the key.
    const place = groupId === undefined ? `${routeInfo?.method ?? ''}${routeInfo?.url ?? ''}-` : ''
    return new RouteStore(this.#shared, { ...params, global: true }, this.#shared.prefix + place)
  }

  /** The limits of a key. There are none where nobody may pass: then Redis is not asked. */
  #limits(timeWindow: number, max: number): Limits | undefined {
    if (this.#refusal) throw this.#refusal
    // A ban counts all requests of a caller, the denied ones, too.
    if ((this.#params.ban ?? -1) >= 0) return countingLimit(timeWindow, 'timeWindow')
    if (max < 1) return undefined
    const limit = slidingLimit(max, timeWindow, 'timeWindow')
    const { block } = this.#shared
    return block === undefined || limit === 'unlimited' ? limit : `${limit}:block=${block}`
  }
}

function answer(callback: Callback, ask: () => Promise<CurrentHits>): void {
  ask().then(
    (result) => callback(null, result),
    (error: unknown) => callback(error instanceof Error ? error : new Error(String(error))),
  )
}

/** Refuses options by which a denial changes the window. Limits of Floodgate do that by `block=` only. */
function refusalOf(
  { ban, continueExceeding, exponentialBackoff }: RateLimitParams,
  block: string | undefined,
): Error | undefined {
  const refuse = (option: string, instead: string) =>
    new Error(
      `${option} does not work with Floodgate, where a denied request moves no window: leave it out, ` +
        `and pass block instead, as in floodgateStore({ client, block: '${instead}' })`,
    )
  if (continueExceeding) return refuse('continueExceeding', '1m')
  if (exponentialBackoff) return refuse('exponentialBackoff', '1m:grow=2')
  if (block !== undefined && (ban ?? -1) >= 0) {
    return new Error(
      'ban and block contradict each other: a ban counts denied requests, and block= keeps who ' +
        'exceeds the limit out for a while; leave one of them out',
    )
  }
  return undefined
}
