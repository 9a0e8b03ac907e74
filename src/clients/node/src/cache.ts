import { setTimeout as sleep } from 'node:timers/promises'
import { checkFunction, checkMs, checkText, checkWhole } from './checks.js'
import type { Command, RedisClient } from './client.js'
import { Away, Closed } from './errors.js'
import { FailOpen } from './fallback.js'
import { jsonOf } from './json.js'
import { literal } from './keys.js'
import { Limiter } from './limiter.js'
import { Memory } from './memory.js'
import { integer, list, text } from './reply.js'
import { Denied, reserve } from './reservation.js'
import { Server } from './server.js'
import { MAX_WINDOW_MS } from './window.js'

/** The options of a Cache. */
export interface CacheOptions {
  /**
   * The time for which a process waits for a value that another one makes, in milliseconds. Then it
   * makes the value, too. The default is 30,000.
   */
  patienceMs?: number | undefined
  /**
   * The time after which the next process takes over from one that died while it made a value, in
   * milliseconds. The default is 10,000.
   */
  holdMs?: number | undefined
  /**
   * The number of values that a process keeps itself while Redis, or a node of the cluster, is away.
   * The default is 1,000.
   */
  most?: number | undefined
}

/** The options with which a value is kept. */
export interface KeepOptions {
  /** The time for which the value is kept, in milliseconds. By default it is kept for ever. */
  ttlMs?: number | undefined
}

/** The longest time for which a server lets a request wait by default (setting `wait-max`). */
const LONGEST_MS = 30_000

/** The time between two looks at the value that another process makes, for a caller that cannot wait. */
const BEAT_MS = 50

/**
 * Values that all processes share. Each is kept as JSON under the key `namespace:key`. Where there is no
 * value, it is undefined.
 *
 * While Redis is away each process keeps values of its own. It forgets them when Redis is back.
 */
export class Cache {
  readonly server: Server
  readonly patienceMs: number
  readonly holdMs: number
  readonly #memory: Memory
  readonly #places: Limiter

  constructor(
    client: RedisClient | Server,
    readonly namespace: string,
    options: CacheOptions = {},
  ) {
    const { patienceMs = 30_000, holdMs = 10_000, most = 1000 } = options
    checkText('namespace', namespace)
    checkMs('patienceMs', patienceMs, 0, Infinity)
    checkMs('holdMs', holdMs, 1, MAX_WINDOW_MS)
    checkWhole('most', most, 0, Infinity)
    this.server = Server.of(client)
    this.patienceMs = patienceMs
    this.holdMs = holdMs
    this.#memory = new Memory(most, (key) => this.server.outage(this.#name(key)))
    this.#places = new Limiter(this.server, { fallback: new FailOpen(), rememberDenials: false })
  }

  /** Gives the value of a key, if there is one. */
  async get<T = unknown>(key: string): Promise<T | undefined> {
    const reply = await this.#unlessAway(() => this.#ask('GET', this.#name(key)))
    // While Redis cannot write, the value that this process keeps is newer.
    const alone = this.#memory.get(key)
    if (alone === undefined && (reply === null || reply === undefined)) return undefined
    try {
      return JSON.parse(alone ?? text(reply)) as T
    } catch {
      this.server.warn(`floodgate: the value '${key}' is none: it is no JSON`)
      return undefined
    }
  }

  /** Keeps the value. It throws a TypeError where JSON cannot hold the value. */
  async set(key: string, value: unknown, { ttlMs }: KeepOptions = {}): Promise<void> {
    const name = this.#name(key)
    if (ttlMs !== undefined) checkMs('ttlMs', ttlMs, 0, Infinity)
    const kept = jsonOf(value)
    // The server refuses a time that ends beyond its own numbers.
    const px = Math.min(Math.max(1, Math.round(ttlMs ?? Infinity)), Number.MAX_SAFE_INTEGER)
    const until = ttlMs === undefined || ttlMs === Infinity ? [] : ['PX', px]
    const done = await this.#unlessAway(() => this.#ask('SET', name, kept, ...until))
    if (done === undefined) this.#memory.set(key, kept, ttlMs)
  }

  /**
   * Keeps a value that was made. Where JSON cannot hold the value, or the server refuses to keep it, the
   * error is logged and not thrown: the value counts more.
   */
  async keep(key: string, value: unknown, options: KeepOptions = {}): Promise<void> {
    try {
      await this.set(key, value, options)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.server.warn(`floodgate: the value '${key}' is not cached: ${reason}`)
    }
  }

  /** Whether there is a value. */
  async exists(key: string): Promise<boolean> {
    const reply = await this.#unlessAway(() => this.#ask('EXISTS', this.#name(key)))
    return this.#memory.get(key) !== undefined || integer(reply ?? 0) === 1
  }

  /**
   * Tells the time until the value ends: Infinity where it does not end, undefined where there is no
   * value.
   */
  async ttlMs(key: string): Promise<number | undefined> {
    const left = integer((await this.#unlessAway(() => this.#ask('PTTL', this.#name(key)))) ?? -2)
    return this.#memory.ttlMs(key) ?? (left >= 0 ? left : left === -1 ? Infinity : undefined)
  }

  /** Forgets values, and tells how many there were. */
  async delete(...keys: string[]): Promise<number> {
    const names = keys.map((key) => this.#name(key))
    const alone = this.#memory.delete(keys)
    const deleted = await this.#unlessAway(async () => {
      // Each key has a command of its own: on a cluster they may be on different nodes.
      const each = await Promise.all(names.map((name) => this.#ask('UNLINK', name)))
      return each.reduce<number>((sum, reply) => sum + integer(reply), 0)
    })
    return deleted || alone
  }

  /**
   * Forgets the values whose keys match the pattern, as KEYS of Redis matches, and tells how many there
   * were. It walks over all keys of a server, a thousand at a time. On a cluster it throws a TypeError.
   */
  async clear(pattern = '*'): Promise<number> {
    checkText('pattern', pattern)
    if (!this.server.walks)
      throw new TypeError(
        'clear() walks over the keys of one server: pass a client that is none of a cluster',
      )
    return this.#cleared(pattern)
  }

  /**
   * Gives the value of a key. Where there is none, one process calls `make`, and the others wait for what
   * it gives. A caller that may not wait in the queue (`maxWaiters`, or `wait-max` of the server) looks
   * every 50 ms.
   */
  async once<T>(key: string, make: () => T | Promise<T>, options: KeepOptions = {}): Promise<T> {
    checkFunction('make', make)
    if (options.ttlMs !== undefined) checkMs('ttlMs', options.ttlMs, 0, Infinity)
    return this.either(
      key,
      (known) => known as T,
      async () => {
        const value = await make()
        await this.keep(key, value, options)
        return value
      },
    )
  }

  /** Calls `found` where there is a value, else `missing`, in one process at a time. */
  async either<T>(
    key: string,
    found: (value: unknown) => T | Promise<T>,
    missing: () => Promise<T>,
  ): Promise<T> {
    const deadline = performance.now() + this.patienceMs
    const place = { [`${this.namespace}!${key}`]: 'concurrent:1' }
    let mayWait = this.server.canWait
    for (;;) {
      const known = await this.get(key)
      if (known !== undefined) return found(known)
      const left = deadline - performance.now()
      if (left < BEAT_MS) return missing() // made twice is better than not at all
      const waitMs = mayWait ? Math.min(left, LONGEST_MS) : undefined
      let begun = false
      try {
        return await reserve(this.#places, place, { ttlMs: this.holdMs, waitMs }, async () => {
          begun = true
          const made = await this.get(key)
          return made === undefined ? missing() : found(made)
        })
      } catch (error) {
        if (begun || error instanceof Closed) throw error
        // The queue is full, or the time of the wait is over.
        if (error instanceof Denied) await sleep(BEAT_MS)
        // The server may let nobody wait for so long. Another refusal would come again.
        else if (mayWait) mayWait = false
        else throw error
      }
    }
  }

  async #cleared(pattern: string): Promise<number> {
    const alone = this.#memory.clear(pattern)
    // No character of the namespace is a wildcard. Keys of places are left out: they have another type.
    const { prefix } = this.server
    const match = `${literal(prefix + this.namespace)}:${pattern}`
    const cleared = await this.#unlessAway(async () => {
      let [cursor, cleared] = ['0', 0]
      do {
        const step = await this.#ask('SCAN', cursor, 'MATCH', match, 'COUNT', 1000, 'TYPE', 'string')
        const [next, keys] = list(step)
        cursor = text(next)
        const found = list(keys).map((key) => text(key).slice(prefix.length))
        if (found.length) cleared += integer(await this.#ask('UNLINK', ...found))
      } while (cursor !== '0')
      return cleared
    })
    return cleared || alone
  }

  #ask(name: string, ...args: (string | number)[]): Promise<unknown> {
    const command: Command = [name, ...args]
    return this.server.ask(command, name === 'SCAN' ? {} : { key: String(args[0]) })
  }

  async #unlessAway<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask()
    } catch (error) {
      if (error instanceof Away) return undefined
      throw error
    }
  }

  #name(key: string): string {
    checkText('key', key)
    return `${this.namespace}:${key}`
  }
}
