// Floodgate for a service in Node: limits, a breaker round a call, and what
// happens when Redis is away. Copy it; it needs nothing but ioredis.
//
//   const redis = connect('redis://localhost:6379')
//   const limiter = new Limiter(redis, Away.LOCAL)
//   const decision = await limiter.acquire(`user:${user}`, '10/s,1000/h,20000/d')

import { Redis } from 'ioredis'

/** A client that gives up quickly: a limiter must not be what is slow. */
export function connect(url) {
  const redis = new Redis(url, {
    commandTimeout: 250,
    connectTimeout: 250,
    enableOfflineQueue: false, // nothing waits for a server that is away
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(50 * times, 500),
  })
  redis.on('error', () => {}) // each command tells of it
  return redis
}

/**
 * What holds while Redis is away. Choose for each limiter:
 *
 * OPEN    everything passes: right where an outage costs more than a flood.
 * CLOSED  nothing passes: right where a flood costs more, as with logins.
 * LOCAL   each process limits on its own, to `localRate` a second: right in
 *         between; with N processes up to N times that passes in all.
 */
export const Away = Object.freeze({ OPEN: 'open', CLOSED: 'closed', LOCAL: 'local' })

/** Whether an error is an answer of the server: then it is no outage. */
const answered = (error) => error.name === 'ReplyError'

export class Limiter {
  #local = new Map()

  constructor(redis, away, localRate = 10) {
    Object.assign(this, { redis, away, localRate })
  }

  /** Takes `cost` units from every limit, or from none. */
  async acquire(key, limits, cost = 1) {
    try {
      return decision(await this.redis.call('RL.ACQUIRE', key, limits, 'COST', cost))
    } catch (error) {
      if (answered(error)) throw error
      return this.#alone(key, cost)
    }
  }

  /** The same, and the headers for the HTTP response, in one round trip. */
  async acquireWithHeaders(key, limits) {
    try {
      const [[failed, six], [, flat]] = await this.redis
        .multi()
        .call('RL.ACQUIRE', key, limits)
        .call('RL.QUOTA', key, limits, 'HEADERS')
        .exec()
      if (failed) throw failed
      const headers = {}
      for (let i = 0; i < flat.length; i += 2) headers[flat[i]] = flat[i + 1]
      return [decision(six), headers]
    } catch (error) {
      if (answered(error)) throw error
      const alone = this.#alone(key, 1)
      return [alone, alone.granted ? {} : { 'Retry-After': String(Math.ceil(alone.retryAfterMs / 1000)) }]
    }
  }

  #alone(key, cost) {
    if (this.away === Away.OPEN) return decision([cost, -1, -1, 0, 0, 0], false)
    if (this.away === Away.CLOSED) return decision([0, 0, 0, 1000, 0, 0], false)
    // A bucket of one second's worth.
    if (this.#local.size > 10_000) this.#local.clear()
    const now = performance.now()
    const { level: before, since } = this.#local.get(key) ?? { level: this.localRate, since: now }
    const level = Math.min(this.localRate, before + ((now - since) / 1000) * this.localRate)
    const granted = level >= cost ? cost : 0
    this.#local.set(key, { level: level - granted, since: now })
    const wait = granted ? 0 : Math.ceil(((cost - level) / this.localRate) * 1000)
    return decision([granted, this.localRate, Math.floor(level - granted), wait, 0, 0], false)
  }
}

function decision([granted, limit, remaining, retryAfterMs, resetAfterMs, index], fromRedis = true) {
  return { granted, limit, remaining, retryAfterMs, resetAfterMs, index, fromRedis }
}

export class CircuitOpen extends Error {
  constructor(retryAfterMs) {
    super(`circuit open, retry after ${retryAfterMs} ms`)
    this.retryAfterMs = retryAfterMs
  }
}

/**
 * A circuit breaker that all processes share. While Redis is away calls go
 * through: a breaker protects the callee, and without it things are as they
 * were before there was one.
 */
export class Breaker {
  constructor(redis, key, rule = '50%/60s') {
    Object.assign(this, { redis, key, rule })
  }

  /** Calls the function, unless the circuit is open. A rejection is a failure. */
  async call(f) {
    let answer
    try {
      answer = await this.redis.call('CB.ACQUIRE', this.key, this.rule)
    } catch (error) {
      if (answered(error)) throw error
      return f()
    }
    const [allowed, , token, retryAfterMs] = answer
    if (!allowed) throw new CircuitOpen(retryAfterMs)
    const start = performance.now()
    let outcome = 'FAIL'
    try {
      const result = await f()
      outcome = 'OK'
      return result
    } finally {
      const ms = Math.round(performance.now() - start)
      await this.redis.call('CB.REPORT', this.key, outcome, 'TOKEN', token, 'DUR', ms).catch(() => {})
    }
  }
}
