/**
 * A store for @fastify/rate-limit:
 *
 *   await app.register(rateLimit, { max: 100, timeWindow: '1 minute', store: floodgateStore({ client }) })
 */
import { type ClientOptions, MOST, acquire, counting, look, sender } from './client.js'

export type { Client } from './client.js'

export interface FloodgateFastifyOptions extends ClientOptions {
  /** What stands before each key: `fastify-rate-limit-` */
  prefix?: string
}

export interface Parameters {
  ban?: number
  continueExceeding?: boolean
  exponentialBackoff?: boolean
  routeInfo?: { method?: unknown; url?: string }
}

export interface Count {
  current: number
  ttl: number
}

export type Callback = (error: Error | null, result?: Count) => void

export interface FastifyStore {
  incr(key: string, callback: Callback, timeWindow: number, max: number): void
  read(key: string, callback: Callback, timeWindow: number, max: number): void
  child(route: object): FastifyStore
}

/**
 * The store's class. `max` and `timeWindow` are a sliding window, decided by the server's clock. With `ban` the host
 * needs to know how often a caller came back, and it counts in a window that begins with the first request, as the
 * host's own store does. `continueExceeding` and `exponentialBackoff` are refused: they are the option `block=` of a
 * limit.
 */
export function floodgateStore({
  prefix = 'fastify-rate-limit-',
  ...client
}: FloodgateFastifyOptions): new (parameters: Parameters) => FastifyStore {
  const send = sender(client)
  return class FloodgateFastifyStore implements FastifyStore {
    readonly #counts: boolean
    readonly #prefix: string

    constructor(parameters: Parameters, own = prefix) {
      for (const refused of ['continueExceeding', 'exponentialBackoff'] as const) {
        if (parameters[refused]) {
          throw new Error(`floodgate-redis: ${refused} is not had here, use the option block= of a limit instead`)
        }
      }
      this.#counts = (parameters.ban ?? -1) !== -1
      this.#prefix = own
    }

    incr(key: string, callback: Callback, timeWindow: number, max: number): void {
      this.#incr(key, timeWindow, max).then((count) => callback(null, count), callback)
    }

    read(key: string, callback: Callback, timeWindow: number, max: number): void {
      this.#read(key, timeWindow, max).then((count) => callback(null, count), callback)
    }

    child(route: object): FloodgateFastifyStore {
      const parameters: Parameters = route
      const { method = '', url = '' } = parameters.routeInfo ?? {}
      return new FloodgateFastifyStore(parameters, `${this.#prefix}${method}${url}-`)
    }

    async #incr(key: string, timeWindow: number, max: number): Promise<Count> {
      if (timeWindow < 1) return { current: 1, ttl: 0 } // no window has any past
      const decision = await acquire(send, this.#prefix + key, this.#limits(timeWindow, max))
      const { granted, limit, remaining, retryAfterMs, resetAfterMs } = decision
      if (!granted) return { current: max + 1, ttl: retryAfterMs < 0 ? timeWindow : retryAfterMs }
      return { current: limit - remaining, ttl: resetAfterMs }
    }

    async #read(key: string, timeWindow: number, max: number): Promise<Count> {
      if (timeWindow < 1) return { current: 0, ttl: 0 }
      const standing = await look(send, this.#prefix + key, this.#limits(timeWindow, max))
      return { current: standing?.used ?? 0, ttl: standing?.resetAfterMs ?? 0 }
    }

    #limits(timeWindow: number, max: number): string {
      return this.#counts || max < 1 || max > MOST ? counting(timeWindow) : `${max}/${timeWindow}ms`
    }
  }
}
