/**
 * What a process keeps itself while Redis is away: at most so many texts, each until its time is over,
 * and none longer than the outage: what was kept meanwhile is not what Redis has.
 */
export class Memory {
  readonly #kept = new Map<string, { text: string; until: number }>()
  #keptIn: object | undefined

  /**
   * @param outage the one that lasts
   * @param now milliseconds of a clock that never steps back
   */
  constructor(
    readonly most: number,
    readonly outage: () => object | undefined,
    readonly now: () => number = () => performance.now(),
  ) {}

  get(key: string): string | undefined {
    return this.#found(key)?.text
  }

  set(key: string, text: string, ttlMs: number | undefined): void {
    if (!this.#lasts()) return
    this.#kept.delete(key)
    this.#kept.set(key, { text, until: ttlMs === undefined ? Infinity : this.now() + ttlMs })
    // The oldest makes room.
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= this.most) return
      this.#kept.delete(oldest)
    }
  }

  ttlMs(key: string): number | undefined {
    const kept = this.#found(key)
    return kept && kept.until - this.now()
  }

  delete(keys: Iterable<string>): number {
    let deleted = 0
    for (const key of keys) if (this.#found(key) && this.#kept.delete(key)) deleted += 1
    return deleted
  }

  clear(pattern: string): number {
    const matches = matching(pattern)
    return this.delete([...this.#kept.keys()].filter((key) => matches.test(key)))
  }

  /** Whether Redis is away. What was kept in another outage is forgotten. */
  #lasts(): boolean {
    const outage = this.outage()
    if (this.#keptIn !== outage) this.#kept.clear()
    this.#keptIn = outage
    return outage !== undefined
  }

  #found(key: string): { text: string; until: number } | undefined {
    if (!this.#lasts()) return undefined
    const kept = this.#kept.get(key)
    if (kept && kept.until <= this.now()) {
      this.#kept.delete(key)
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
