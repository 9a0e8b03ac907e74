import { AsyncLocalStorage } from 'node:async_hooks'
import { type ClientOptions, type Decision, MOST, type Send, acquire, clear, counting, look, sender } from './client.js'

export interface FloodgateStoreOptions extends ClientOptions {
  /**
   * Limits that hold instead of the host's one, all of them at once: `10/s,1000/h`. The host's headers keep telling
   * of its own limit.
   */
  limits?: string
  /** What stands before each key: `rl:` */
  prefix?: string
}

/** What the hosts tell of themselves; a `limit` that is a function is asked by the host alone. */
interface HostOptions {
  windowMs: number
  limit?: unknown
}

interface HitInfo {
  totalHits: number
  resetTime: Date | undefined
}

/** A request's own increment, until it is taken back. */
interface Increment {
  key: string
  granted: boolean
}

/**
 * A store for express-rate-limit and hono-rate-limiter. The host's `limit` and `windowMs` are a sliding window here,
 * decided by the server's clock. Where `limit` is a function the store is never told it, and counts in a window that
 * begins with the first request.
 */
export class FloodgateStore {
  /** Other processes see the same keys. */
  readonly localKeys = false
  readonly prefix: string
  readonly #send: Send
  readonly #own: string | undefined
  readonly #increments = new AsyncLocalStorage<Increment>()
  #limits = counting(60_000)
  #limit: number | undefined

  constructor({ limits, prefix = 'rl:', ...client }: FloodgateStoreOptions) {
    this.#send = sender(client)
    this.#own = limits
    this.prefix = prefix
  }

  /** Called by the host. */
  init(options: HostOptions): void {
    const { windowMs, limit } = options
    this.#limit = typeof limit === 'number' ? limit : undefined
    const decides = this.#limit !== undefined && this.#limit >= 1 && this.#limit <= MOST
    this.#limits = this.#own ?? (decides ? `${this.#limit}/${windowMs}ms` : counting(windowMs))
  }

  async increment(key: string): Promise<HitInfo> {
    const increment: Increment = { key, granted: false }
    // What the host does for this request hereafter, a decrement too, finds it.
    this.#increments.enterWith(increment)
    const decision = await acquire(this.#send, this.prefix + key, this.#limits)
    increment.granted = decision.granted > 0
    return { totalHits: this.#hits(decision), resetTime: at(decision) }
  }

  /**
   * Takes back this request's increment. It comes for denied requests too, with skipFailedRequests: these took
   * nothing, and give nothing back.
   */
  async decrement(key: string): Promise<void> {
    const increment = this.#increments.getStore()
    if (increment?.key === key) {
      if (!increment.granted) return
      increment.granted = false
    }
    await this.#send('RL.REFUND', this.prefix + key, 1)
  }

  async resetKey(key: string): Promise<void> {
    await this.#send('RL.RESET', this.prefix + key)
  }

  async resetAll(): Promise<void> {
    await clear(this.#send, this.prefix)
  }

  async get(key: string): Promise<HitInfo | undefined> {
    const standing = await look(this.#send, this.prefix + key, this.#limits)
    if (!standing || standing.used < 1) return undefined
    const totalHits = this.#own === undefined ? standing.used : this.#told(standing.remaining)
    return { totalHits, resetTime: new Date(Date.now() + standing.resetAfterMs) }
  }

  /** The host denies where this is above its own limit. */
  #hits({ granted, limit, remaining }: Decision): number {
    if (!granted) return (this.#limit ?? MOST) + 1
    return this.#own === undefined ? Math.max(1, limit - remaining) : this.#told(remaining)
  }

  /** With limits of our own: as many hits as leave what is left, within what the host grants. */
  #told(remaining: number): number {
    if (this.#limit === undefined) return 1
    return Math.min(Math.max(1, this.#limit - remaining), Math.max(1, this.#limit))
  }
}

/** When the host is to say that it can be tried again, or is full again; nothing where it never can. */
function at({ granted, retryAfterMs, resetAfterMs }: Decision): Date | undefined {
  const ms = granted ? resetAfterMs : retryAfterMs
  return ms < 0 ? undefined : new Date(Date.now() + ms)
}
