// A circuit breaker that all processes share. Copy it with floodgate.mjs.
//
//   const payments = new Breaker(server, 'payments', '50%/60s:open=30s')
//   const receipt = await payments.call(() => charge(card, { signal: AbortSignal.timeout(2000) }))

import { Away, Server } from './floodgate.mjs'

/** The call was not made. */
export class CircuitOpen extends Error {
  /** @param {number} retryAfterMs */
  constructor(retryAfterMs) {
    super(`circuit open, retry after ${retryAfterMs} ms`)
    this.retryAfterMs = retryAfterMs
  }
}

/**
 * While Redis is away calls go through: a breaker protects the callee, and
 * without it things are as they were before there was one.
 */
export class Breaker {
  /** @param {Server} server @param {string} key @param {string} rule */
  constructor(server, key, rule) {
    this.server = server
    this.key = key
    this.rule = rule
  }

  /**
   * Makes the call. A rejection is a failure of the callee, a timeout too; an
   * aborted call (AbortError) says nothing of it. Aborted by the signal before it
   * was admitted, it is not made.
   * @template T
   * @param {() => Promise<T>} f
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<T>}
   */
  async call(f, { signal } = {}) {
    const token = await this.#admitted(signal)
    const start = performance.now()
    let outcome = 'FAIL'
    try {
      const result = await f()
      outcome = 'OK'
      return result
    } catch (error) {
      if (error instanceof Error && error.name === 'AbortError') outcome = 'IGNORE'
      throw error
    } finally {
      if (token !== undefined) {
        const ms = Math.round(performance.now() - start)
        await this.server.finish('CB.REPORT', this.key, outcome, 'TOKEN', token, 'DUR', `${ms}ms`)
      }
    }
  }

  /**
   * The token to report with; none while Redis is away.
   * @param {AbortSignal} [signal]
   * @returns {Promise<string | undefined>}
   */
  async #admitted(signal) {
    let answer
    try {
      // Admitted and gone before it knew, a call hands its token back: a trial that
      // nobody reports closes the door for its whole lease.
      answer = await this.server.take(
        ['CB.ACQUIRE', this.key, this.rule],
        ([allowed, , token]) => (allowed ? ['CB.REPORT', this.key, 'IGNORE', 'TOKEN', token] : undefined),
        signal,
      )
    } catch (error) {
      if (error instanceof Away) return undefined
      throw error
    }
    const [allowed, , token, retryAfterMs] = answer
    if (!allowed) throw new CircuitOpen(retryAfterMs)
    return token
  }
}
