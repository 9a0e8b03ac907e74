import { integer, list } from './reply.js'

/** What was decided about a request. */
export interface Decision {
  /** The units granted; 0 when denied. */
  readonly granted: number
  /** Capacity of the limit that binds; -1 for unlimited. */
  readonly limit: number
  /** Whole units left on it; -1 for unlimited. */
  readonly remaining: number
  /** When the same request would be granted if nobody else asks; 0 when granted, -1 when never. */
  readonly retryAfterMs: number
  /** When the limit is full again if nobody asks. */
  readonly resetAfterMs: number
  /**
   * Place of the limit that binds; -1 blocked, -2 a waiting line stands, -3 because of others of the
   * batch.
   */
  readonly index: number
  /**
   * Who decided: the server, this process' memory of the server's last denial, the fallback, or a
   * block of units that the server has granted to this process.
   */
  readonly source: 'redis' | 'memory' | 'fallback' | 'lease'
}

/** The six integers of RL.ACQUIRE. */
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
 * For the header Retry-After: whole seconds, at least one. None for what was
 * granted, and for what will never be: nobody is to try that again.
 */
export function retryAfterSeconds({ retryAfterMs }: { retryAfterMs: number }): number | undefined {
  return retryAfterMs > 0 ? Math.ceil(retryAfterMs / 1000) : undefined
}

/** Of several decisions the one that denies for longest. */
export function longestDenial(decisions: Decision[]): Decision | undefined {
  const length = ({ retryAfterMs }: Decision) => (retryAfterMs < 0 ? Infinity : retryAfterMs)
  return [...decisions].sort((a, b) => length(b) - length(a))[0]
}
