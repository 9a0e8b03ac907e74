// Limits for a service in Node, and what holds while Redis is away. Copy it; it
// needs nothing but ioredis.
//
//   const limiter = new Limiter(new Server('redis://localhost:6379'), new LocalBucket(5))
//   const decision = await limiter.acquire(`user:${user}`, '10/s,1000/h,20000/d')
//   if (!decision.granted) … // 429, with the headers of retryAfter(decision)

import { Redis } from 'ioredis'

/**
 * The six integers of RL.ACQUIRE, and whether Redis gave them.
 * @typedef {{
 *   granted: number, limit: number, remaining: number, retryAfterMs: number,
 *   resetAfterMs: number, index: number, fromRedis: boolean
 * }} Decision
 */

/**
 * @param {number[]} six
 * @returns {Decision}
 */
export function decision([granted, limit, remaining, retryAfterMs, resetAfterMs, index], fromRedis = true) {
  return { granted, limit, remaining, retryAfterMs, resetAfterMs, index, fromRedis }
}

/**
 * The header Retry-After, in whole seconds; none where the request was granted,
 * or never will be.
 * @param {{ granted?: number, retryAfterMs: number }} decided
 * @returns {Record<string, string>}
 */
export function retryAfter({ granted, retryAfterMs }) {
  if (granted || retryAfterMs < 0) return {}
  return { 'Retry-After': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }
}

/**
 * What holds while Redis is away: choose for each limiter.
 * @typedef {{ acquire(key: string, cost: number): Decision }} Fallback
 */

/** Everything passes: right where an outage costs more than a flood. */
export class FailOpen {
  /** @param {string} _key @param {number} cost */
  acquire(_key, cost) {
    return decision([cost, -1, -1, 0, 0, 0], false)
  }
}

/** Nothing passes: right where a flood costs more, as with logins. */
export class FailClosed {
  acquire() {
    return decision([0, 0, 0, 1000, 0, 0], false)
  }
}

/**
 * Each process limits on its own, `rate` a second and `burst` at once: right in
 * between. N processes let up to N times that pass in all.
 */
export class LocalBucket {
  static MOST_KEYS = 10_000
  /** @type {Map<string, { level: number, since: number }>} */
  #levels = new Map()

  /** @param {number} rate */
  constructor(rate, burst = Math.max(1, rate)) {
    this.rate = rate
    this.burst = burst
  }

  /** @param {string} key @param {number} cost */
  acquire(key, cost) {
    const now = performance.now()
    const { level: before, since } = this.#levels.get(key) ?? { level: this.burst, since: now }
    const level = Math.min(this.burst, before + ((now - since) / 1000) * this.rate)
    const granted = cost <= level ? cost : 0
    this.#levels.delete(key)
    this.#levels.set(key, { level: level - granted, since: now })
    if (this.#levels.size > LocalBucket.MOST_KEYS) {
      const [unusedForLongest] = this.#levels.keys()
      this.#levels.delete(unusedForLongest)
    }
    const missingMs = Math.ceil(((cost - level) / this.rate) * 1000)
    const retryAfterMs = granted ? 0 : cost <= this.burst ? missingMs : -1
    return decision([granted, Math.floor(this.burst), Math.floor(level - granted), retryAfterMs, 0, 0], false)
  }
}

/** Redis cannot decide: it does not answer, or only that it cannot write. */
export class Away extends Error {}

/**
 * Redis refuses the credentials, or has no Floodgate. Thrown until it has answered
 * for the first time; afterwards that is an outage like others.
 */
export class Misconfigured extends Error {}

class Late extends Error {}

const CANNOT =
  /^(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED)\b|^ERR max number of clients/
const NO_MODULE = /unknown command\W+(RL\.(ACQUIRE|HELP|RESERVE)|CB\.ACQUIRE)\b/i

/** @param {unknown} error @returns {error is Error} */
const isReply = (error) => error instanceof Error && error.name === 'ReplyError'

/** What a person has to put right before anything can be decided. @param {unknown} error */
function misconfiguration(error) {
  if (!isReply(error)) return undefined
  if (/^(NOAUTH|WRONGPASS|DENIED|ERR invalid password|ERR AUTH)\b/.test(error.message)) {
    return `Redis refuses the credentials: ${error.message}`
  }
  if (NO_MODULE.test(error.message)) return 'Redis has no Floodgate: load the module (loadmodule libfloodgate.so)'
  return undefined
}

/** @param {unknown} error */
const isOutage = (error) => !isReply(error) || CANNOT.test(error.message)

/** How long the answer to what took something may still come. */
const LATEST_MS = 60_000

/** @typedef {[string, ...(string | number)[]]} Words */

/**
 * The promise's outcome, if it comes in time and while somebody waits for it.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
function within(promise, ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Late('no answer in time')), ms)
    const leave = () => reject(signal?.reason)
    signal?.addEventListener('abort', leave)
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', leave)
    })
  })
}

/**
 * Redis, asked with little patience: a limiter must not be what is slow.
 *
 * After a failure it is not asked for `restMs`, and then by one request for all:
 * an outage costs one request its timeout, not each of them. That it is lost, and
 * that it is found again, is logged once each.
 */
export class Server {
  /** @type {number | undefined} */
  #asleepUntil
  /** @type {Redis[]} */
  #idle = []
  #hasAnswered = false
  #isLost = false
  /** @type {unknown} */
  #refusal

  /** @param {string} url */
  constructor(url, { patienceMs = 250, restMs = 1000, waiters = 64, log = console.warn } = {}) {
    this.log = log
    this.patienceMs = patienceMs
    this.restMs = restMs
    this.freeWaiters = waiters
    this.redis = new Redis(url, {
      connectTimeout: patienceMs,
      commandTimeout: patienceMs,
      socketTimeout: 2 * patienceMs, // gives up a connection on which nothing comes back
      enableOfflineQueue: false, // nothing waits for a server that is away
      maxRetriesPerRequest: 0,
      retryStrategy: (times) => Math.min(50 * times, restMs) * (0.5 + Math.random()),
    })
    // Each command tells of it, but not why a connection was refused.
    this.redis.on('error', (error) => { this.#refusal = error })
    this.redis.on('ready', () => { this.#refusal = undefined })
    this.taking = this.#patient()
  }

  /** For what has to be given back, should its answer be late. */
  #patient() {
    const own = this.redis.duplicate({ commandTimeout: undefined, socketTimeout: LATEST_MS })
    own.on('error', () => {})
    return own
  }

  /**
   * For the start of a program: throws Misconfigured where Redis refuses the
   * credentials or has no Floodgate. That Redis is away it only logs.
   */
  async check() {
    const connections = [this.redis, this.taking].filter(({ status }) => status !== 'ready')
    const told = connections.map((redis) => new Promise((resolve) => {
      redis.once('ready', resolve).once('error', resolve)
    }))
    try {
      await within(Promise.all(told), 2 * this.patienceMs).catch(() => {}) // then it says why
      await this.ask('RL.HELP')
    } catch (error) {
      if (!(error instanceof Away) && !(isReply(error) && error.message.startsWith('NOPERM'))) throw error
    }
  }

  /**
   * The answer. Throws Away, Misconfigured, or the server's own error.
   * @param {string} command
   * @param {(string | number)[]} words
   * @returns {Promise<any>}
   */
  ask(command, ...words) {
    return this.#answer(() => this.redis.call(command, ...words))
  }

  /**
   * The answers of one transaction, in one round trip.
   * @param {Words[]} commands
   * @returns {Promise<any[]>}
   */
  askAtOnce(...commands) {
    return this.#answer(async () => {
      const transaction = this.redis.multi()
      for (const command of commands) transaction.call(...command)
      const answers = (await transaction.exec().catch((error) => {
        throw error.previousErrors?.[0] ?? error // not EXECABORT, but why
      })) ?? []
      return answers.map(([error, answer]) => {
        if (error) throw error
        return answer
      })
    })
  }

  /**
   * The answer of a command that takes what has to be given back. It may be obeyed
   * although nobody waits for the answer any more, who aborted the signal or was
   * out of patience: `undo` then says how what was taken is given back.
   * @param {Words} words
   * @param {(answer: any) => Words | undefined} undo
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  async take(words, undo, signal) {
    signal?.throwIfAborted()
    const own = this.taking
    /** @type {Promise<any> | undefined} */
    let asked
    try {
      return await this.#answer(() => {
        asked = own.call(...words)
        return within(asked, this.patienceMs, signal)
      }, signal)
    } catch (error) {
      if (asked && (error instanceof Away || signal?.aborted)) {
        if (error instanceof Error && error.cause instanceof Late && this.taking === own) {
          this.taking = this.#patient()
          setTimeout(() => own.disconnect(), LATEST_MS).unref()
        }
        asked.then(undo).then((/** @type {Words | undefined} */ command) => {
          if (!command) return
          this.#asleepUntil = undefined // it answers
          return this.finish(...command)
        }, () => {}) // leases and TTLs settle it
      }
      throw error
    }
  }

  /**
   * The answer of a command that waits. Who stops waiting for it (aborts the
   * signal) leaves the line. When too many wait already it does not wait.
   * @param {number} ms
   * @param {AbortSignal | undefined} signal
   * @param {string} command
   * @param {(string | number)[]} words
   * @returns {Promise<any>}
   */
  async wait(ms, signal, command, ...words) {
    if (this.freeWaiters === 0) return this.ask(command, ...words)
    signal?.throwIfAborted()
    this.freeWaiters -= 1
    // A connection of its own: it is blocked meanwhile, and for longer than the
    // others' timeout.
    const own = this.#idle.pop() ?? this.#lendable()
    const leave = () => own.disconnect()
    signal?.addEventListener('abort', leave)
    try {
      const answer = await this.#answer(() => this.#patiently(own, ms, command, ...words), signal)
      this.#idle.push(own)
      return answer
    } catch (error) {
      own.disconnect()
      signal?.throwIfAborted()
      throw error
    } finally {
      signal?.removeEventListener('abort', leave)
      this.freeWaiters += 1
    }
  }

  #lendable() {
    const own = this.redis.duplicate({
      lazyConnect: true,
      commandTimeout: undefined,
      socketTimeout: undefined,
      retryStrategy: () => null,
    })
    own.on('error', () => {})
    return own
  }

  /**
   * @param {Redis} own
   * @param {number} ms
   * @param {string} command
   * @param {(string | number)[]} words
   */
  async #patiently(own, ms, command, ...words) {
    const late = setTimeout(() => own.disconnect(), ms + this.patienceMs)
    try {
      if (own.status !== 'ready') await own.connect()
      return await own.call(command, ...words, 'WAIT', `${ms}ms`)
    } finally {
      clearTimeout(late)
    }
  }

  /**
   * Tells what came of the work. Rejects never: the work counts more. What
   * cannot be told, leases and TTLs settle.
   * @param {string} command
   * @param {(string | number)[]} words
   */
  async finish(command, ...words) {
    try {
      await this.ask(command, ...words)
    } catch (error) {
      if (!(error instanceof Away || error instanceof Misconfigured)) this.log(`${command}: ${error}`)
    }
  }

  close() {
    for (const redis of [this.redis, this.taking, ...this.#idle]) redis.disconnect()
  }

  /**
   * @template T
   * @param {() => Promise<T>} question
   * @param {AbortSignal} [signal]
   */
  async #answer(question, signal) {
    if (this.#asleepUntil !== undefined) {
      if (performance.now() < this.#asleepUntil) throw new Away()
      this.#sleep() // the others: this one asks for them
    }
    try {
      const answer = await question()
      this.#found()
      return answer
    } catch (error) {
      if (signal?.aborted) throw error
      const wrong = misconfiguration(error) ?? (isReply(error) ? undefined : misconfiguration(this.#refusal))
      if (wrong && !this.#hasAnswered) throw new Misconfigured(wrong, { cause: error })
      if (!wrong && !isOutage(error)) {
        this.#found() // it refuses: malformed limits, a wrong type, missing rights
        throw error
      }
      if (!this.#isLost) {
        this.#isLost = true
        this.log(`Redis is away, the fallback decides: ${wrong ?? this.#refusal ?? error}`)
      }
      this.#sleep()
      throw new Away('Redis cannot decide', { cause: error })
    }
  }

  #found() {
    this.#asleepUntil = undefined
    this.#hasAnswered = true
    if (!this.#isLost) return
    this.#isLost = false
    this.log('Redis is back')
  }

  #sleep() {
    // Not all processes at the same moment.
    this.#asleepUntil = performance.now() + this.restMs * (0.5 + Math.random())
  }
}

/** Takes units from limits that all processes share. */
export class Limiter {
  /** @param {Server} server @param {Fallback} fallback */
  constructor(server, fallback) {
    this.server = server
    this.fallback = fallback
  }

  /**
   * Takes `cost` units from every limit, or from none. With `waitMs` it stands
   * in line for so long.
   * @param {string} key
   * @param {string} limits
   * @param {{ cost?: number, waitMs?: number, signal?: AbortSignal }} [options]
   */
  async acquire(key, limits, { cost = 1, waitMs, signal } = {}) {
    /** @type {Words} */
    const command = ['RL.ACQUIRE', key, limits, 'COST', cost]
    try {
      const { server } = this
      return decision(await (waitMs ? server.wait(waitMs, signal, ...command) : server.ask(...command)))
    } catch (error) {
      if (!(error instanceof Away)) throw error
      return this.fallback.acquire(key, cost)
    }
  }

  /**
   * One unit, and the headers for the HTTP response.
   * @param {string} key
   * @param {string} limits
   * @returns {Promise<[Decision, Record<string, string>]>}
   */
  async acquireWithHeaders(key, limits) {
    /** @type {Record<string, string>} */
    const headers = {}
    let decided
    try {
      const [six, flat] = await this.server.askAtOnce(
        ['RL.ACQUIRE', key, limits],
        ['RL.QUOTA', key, limits, 'HEADERS'],
      )
      decided = decision(six)
      for (let i = 0; i < flat.length; i += 2) headers[flat[i]] = flat[i + 1]
    } catch (error) {
      if (!(error instanceof Away)) throw error
      decided = this.fallback.acquire(key, 1)
    }
    delete headers['Retry-After'] // RL.QUOTA speaks of the next request
    return [decided, { ...headers, ...retryAfter(decided) }]
  }
}
