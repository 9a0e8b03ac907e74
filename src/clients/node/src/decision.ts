import { integer, list } from './reply.js'

/** What was decided about a request. */
export interface Decision {
  /** The units granted; 0 when denied. */
  readonly granted: number
  /** The capacity of the binding limit; -1 for unlimited. */
  readonly limit: number
  /** The whole units that remain on it; -1 for unlimited. */
  readonly remaining: number
  /** The time until the same request would be granted if nobody else asks; 0 when granted, -1 when never. */
  readonly retryAfterMs: number
  /** The time until the limit is full again if nobody asks. */
  readonly resetAfterMs: number
  /**
   * The position of the binding limit; -1 where the key is blocked, -2 where others wait in its queue, -3
   * where another item of the batch is denied.
   */
  readonly index: number
  /**
   * The source of the decision: the server, this process' memory of the server's last denial, the
   * fallback, or a block of units that the server has granted to this process.
   */
  readonly source: 'redis' | 'memory' | 'fallback' | 'lease'
}

/** Makes a decision of the six integers that RL.ACQUIRE replies. */
export function decisionOf(reply: unknown, source: Decision['source'] = 'redis'): Decision {
  const [granted, limit, remaining, retryAfterMs, resetAfterMs, index] = list(reply).map(integer)
  if (index === undefined) throw new TypeError('the server replied fewer than six integers')
  return {
    granted: granted!,
    limit: limit!,
    remaining: remaining!,
    retryAfterMs: retryAfterMs!,
    resetAfterMs: resetAfterMs!,
    index,
    source,
  }
}

/**
 * Gives the value of the header Retry-After: whole seconds, at least one. A grant has none, and neither
 * has a request that will never be granted: nobody is to try it again.
 */
export function retryAfterSeconds({ retryAfterMs }: { retryAfterMs: number }): number | undefined {
  return retryAfterMs > 0 ? Math.ceil(retryAfterMs / 1000) : undefined
}

/** Gives the decision that denies for longest. */
export function longestDenial(decisions: Decision[]): Decision | undefined {
  const length = ({ retryAfterMs }: Decision) => (retryAfterMs < 0 ? Infinity : retryAfterMs)
  return [...decisions].sort((a, b) => length(b) - length(a))[0]
}
