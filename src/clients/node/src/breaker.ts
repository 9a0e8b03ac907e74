import { inspect } from 'node:util'
import { checkFunction, checkText } from './checks.js'
import type { Command, RedisClient } from './client.js'
import { Away, messageOf } from './errors.js'
import { integer, list, text } from './reply.js'
import { Server } from './server.js'
import { calls } from './telemetry.js'

/** The error of a call that was not made, because the circuit is open. */
export class CircuitOpen extends Error {
  override readonly name = 'CircuitOpen'

  constructor(
    readonly key: string,
    readonly retryAfterMs: number,
  ) {
    const until = retryAfterMs < 0 ? 'with no retry time' : `retry after ${retryAfterMs} ms`
    super(`the circuit '${key}' is open, ${until}`)
  }
}

/** What a call says of the callee: that it works, that it fails, or nothing. */
export type CallOutcome = 'OK' | 'FAIL' | 'IGNORE'

/** The options of a Breaker. */
export interface BreakerOptions {
  /**
   * Tells what a rejection says of the callee. By default an abort (AbortError) says nothing, and all
   * else is a failure, a timeout (TimeoutError), too. Where the function itself throws, or gives no
   * outcome, the rejection counts as a failure, and the logger is told of the function's fault.
   */
  outcomeOf?: ((error: unknown) => CallOutcome) | undefined
}

/**
 * A circuit breaker that all processes share. While Redis is away every call goes through, as it
 * would without a breaker.
 */
export class Breaker {
  readonly server: Server
  /** What a rejection says of the callee. It never throws. */
  readonly outcomeOf: (error: unknown) => CallOutcome

  /** @param rule such as `50%/60s:open=30s`; without one the server's rule for the key holds */
  constructor(
    client: RedisClient | Server,
    readonly key: string,
    readonly rule?: string,
    { outcomeOf = isAbort }: BreakerOptions = {},
  ) {
    checkText('key', key)
    if (rule !== undefined) checkText('rule', rule)
    checkFunction('outcomeOf', outcomeOf)
    this.server = Server.of(client)
    this.outcomeOf = (error) => this.#outcomeBy(outcomeOf, error)
  }

  /** Makes the call, or throws CircuitOpen. A caller that aborts the signal gives its trial back. */
  async call<T>(f: () => T | Promise<T>, { signal }: { signal?: AbortSignal } = {}): Promise<T> {
    checkFunction('f', f)
    const token = await this.#admit(signal)
    const start = performance.now()
    let outcome: CallOutcome = 'FAIL'
    try {
      const result = await f()
      outcome = 'OK'
      return result
    } catch (error) {
      outcome = signal?.aborted ? 'IGNORE' : this.outcomeOf(error)
      throw error
    } finally {
      calls(outcome.toLowerCase())
      if (token !== undefined) await this.#report(token, outcome, performance.now() - start)
    }
  }

  /** Gives the function with the breaker round it. As a method it is called on its object. */
  wrap<A extends unknown[], T, S = unknown>(
    f: (this: S, ...args: A) => T | Promise<T>,
  ): (this: S, ...args: A) => Promise<T> {
    checkFunction('f', f)
    const call = (made: () => T | Promise<T>) => this.call(made)
    return function (...args) {
      return call(() => f.apply(this, args))
    }
  }

  /** Asks for a permit, and gives its token. There is none while Redis is away. */
  async #admit(signal: AbortSignal | undefined): Promise<string | undefined> {
    const command: Command = ['CB.ACQUIRE', this.key, ...(this.rule === undefined ? [] : [this.rule])]
    // The permit came too late, or its caller has gone. The call is not made, and its trial is given back.
    const late = (answer: unknown) => {
      const { token } = admissionOf(answer)
      if (token === undefined) return
      void this.server.giveBackLate(['CB.REPORT', this.key, 'IGNORE', 'TOKEN', token], this.key)
    }
    let answer
    try {
      answer = admissionOf(await this.server.ask(command, { key: this.key, late, signal }))
    } catch (error) {
      if (error instanceof Away) return undefined
      throw error
    }
    if (!answer.allowed) {
      calls('open')
      throw new CircuitOpen(this.key, answer.retryAfterMs)
    }
    return answer.token
  }

  /** The rejection itself counts more than what the function makes of it. */
  #outcomeBy(outcomeOf: (error: unknown) => unknown, error: unknown): CallOutcome {
    const failed = (reason: string): CallOutcome => {
      this.server.warn(`floodgate: outcomeOf of '${this.key}' failed, the call counts as FAIL: ${reason}`)
      return 'FAIL'
    }
    try {
      const outcome = outcomeOf(error)
      return isOutcome(outcome) ? outcome : failed(`it gave ${inspect(outcome)}`)
    } catch (fault) {
      return failed(messageOf(fault))
    }
  }

  #report(token: string, outcome: CallOutcome, tookMs: number): Promise<unknown> {
    const took = ['DUR', `${Math.round(tookMs)}ms`]
    return this.server.finish(['CB.REPORT', this.key, outcome, 'TOKEN', token, ...took], this.key)
  }
}

const isOutcome = (value: unknown): value is CallOutcome =>
  value === 'OK' || value === 'FAIL' || value === 'IGNORE'

function isAbort(error: unknown): CallOutcome {
  return error instanceof Error && error.name === 'AbortError' ? 'IGNORE' : 'FAIL'
}

/** The reply of CB.ACQUIRE. `six` is the decision of its limit. */
export interface Admission {
  allowed: boolean
  token: string | undefined
  retryAfterMs: number
  six: unknown[] | undefined
}

export function admissionOf(reply: unknown): Admission {
  const [allowed, , token, retryAfterMs, six] = list(reply)
  return {
    allowed: integer(allowed) === 1,
    token: token === null || token === undefined ? undefined : text(token),
    retryAfterMs: integer(retryAfterMs),
    six: six === null || six === undefined ? undefined : list(six),
  }
}
