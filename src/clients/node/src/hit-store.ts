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

/** The options of the host, which it hands over when it starts. */
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

/** The units that a request took, for the host to give back. */
interface Ticket {
  granted: number
  /** The limits by which they were taken. Others may have taken from the key by other limits since. */
  limits: Limits
}

/**
 * The store of express-rate-limit and hono-rate-limiter, which have one interface. The server decides.
 * The host gets a count that is on the right side of its own limit.
 */
export class HitStore {
  /** Tells the host that other processes count on the same keys. */
  readonly localKeys = false
  readonly prefix: string
  readonly #server: Server
  readonly #given: Limits | undefined
  // The host gives hits back by key alone, those of denied requests, too. Here a request finds the units
  // that it took itself.
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
    // Telling requests apart costs each of them a little, so it is done only where hits may be given back.
    this.#givesBack = skipFailedRequests !== false || skipSuccessfulRequests !== false
    this.#windowMs = windowMs
    this.#hostLimit = typeof limit === 'function' ? undefined : limit
    // Each request throws the error of a mistake again: some hosts only log what is thrown here.
    const limits = attempt(() => this.#limitsFor(limit))
    this.#limits = limits
    limits()
  }

  /** Counts a hit. */
  increment(key: string): Promise<Hits> {
    const ticket: Ticket = { granted: 0, limits: '*' }
    // This comes before anything is awaited, so that it holds for what the host does next.
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

  /** Tells how a caller stands, and counts nothing. */
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

  /** Whether the limit is 0, which denies all requests: then Redis is not asked. */
  #isNoneAllowed(): boolean {
    return this.#given === undefined && this.#hostLimit !== undefined && this.#hostLimit < 1
  }

  #hitsOf(decision: Decision): Hits {
    const { granted, limit, remaining, retryAfterMs, resetAfterMs } = decision
    if (!granted) {
      // The host makes the header Retry-After of this time.
      const after = retryAfterMs > 0 ? retryAfterMs : this.#windowMs
      return { totalHits: Math.floor(this.#hostLimit ?? MAX_COUNT) + 1, resetTime: inMs(after) }
    }
    const totalHits =
      this.#given === undefined ? Math.max(1, limit - remaining) : this.#shown(limit, remaining)
    return { totalHits, resetTime: inMs(resetAfterMs) }
  }

  /** A count that leaves as much of the host's limit as remains of the binding limit, where it can. */
  #shown(limit: number, remaining: number): number {
    const hostLimit = Math.floor(this.#hostLimit ?? limit)
    return Math.min(Math.max(1, hostLimit), Math.max(1, hostLimit - (remaining < 0 ? hostLimit : remaining)))
  }
}

const inMs = (ms: number) => new Date(Date.now() + ms)

/** Makes the value once. The function that it gives returns the value, or throws the same error each time. */
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
