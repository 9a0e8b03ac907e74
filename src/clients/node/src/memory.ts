interface Kept {
  text: string
  until: number
}

/**
 * What a process keeps itself while Redis is away: at most so many texts for each server that is, each
 * until its time is over, and none longer than the outage: what was kept meanwhile is not what Redis has.
 */
export class Memory {
  readonly #keptIn = new WeakMap<object, Map<string, Kept>>()

  /**
   * @param outage the one that lasts, of the server that has the key
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
    // The oldest makes room.
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

  /** Of a server that has all keys. */
  clear(pattern: string): number {
    const matches = matching(pattern)
    return this.delete([...(this.#beside('')?.keys() ?? [])].filter((key) => matches.test(key)))
  }

  /** What is kept while the server that has the key is away. */
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

/** The pattern of Redis's KEYS, without its classes of characters, which stand for one of any. */
function matching(pattern: string): RegExp {
  const parts = pattern.replace(/\[[^\]]*\]/g, '?').split(/([*?])/)
  const source = parts.map((part) =>
    part === '*' ? '.*' : part === '?' ? '.' : part.replace(/[\\^$.|+()[\]{}]/g, '\\$&'),
  )
  return new RegExp(`^${source.join('')}$`, 'su')
}
