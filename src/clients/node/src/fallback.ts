import { checkPositive } from './checks.js'
import { decisionOf, type Decision } from './decision.js'

/** A fallback decides while Redis is away. */
export interface Fallback {
  /** Grants `cost` units or none. With `partial` it grants what is left of them, at least one. */
  acquire(key: string, cost: number, partial?: boolean): Decision
  /** Gives units back that `acquire` granted. */
  refund?(key: string, units: number): void
}

const decided = (...six: number[]) => decisionOf(six, 'fallback')

/** The fallback by which everything passes. It is right where an outage costs more than a flood. */
export class FailOpen implements Fallback {
  acquire(_key: string, cost: number): Decision {
    return decided(cost, -1, -1, 0, 0, 0)
  }
}

/** The fallback by which nothing passes. It is right where a flood costs more, as with logins. */
export class FailClosed implements Fallback {
  acquire(): Decision {
    return decided(0, 0, 0, 1000, 0, 0)
  }
}

/**
 * The fallback by which each process limits on its own, to `rate` units a second and `burst` at once. It
 * is right in between. N processes let up to N times that pass in all.
 */
export class LocalBucket implements Fallback {
  /** The number of keys that are known at a time. The key that was not asked for longest is forgotten. */
  static readonly MAX_KEYS = 10_000
  readonly #levels = new Map<string, { level: number; since: number }>()

  constructor(
    readonly rate: number,
    readonly burst = Math.max(1, rate),
  ) {
    checkPositive('rate', rate)
    checkPositive('burst', burst)
  }

  acquire(key: string, cost: number, partial = false): Decision {
    const level = this.#level(key)
    const least = partial ? 1 : cost
    const granted = least <= level ? Math.min(cost, Math.floor(level)) : 0
    this.#store(key, level - granted)
    const missingMs = Math.max(1, Math.ceil(((least - level) / this.rate) * 1000))
    const retryAfterMs = granted ? 0 : least <= this.burst ? missingMs : -1
    const left = level - granted
    const resetAfterMs = Math.ceil(((this.burst - left) / this.rate) * 1000)
    return decided(granted, Math.floor(this.burst), Math.floor(left), retryAfterMs, resetAfterMs, 0)
  }

  refund(key: string, units: number): void {
    this.#store(key, Math.min(this.burst, this.#level(key) + units))
  }

  #level(key: string): number {
    const now = performance.now()
    const { level, since } = this.#levels.get(key) ?? { level: this.burst, since: now }
    return Math.min(this.burst, level + ((now - since) / 1000) * this.rate)
  }

  #store(key: string, level: number): void {
    this.#levels.delete(key)
    this.#levels.set(key, { level, since: performance.now() })
    if (this.#levels.size <= LocalBucket.MAX_KEYS) return
    for (const oldest of this.#levels.keys()) {
      this.#levels.delete(oldest)
      return
    }
  }
}
