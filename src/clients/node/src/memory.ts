interface Kept {
  text: string
  until: number
}

/**
 * The texts that a process keeps itself while Redis is away: at most `most` for each server that is away.
 * Each is kept until its time is over, and none longer than the outage: Redis does not have it.
 */
export class Memory {
  readonly #keptIn = new WeakMap<object, Map<string, Kept>>()

  /**
   * @param outage gives the outage that lasts of the server that has the key
   * @param now milliseconds of a clock that never steps back
   */
  constructor(
    readonly most: number,
    readonly outage: (key: string) => object | undefined,
    readonly now: () => number = () => performance.now(),
  ) {}

  get(key: string): string | undefined {
    return this.#found(key)?.text
  }

  set(key: string, text: string, ttlMs: number | undefined): void {
    const outage = this.outage(key)
    if (!outage) return
    const kept = this.#keptIn.get(outage) ?? new Map<string, Kept>()
    this.#keptIn.set(outage, kept)
    kept.delete(key)
    kept.set(key, { text, until: ttlMs === undefined ? Infinity : this.now() + ttlMs })
    // The oldest texts make room.
    for (const oldest of kept.keys()) {
      if (kept.size <= this.most) return
      kept.delete(oldest)
    }
  }

  ttlMs(key: string): number | undefined {
    const kept = this.#found(key)
    return kept && kept.until - this.now()
  }

  delete(keys: Iterable<string>): number {
    let deleted = 0
    for (const key of keys) if (this.#found(key) && this.#beside(key)?.delete(key)) deleted += 1
    return deleted
  }

  /** Forgets the texts whose keys match. One server has all keys. */
  clear(pattern: string): number {
    const matches = matching(pattern)
    return this.delete([...(this.#beside('')?.keys() ?? [])].filter((key) => matches.test(key)))
  }

  /** The texts that are kept while the server is away that has the key. */
  #beside(key: string): Map<string, Kept> | undefined {
    const outage = this.outage(key)
    return outage && this.#keptIn.get(outage)
  }

  #found(key: string): Kept | undefined {
    const all = this.#beside(key)
    const kept = all?.get(key)
    if (kept && kept.until <= this.now()) {
      all?.delete(key)
      return undefined
    }
    return kept
  }
}

/** Makes a RegExp of a pattern of KEYS. A class of characters, such as `[a-c]`, matches any character. */
function matching(pattern: string): RegExp {
  const parts = pattern.replace(/\[[^\]]*\]/g, '?').split(/([*?])/)
  const source = parts.map((part) =>
    part === '*' ? '.*' : part === '?' ? '.' : part.replace(/[\\^$.|+()[\]{}]/g, '\\$&'),
  )
  return new RegExp(`^${source.join('')}$`, 'su')
}
