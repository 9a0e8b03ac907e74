import { AsyncLocalStorage } from 'node:async_hooks'
import { checkObject } from './checks.js'
import type { RedisClient } from './client.js'
import { decisionOf, type Decision } from './decision.js'
import { literal } from './keys.js'
import { quotaOf, type Limits } from './limiter.js'
import { list, text } from './reply.js'
import { Server } from './server.js'
import { MAX_COUNT, countingLimit, periodOf, slidingLimit } from './window.js'

/** The options of a FloodgateStore. */
export interface HitStoreOptions {
  /** A client of ioredis or node-redis that you have already, or a Server of it. */
  client: RedisClient | Server
  /**
   * The limits that hold in place of the host's `limit` and `windowMs`, such as `10/s,1000/h` or
   * `@free`. The host still shows its own `limit` in headers: give it the smallest count.
   */
  limits?: Limits | undefined
  /** The text that stands before each key. */
  prefix?: string | undefined
}

/** The host's own limit; the arguments of a function are the host's. */
type HostLimit = number | ((...of: never[]) => unknown)

/** What the host says of itself when it starts. */
export interface HitOptions {
  windowMs: number
  limit?: HostLimit
  /** The name of `limit` before express-rate-limit 7. */
  max?: HostLimit
  skipFailedRequests?: boolean
  skipSuccessfulRequests?: boolean
}

/** The count of one caller. */
export interface Hits {
  totalHits: number
  resetTime: Date
}

/** What a request took, for the host to give back. */
interface Ticket {
  granted: number
  /** The limits by which it was taken: others may have taken from the key by other limits since. */
  limits: Limits
}

/**
 * The store of express-rate-limit and hono-rate-limiter, which have one
 * interface. The server decides; hosts are told a count on the right side of
 * their limit.
 */
export class HitStore {
  /** Other processes count on the same keys. */
  readonly localKeys = false
  readonly prefix: string
  readonly #server: Server
  readonly #given: Limits | undefined
  // The host gives hits back by key alone, those of denied requests too. A
  // request finds here what it took itself.
  readonly #tickets = new AsyncLocalStorage<Ticket>()
  #givesBack = true
  #hostLimit: number | undefined
  #windowMs = 60_000
  #limits: () => Limits = () => {
    throw new Error('the store was not initialised: pass it to a rate limiter as its store')
  }

  constructor(options: HitStoreOptions, defaultPrefix: string) {
    checkObject('options', options)
    const { client, limits, prefix } = options
    this.#server = Server.of(client)
    this.#given = limits
    this.prefix = prefix ?? defaultPrefix
  }

  /** Called by the host once, with its options. */
  init({ windowMs, max, limit = max, ...skips }: HitOptions): void {
    const { skipFailedRequests, skipSuccessfulRequests } = skips
    // Telling requests apart costs each of them a little.
    this.#givesBack = skipFailedRequests !== false || skipSuccessfulRequests !== false
    this.#windowMs = windowMs
    this.#hostLimit = typeof limit === 'function' ? undefined : limit
    // A mistake is told by each request: some hosts only log what is thrown here.
    const limits = attempt(() => this.#limitsFor(limit))
    this.#limits = limits
    limits()
  }

  /** Counts a hit. */
  increment(key: string): Promise<Hits> {
    const ticket: Ticket = { granted: 0, limits: '*' }
    // Before anything is awaited, so that it holds for what the host does next.
    if (this.#givesBack) this.#tickets.enterWith(ticket)
    return this.#increment(key, ticket)
  }

  async #increment(key: string, ticket: Ticket): Promise<Hits> {
    const limits = this.#limits()
    if (this.#isNoneAllowed()) return { totalHits: 1, resetTime: inMs(this.#windowMs) }
    const name = this.prefix + key
    const decision = decisionOf(await this.#server.ask(['RL.ACQUIRE', name, limits], { key: name }))
    ticket.granted = decision.granted
    ticket.limits = limits
    return this.#hitsOf(decision)
  }

  /**
   * Gives the hit of this request back. Hosts ask for it after denied requests, too: these took nothing,
   * and get nothing back. It never rejects: the response is made by then, and some hosts ask where
   * nobody awaits the answer.
   */
  async decrement(key: string): Promise<void> {
    const ticket = this.#tickets.getStore()
    if (!ticket?.granted) return
    const { granted, limits } = ticket
    ticket.granted = 0
    const name = this.prefix + key
    await this.#server.finish(['RL.REFUND', name, granted, limits], name)
  }

  /** How a caller stands; nothing is counted. */
  async get(key: string): Promise<Hits | undefined> {
    const name = this.prefix + key
    const limits = this.#limits()
    if (this.#isNoneAllowed()) return undefined
    const reply = await this.#server.ask(['RL.QUOTA', name, limits], { key: name })
    const rows = reply === null ? [] : quotaOf(reply).rows.filter(({ shadow }) => !shadow)
    const [tightest] = rows.sort((a, b) => a.remaining - b.remaining)
    if (!tightest || rows.every(({ used }) => used === 0)) return undefined
    const { limit, remaining, used, resetAfterMs } = tightest
    const totalHits = this.#given === undefined ? used : this.#shown(limit, remaining)
    return { totalHits, resetTime: inMs(resetAfterMs) }
  }

  /** Forgets the hits of a caller. An operator's pin and block stay. */
  async resetKey(key: string): Promise<void> {
    const name = this.prefix + key
    await this.#server.ask(['RL.RESET', name], { key: name })
  }

  /** Forgets the hits of everybody, on one server: the masters of a cluster are cleared each for itself. */
  async resetAll(): Promise<void> {
    const match = `${literal(this.#server.prefix + this.prefix)}*`
    let cursor = '0'
    do {
      const [next] = list(await this.#server.ask(['RL.CLEAR', cursor, 'MATCH', match, 'COUNT', 1000]))
      cursor = text(next)
    } while (cursor !== '0')
  }

  #limitsFor(limit: HostLimit | undefined): Limits {
    if (this.#given !== undefined) {
      if (typeof limit !== 'function') return this.#given
      throw new TypeError(
        'limits and a limit that is a function contradict each other: leave one of them out',
      )
    }
    if (limit === undefined) throw new TypeError('limit is undefined: it must be what the host allows')
    if (typeof limit === 'function') return countingLimit(this.#windowMs, 'windowMs')
    if (limit < 1) return periodOf(this.#windowMs, 'windowMs') && '*'
    return slidingLimit(limit, this.#windowMs, 'windowMs')
  }

  /** A limit of 0 denies all: nobody needs to be asked. */
  #isNoneAllowed(): boolean {
    return this.#given === undefined && this.#hostLimit !== undefined && this.#hostLimit < 1
  }

  #hitsOf(decision: Decision): Hits {
    const { granted, limit, remaining, retryAfterMs, resetAfterMs } = decision
    if (!granted) {
      // The host makes Retry-After of it.
      const after = retryAfterMs > 0 ? retryAfterMs : this.#windowMs
      return { totalHits: Math.floor(this.#hostLimit ?? MAX_COUNT) + 1, resetTime: inMs(after) }
    }
    const totalHits =
      this.#given === undefined ? Math.max(1, limit - remaining) : this.#shown(limit, remaining)
    return { totalHits, resetTime: inMs(resetAfterMs) }
  }

  /** A count that leaves of the host's limit what is left of the one that binds, where it can. */
  #shown(limit: number, remaining: number): number {
    const hostLimit = Math.floor(this.#hostLimit ?? limit)
    return Math.min(Math.max(1, hostLimit), Math.max(1, hostLimit - (remaining < 0 ? hostLimit : remaining)))
  }
}

const inMs = (ms: number) => new Date(Date.now() + ms)

/** The value, or the same error each time. */
function attempt<T>(make: () => T): () => T {
  try {
    const value = make()
    return () => value
  } catch (error) {
    return () => {
      throw error
    }
  }
}
