import type { Decision } from './decision.js'

interface Denial {
  cost: number
  until: number
  decision: Decision
  headers: Record<string, string> | undefined
}

/** The denials of one key by their limits. Answers to what was asked before `since` are not remembered. */
interface Remembered {
  byLimits: Map<string, Denial[]>
  since: number
}

/** A denial as it stands now. */
export interface RememberedDenial {
  decision: Decision
  headers: Record<string, string> | undefined
}

/**
 * Remembers what the server has denied until the retry time that it named, and at most for a second. A
 * request that came before would get the same answer. A denial of a cost holds for greater costs, too,
 * with the same key and limits.
 */
export class DenialMemory {
  static readonly MAX_MS = 1000
  static readonly MAX_KEYS = 10_000
  /** The most sets of limits of one key, and the most denials of each, that are remembered. */
  static readonly MAX_EACH = 16
  readonly #keys = new Map<string, Remembered>()

  /** @param now milliseconds of a clock that never steps back */
  constructor(readonly now: () => number = () => performance.now()) {}

  /** The number of keys of which something is remembered. */
  get size(): number {
    return this.#keys.size
  }

  find(key: string, limits: string, cost: number): RememberedDenial | undefined {
    const denials = this.#keys.get(key)?.byLimits.get(limits)
    const now = this.now()
    const denial = denials?.find((denial) => denial.cost <= cost && now < denial.until)
    if (!denial) return undefined
    const { decision, headers, until } = denial
    const elapsed = now - (until - lasts(decision))
    const left = (ms: number) => Math.max(1, Math.ceil(ms - elapsed))
    return {
      headers,
      decision: {
        ...decision,
        retryAfterMs: decision.retryAfterMs < 0 ? -1 : left(decision.retryAfterMs),
        // A credit has no reset: it is -1.
        resetAfterMs: decision.resetAfterMs <= 0 ? decision.resetAfterMs : left(decision.resetAfterMs),
        source: 'memory',
      },
    }
  }

  /**
   * Remembers a denial. A grant says nothing of the next request. The server's times count from its
   * decision. That was not before it was `asked`; how long the answer took is not known.
   */
  note(
    key: string,
    limits: string,
    cost: number,
    decision: Decision,
    asked: number,
    headers?: Record<string, string>,
  ): void {
    if (decision.granted > 0 || decision.retryAfterMs === 0) return
    const now = this.now()
    const until = asked + lasts(decision)
    const unknown: Remembered = { since: -Infinity, byLimits: new Map() }
    const { since, byLimits } = this.#keys.get(key) ?? unknown
    if (until <= now || asked < since) return
    const others = (byLimits.get(limits) ?? []).filter(
      // Denials that are over go, and those that this one covers.
      (old) => now < old.until && !(cost <= old.cost && old.until <= until),
    )
    const denials = [...others, { cost, until, decision, headers }]
    byLimits.set(limits, denials.slice(-DenialMemory.MAX_EACH))
    while (byLimits.size > DenialMemory.MAX_EACH) byLimits.delete(oldest(byLimits)!)
    this.#store(key, { since, byLimits })
  }

  /** Forgets the denials of a key whose units were given back, those that are still under way, too. */
  forget(key: string): void {
    this.#store(key, { since: this.now(), byLimits: new Map() })
  }

  #store(key: string, remembered: Remembered): void {
    this.#keys.delete(key)
    this.#keys.set(key, remembered)
    while (this.#keys.size > DenialMemory.MAX_KEYS) this.#keys.delete(oldest(this.#keys)!)
  }
}

function lasts({ retryAfterMs }: Decision): number {
  return retryAfterMs < 0 ? DenialMemory.MAX_MS : Math.min(retryAfterMs, DenialMemory.MAX_MS)
}

function oldest<K>(map: Map<K, unknown>): K | undefined {
  for (const key of map.keys()) return key
  return undefined
}
