import type { Decision } from './decision.js'

interface Denial {
  cost: number
  until: number
  decision: Decision
  headers: Record<string, string> | undefined
}

/** A denial as it stands now. */
export interface RememberedDenial {
  decision: Decision
  headers: Record<string, string> | undefined
}

/**
 * What the server has denied, until the time that it named, at most a second:
 * asking again before would get the same answer. A denial of a cost holds for
 * greater costs too, with the same key and limits.
 */
export class DenialMemory {
  static readonly MAX_MS = 1000
  static readonly MAX_KEYS = 10_000
  /** Of one key: what is more is not remembered. */
  static readonly MAX_EACH = 16
  readonly #keys = new Map<string, Map<string, Denial[]>>()

  /** @param now milliseconds of a clock that never steps back */
  constructor(readonly now: () => number = () => performance.now()) {}

  /** The keys of which something is remembered. */
  get size(): number {
    return this.#keys.size
  }

  find(key: string, limits: string, cost: number): RememberedDenial | undefined {
    const denials = this.#keys.get(key)?.get(limits)
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
        // -1 of a credit, which has no reset.
        resetAfterMs: decision.resetAfterMs <= 0 ? decision.resetAfterMs : left(decision.resetAfterMs),
        source: 'memory',
      },
    }
  }

  /** Remembers what was decided; a grant says nothing of what comes next. */
  note(
    key: string,
    limits: string,
    cost: number,
    decision: Decision,
    headers?: Record<string, string>,
  ): void {
    if (decision.granted > 0 || decision.retryAfterMs === 0) return
    const now = this.now()
    const until = now + lasts(decision)
    const byLimits = this.#keys.get(key) ?? new Map<string, Denial[]>()
    const others = (byLimits.get(limits) ?? []).filter(
      // What is over, and what this one says too.
      (old) => now < old.until && !(cost <= old.cost && old.until <= until),
    )
    const denials = [...others, { cost, until, decision, headers }]
    byLimits.set(limits, denials.slice(-DenialMemory.MAX_EACH))
    while (byLimits.size > DenialMemory.MAX_EACH) byLimits.delete(oldest(byLimits)!)
    this.#keys.delete(key)
    this.#keys.set(key, byLimits)
    while (this.#keys.size > DenialMemory.MAX_KEYS) this.#keys.delete(oldest(this.#keys)!)
  }

  /** After units of the key were given back. */
  forget(key: string): void {
    this.#keys.delete(key)
  }
}

function lasts({ retryAfterMs }: Decision): number {
  return retryAfterMs < 0 ? DenialMemory.MAX_MS : Math.min(retryAfterMs, DenialMemory.MAX_MS)
}

function oldest<K>(map: Map<K, unknown>): K | undefined {
  for (const key of map.keys()) return key
  return undefined
}
