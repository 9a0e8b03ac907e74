import { randomUUID } from 'node:crypto'
import { checkAsker, checkMs, checkText, checkUnits, checkWhole } from './checks.js'
import type { Command } from './client.js'
import { decisionOf, type Decision } from './decision.js'
import { Away } from './errors.js'
import type { AcquireOptions, Limiter, Limits } from './limiter.js'
import { list, pairs, text } from './reply.js'
import { decisions as counted } from './telemetry.js'

/** The options of a Lease. */
export interface LeaseOptions {
  /**
   * The number of processes that lease the same key: each takes at most its share of what is left. The
   * default is 1.
   */
  processes?: number | undefined
  /**
   * The time for which a block of units may be spent, in milliseconds. What is left then is given back.
   * The default is 100.
   */
  intervalMs?: number | undefined
}

/** Round trips that a Lease made and saved. */
export interface LeaseCounters {
  /** The number of requests that were granted out of a block, without a round trip. */
  leased: number
  /** The number of requests for which Redis was asked. */
  asked: number
  /** The number of blocks that were asked for, by a round trip each in the background. */
  taken: number
  /** The number of blocks that were settled, by a round trip each in the background. */
  settled: number
}

/** Units that were taken, and that may be spent until `until`. */
interface Block {
  readonly id: string
  readonly decision: Decision
  readonly until: number
  left: number
  used: number
}

/** The least units of a block. Fewer are not worth its two round trips. */
const LEAST = 10

/** The number of blocks after which the lease looks again whether the limits of the key can be leased. */
const BLOCKS_A_LOOK = 10

/**
 * Takes the units of a busy key in blocks, in the background, and spends them without
 * asking: for limits of many units that one process uses many times a second.
 *
 * A block has as many units as were asked for in the last interval, and never more than
 * `remaining / (2 × processes)` of what the server last said. It is taken by RL.RESERVE
 * PARTIAL, may be spent for one interval from when it was asked for, and then RL.COMMIT gives
 * the rest of exactly this block back. Where no block has the units of a request, `limiter.acquire` asks
 * for it, with its fallback and its memory. It also asks for critical requests.
 *
 * What is promised:
 *
 * - Grants keep what the limit promises (S1 of sliding limits): a unit is charged before it
 *   is spent, never after.
 * - Use in a period is at most `count` plus what was out on lease when the period began:
 *   at most one interval's blocks of each process.
 * - A process that dies keeps its block charged, and nothing is granted twice.
 * - For up to an interval a process spends what it has although an operator has blocked the
 *   key, or pinned other limits.
 *
 * Requests that are granted out of a block count as granted when the block is taken, as one
 * request: RL.STATS and RL.TOP count blocks. So a limit with `per=call`, which counts requests,
 * cannot be leased: RL.QUOTA is asked before the first block and after each ten, and where such a
 * limit holds, by a policy or a pin too, each request is asked for.
 */
export class Lease {
  readonly counters: LeaseCounters = { leased: 0, asked: 0, taken: 0, settled: 0 }
  readonly #processes: number
  readonly #intervalMs: number
  readonly #now: () => number
  #blocks: Block[] = []
  #taking: Promise<void> | undefined
  readonly #settling = new Set<Promise<void>>()
  #isClosed = false
  /** The time before which no block is asked for, because one was refused. */
  #restsUntil = -Infinity
  #isWarned = false
  /** The number of blocks that may be taken before the lease looks again at the limits that hold. */
  #blocksToLook = 0
  /** The units that remained by the server's last answer; undefined before it was asked. */
  #remaining: number | undefined
  // The begin of the interval that runs, and the units that were asked for in it and in the one before.
  #began: number
  #current = 0
  #previous = 0

  /** @param now milliseconds of a clock that never steps back */
  constructor(
    readonly limiter: Limiter,
    readonly key: string,
    readonly limits: Limits = '*',
    { processes = 1, intervalMs = 100 }: LeaseOptions = {},
    now: () => number = () => performance.now(),
  ) {
    checkAsker('limiter', limiter, 'a Limiter')
    checkText('key', key)
    checkText('limits', limits)
    checkWhole('processes', processes, 1, Infinity)
    checkMs('intervalMs', intervalMs, 1)
    if (/:\s*per=call/i.test(limits)) {
      throw new TypeError(
        `a limit with per=call counts requests, and cannot be leased: use limiter.acquire for '${limits}'`,
      )
    }
    this.#processes = processes
    this.#intervalMs = intervalMs
    this.#now = now
    this.#began = now()
  }

  /** Takes `cost` units out of a block where there is one, else from the server. */
  async acquire(cost = 1, options: Pick<AcquireOptions, 'critical' | 'signal'> = {}): Promise<Decision> {
    options.signal?.throwIfAborted()
    checkUnits('cost', cost)
    const now = this.#now()
    this.#note(cost, now)
    this.#drop(now)
    const leased = options.critical ? undefined : this.#spend(cost)
    if (leased) {
      this.counters.leased += 1
      counted('leased')
      this.#takeSoon()
      return leased
    }
    this.counters.asked += 1
    const decision = await this.limiter.acquire(this.key, this.limits, { ...options, cost })
    if (decision.source === 'redis') {
      this.#remaining = decision.remaining
      if (decision.granted) this.#takeSoon()
    }
    return decision
  }

  /** Gives back the units that are left. From now on each request asks Redis. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#taking
    await Promise.all([...this.#settling, ...this.#blocks.splice(0).map((block) => this.#settle(block))])
  }

  /** The number of units that may be spent without asking. */
  get left(): number {
    this.#drop(this.#now())
    return this.#blocks.reduce((sum, { left }) => sum + left, 0)
  }

  /** Spends units of the blocks that end first, or nothing where all blocks have too few. */
  #spend(cost: number): Decision | undefined {
    if (this.#blocks.reduce((sum, { left }) => sum + left, 0) < cost) return undefined
    let missing = cost
    let last: Block | undefined
    for (const block of this.#blocks) {
      if (missing === 0) break
      const part = Math.min(missing, block.left)
      block.left -= part
      block.used += part
      missing -= part
      last = block
    }
    if (!last) return undefined
    const { limit, remaining, resetAfterMs, index } = last.decision
    const left = remaining < 0 ? remaining : remaining + last.left
    return { granted: cost, limit, remaining: left, retryAfterMs: 0, resetAfterMs, index, source: 'lease' }
  }

  /** Settles the blocks whose interval is over, and those that are spent. */
  #drop(now: number): void {
    const over = this.#blocks.filter(({ left, until }) => left === 0 || now >= until)
    if (over.length === 0) return
    this.#blocks = this.#blocks.filter((block) => !over.includes(block))
    for (const block of over) {
      const settling: Promise<void> = this.#settle(block).finally(() => this.#settling.delete(settling))
      this.#settling.add(settling)
    }
  }

  #note(cost: number, now: number): void {
    const intervals = Math.floor((now - this.#began) / this.#intervalMs)
    if (intervals > 0) {
      this.#previous = intervals === 1 ? this.#current : 0
      this.#current = 0
      this.#began += intervals * this.#intervalMs
    }
    this.#current += cost
  }

  /** The units that were asked for in the last interval, and at most this process' share of what remains. */
  #wanted(now: number): number {
    const passed = Math.min(1, (now - this.#began) / this.#intervalMs)
    const recent = this.#previous * (1 - passed) + this.#current
    const remaining = this.#remaining ?? 0
    const share = remaining < 0 ? Infinity : remaining / (2 * this.#processes)
    return Math.floor(Math.min(recent, share))
  }

  /** Takes a block where less is left than half of the units that the next interval needs. */
  #takeSoon(): void {
    if (this.#taking || this.#isClosed) return
    const now = this.#now()
    if (now < this.#restsUntil) return
    const wanted = this.#wanted(now)
    if (wanted < LEAST || this.left > wanted / 2) return
    const taking = this.#blocksToLook === 0 ? this.#look() : this.#take(wanted, now)
    this.#taking = taking.catch((error) => this.#rest(error)).finally(() => (this.#taking = undefined))
  }

  /** Throws where a limit that holds counts requests, whoever set it. */
  async #look(): Promise<void> {
    const command: Command = ['RL.QUOTA', this.key, this.limits, 'HEADERS']
    const headers = new Map(pairs((await this.limiter.server.ask(command, { key: this.key })) ?? []))
    if (text(headers.get('RateLimit-Policy') ?? '').includes(';qu="requests"')) {
      throw new Error('a limit with per=call holds, which counts requests')
    }
    this.#blocksToLook = BLOCKS_A_LOOK
  }

  /** Leases nothing for a while, and logs the reason once. */
  #rest(error: unknown): void {
    const { server } = this.limiter
    this.#restsUntil = this.#now() + Math.max(this.#intervalMs, server.restMs)
    if (error instanceof Away || this.#isWarned) return
    this.#isWarned = true
    const reason = error instanceof Error ? error.message : String(error)
    server.warn(`floodgate: nothing is leased of '${this.key}', each request is asked for: ${reason}`)
  }

  async #take(wanted: number, asked: number): Promise<void> {
    const { server } = this.limiter
    const id = randomUUID()
    // The block is held until the last answer may have come and the block is settled.
    const ttl = `${Math.ceil(this.#intervalMs + 4 * server.timeoutMs)}ms`
    const late = () => void server.giveBackLate(['RL.RELEASE', id, 1, this.key], this.key)
    this.counters.taken += 1
    this.#blocksToLook -= 1
    const reply = await server.ask(
      ['RL.RESERVE', 1, this.key, this.limits, 'COST', wanted, 'TTL', ttl, 'ID', id, 'PARTIAL'],
      { key: this.key, late },
    )
    const [taken, sixes] = list(reply)
    const decision = decisionOf(list(sixes)[0])
    this.#remaining = decision.remaining
    if (taken === null || taken === undefined) {
      this.#restsUntil = this.#now() + this.#intervalMs
      return
    }
    const block = {
      id,
      decision,
      until: asked + this.#intervalMs,
      left: decision.granted,
      used: 0,
    }
    if (this.#isClosed) return this.#settle(block)
    this.#blocks.push(block)
    setTimeout(() => this.#drop(this.#now()), this.#intervalMs).unref()
  }

  async #settle({ id, used }: Block): Promise<void> {
    this.counters.settled += 1
    await this.limiter.server.finish(['RL.COMMIT', id, 1, this.key, 'COST', used], this.key)
    this.limiter.forget(this.key)
  }
}
