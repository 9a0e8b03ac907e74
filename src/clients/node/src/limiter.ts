import { checkList, checkObject, checkText, checkUnits, checkWait } from './checks.js'
import type { Command, RedisClient } from './client.js'
import { decisionOf, longestDenial, retryAfterSeconds, type Decision } from './decision.js'
import { DenialMemory } from './denials.js'
import { Away, messageOf } from './errors.js'
import { FailOpen, type Fallback } from './fallback.js'
import { integer, list, pairs, text } from './reply.js'
import { Server } from './server.js'
import { decisions as counted } from './telemetry.js'

/** Limits as the server reads them, such as `10/s,1000/h`; `*` are those that the server has for the key. */
export type Limits = string

/** The options of a Limiter. */
export interface LimiterOptions {
  /** The fallback, which decides while Redis is away. The default is FailOpen. */
  fallback?: Fallback | undefined
  /** Whether a denial is remembered until its retry time, at most for a second. The default is true. */
  rememberDenials?: boolean | undefined
}

/** The options of `limiter.acquire` and of its kin. */
export interface AcquireOptions {
  /** The number of units to take. The default is 1. */
  cost?: number | undefined
  /** Whether the request takes what is left, at least one unit, where `cost` is more. */
  partial?: boolean | undefined
  /** Whether the request may use the part that `keep=` keeps. Such a request always asks Redis. */
  critical?: boolean | undefined
  /** Whether the server keeps statistics of the key (RL.STATS). */
  track?: boolean | undefined
  /** A signal that ends the request when it is aborted. */
  signal?: AbortSignal | undefined
}

/** The options of `limiter.charge`. */
export interface ChargeOptions {
  /** Whether the server keeps statistics of the key (RL.STATS). */
  track?: boolean | undefined
  /** A signal that ends the request when it is aborted. */
  signal?: AbortSignal | undefined
}

/** One request of `limiter.batch`. */
export interface BatchItem {
  key: string
  limits?: Limits | undefined
  cost?: number | undefined
}

/** How one limit of a key stands. */
export interface LimitStatus {
  name: string
  algorithm: string
  limit: number
  used: number
  remaining: number
  periodMs: number
  retryAfterMs: number
  resetAfterMs: number
  resetAtMs: number
  shadow: boolean
  source: string
}

/** How a key stands. */
export interface Quota {
  rows: LimitStatus[]
  /** An operator's block, while there is one. An `untilMs` of -1 means for ever. */
  blocked?: { untilMs: number; reason: string }
}

/** Round trips that a Limiter made and saved. */
export interface Counters {
  /** The number of decisions that the server made. */
  redis: number
  /** The number of denials that were remembered, without a round trip. */
  memory: number
  /** The number of decisions of the fallback. */
  fallback: number
}

/** Takes units from limits that all processes share. */
export class Limiter {
  readonly server: Server
  readonly fallback: Fallback
  readonly counters: Counters = { redis: 0, memory: 0, fallback: 0 }
  readonly #denials: DenialMemory | undefined

  constructor(client: RedisClient | Server, { fallback, rememberDenials = true }: LimiterOptions = {}) {
    this.server = Server.of(client)
    this.fallback = fallback ?? new FailOpen()
    this.#denials = rememberDenials ? new DenialMemory() : undefined
  }

  /** Takes `cost` units from every limit, or from none. */
  async acquire(key: string, limits: Limits = '*', options: AcquireOptions = {}): Promise<Decision> {
    check(key, limits, options.cost)
    options.signal?.throwIfAborted()
    const remembered = this.#remembered(key, limits, options)
    if (remembered) return remembered.decision
    return this.#orFallback(key, options, async () => {
      const { signal } = options
      const asked = this.#denials?.now() ?? 0
      const decision = decisionOf(
        await this.server.ask(acquireCommand(key, limits, options), { key, signal }),
      )
      this.#note(key, limits, options, decision, asked)
      return decision
    })
  }

  /**
   * Does as `acquire`, but waits in the key's queue for up to `waitMs`, first come first served. It throws the
   * server's error where `waitMs` is more than the server's setting `wait-max` (30 s), and Closed when
   * the client is closed meanwhile.
   */
  async wait(
    key: string,
    limits: Limits = '*',
    waitMs: number,
    options: Omit<AcquireOptions, 'partial'> = {},
  ): Promise<Decision> {
    check(key, limits, options.cost)
    checkWait(waitMs)
    return this.#orFallback(key, options, async () =>
      decisionOf(
        await this.server.wait(acquireCommand(key, limits, options), waitMs, {
          key,
          signal: options.signal,
        }),
      ),
    )
  }

  /**
   * Does as `acquire`, and gives the headers for the HTTP response, too, in one round trip. Where Redis
   * decides and then gives no headers, the decision holds.
   */
  async acquireWithHeaders(
    key: string,
    limits: Limits = '*',
    options: AcquireOptions = {},
  ): Promise<{ decision: Decision; headers: Record<string, string> }> {
    check(key, limits, options.cost)
    options.signal?.throwIfAborted()
    const remembered = this.#remembered(key, limits, options)
    let headers = remembered?.headers
    let decision = headers && remembered?.decision
    decision ??= await this.#orFallback(key, options, async () => {
      const asked = this.#denials?.now() ?? 0
      const commands = [acquireCommand(key, limits, options), quotaCommand(key, limits, 1, 'HEADERS')]
      const [six, map] = await this.server.askInTurn(commands, { key, signal: options.signal })
      const decided = decisionOf(valueOf(six))
      headers = unlessAway(map)
      this.#note(key, limits, options, decided, asked, headers)
      return decided
    })
    const { 'Retry-After': _ofTheNextRequest, ...sent } = headers ?? {}
    const seconds = decision.granted ? undefined : retryAfterSeconds(decision)
    return {
      decision,
      headers: seconds === undefined ? sent : { ...sent, 'Retry-After': String(seconds) },
    }
  }

  /** Takes units for many requests in one atomic step: for each on its own, or for all or none. */
  async batch(how: 'ALL' | 'EACH', items: BatchItem[], { critical = false } = {}): Promise<Decision[]> {
    if (how !== 'ALL' && how !== 'EACH') throw new TypeError(`how is ${String(how)}: it must be ALL or EACH`)
    checkList('items', items)
    items.forEach((item, i) => {
      checkObject(`items[${i}]`, item)
      check(item.key, item.limits, item.cost, `items[${i}].`)
    })
    if (items.length === 0) return []
    const words = items.flatMap(({ key, limits = '*', cost = 1 }) => [key, limits, cost])
    const command: Command = ['RL.BATCH', how, items.length, ...words, ...(critical ? ['CRITICAL'] : [])]
    try {
      const decisions = list(await this.server.ask(command, { key: items[0]!.key })).map((six) =>
        decisionOf(six),
      )
      this.counters.redis += decisions.length
      for (const { granted } of decisions) counted(granted ? 'granted' : 'denied')
      return decisions
    } catch (error) {
      if (!(error instanceof Away)) throw error
      this.counters.fallback += items.length
      counted('fallback', items.length)
      return how === 'EACH' ? this.#eachByFallback(items) : this.#allByFallback(items)
    }
  }

  /**
   * Charges what was used already, whatever is left, blocked or closed: beyond the limit it is debt,
   * at most one capacity. The decision says how the key stands for one unit more. While Redis
   * is away the fallback is asked, as by acquire.
   */
  async charge(
    key: string,
    limits: Limits = '*',
    units: number,
    { track, signal }: ChargeOptions = {},
  ): Promise<Decision> {
    check(key, limits)
    checkUnits('units', units)
    const words = [key, ...(limits === '*' ? [] : [limits]), 'COST', units, ...(track ? ['TRACK'] : [])]
    try {
      return decisionOf(await this.server.ask(['RL.CHARGE', ...words], { key, signal }))
    } catch (error) {
      if (!(error instanceof Away)) throw error
      return this.decideAlone(key, { cost: units })
    }
  }

  /**
   * Undoes a grant: gives up to `units` back, the newest first, on the limits that are named, else
   * on those of the key's last grant. Replies how many; 0 while Redis is away.
   */
  async refund(key: string, units: number, limits?: Limits): Promise<number> {
    check(key, limits)
    checkUnits('units', units)
    this.forget(key)
    const named = limits === undefined ? [] : [limits]
    try {
      return integer(await this.server.ask(['RL.REFUND', key, units, ...named], { key }))
    } catch (error) {
      if (!(error instanceof Away)) throw error
      this.#refundAlone(key, units)
      return 0
    } finally {
      this.forget(key)
    }
  }

  /** Forgets what the server has denied of a key: after you gave back units of it by other means. */
  forget(key: string): void {
    this.#denials?.forget(key)
  }

  /** Has the fallback decide on a request, where Redis is away. */
  decideAlone(key: string, { cost = 1, partial = false }: AcquireOptions = {}): Decision {
    this.counters.fallback += 1
    counted('fallback')
    return this.fallback.acquire(key, cost, partial)
  }

  /**
   * Tells how the limits of a key stand, and takes nothing. The answer is undefined where nothing says
   * which limits the key has.
   */
  async quota(key: string, limits?: Limits, { cost = 1 } = {}): Promise<Quota | undefined> {
    check(key, limits, cost)
    const reply = await this.server.ask(quotaCommand(key, limits, cost), { key })
    return reply === null ? undefined : quotaOf(reply)
  }

  /**
   * Tells how the limits of a key stand as headers for an HTTP response. While Redis is away there are
   * none.
   */
  async headers(key: string, limits?: Limits, { cost = 1 } = {}): Promise<Record<string, string>> {
    check(key, limits, cost)
    try {
      return headersOf(await this.server.ask(quotaCommand(key, limits, cost, 'HEADERS'), { key }))
    } catch (error) {
      if (!(error instanceof Away)) throw error
      return {}
    }
  }

  async #orFallback(key: string, options: AcquireOptions, ask: () => Promise<Decision>): Promise<Decision> {
    try {
      const decision = await ask()
      this.counters.redis += 1
      counted(decision.granted ? 'granted' : 'denied')
      return decision
    } catch (error) {
      if (!(error instanceof Away)) throw error
      return this.decideAlone(key, options)
    }
  }

  #remembered(key: string, limits: Limits, { critical, partial, cost = 1 }: AcquireOptions) {
    if (critical) return undefined
    const remembered = this.#denials?.find(key, limits, partial ? 1 : cost)
    if (!remembered) return undefined
    this.counters.memory += 1
    counted('remembered')
    return remembered
  }

  #note(
    key: string,
    limits: Limits,
    { critical, partial, cost = 1 }: AcquireOptions,
    decision: Decision,
    asked: number,
    headers?: Record<string, string>,
  ) {
    if (!critical) this.#denials?.note(key, limits, partial ? 1 : cost, decision, asked, headers)
  }

  #eachByFallback(items: BatchItem[]): Decision[] {
    return items.map(({ key, cost = 1 }) => this.fallback.acquire(key, cost))
  }

  /** Gives units back to the fallback. The logger is told what that throws: the answer counts more. */
  #refundAlone(key: string, units: number): void {
    try {
      this.fallback.refund?.(key, units)
    } catch (error) {
      this.server.warn(`floodgate: the fallback took no units of '${key}' back: ${messageOf(error)}`)
    }
  }

  #allByFallback(items: BatchItem[]): Decision[] {
    const decisions = this.#eachByFallback(items)
    const longest = longestDenial(decisions.filter(({ granted }) => !granted))
    if (!longest) return decisions
    return decisions.map((decision, i) => {
      if (!decision.granted) return decision
      this.#refundAlone(items[i]!.key, decision.granted)
      return { ...decision, granted: 0, retryAfterMs: longest.retryAfterMs, index: -3 }
    })
  }
}

function check(key: unknown, limits: unknown = '*', cost: unknown = 1, of = ''): void {
  checkText(`${of}key`, key)
  checkText(`${of}limits`, limits)
  checkUnits(`${of}cost`, cost)
}

function acquireCommand(
  key: string,
  limits: Limits,
  { cost = 1, partial, critical, track }: AcquireOptions,
): Command {
  const flags = [
    ...(partial ? ['PARTIAL'] : []),
    ...(critical ? ['CRITICAL'] : []),
    ...(track ? ['TRACK'] : []),
  ]
  return ['RL.ACQUIRE', key, limits, 'COST', cost, ...flags]
}

function quotaCommand(key: string, limits: Limits | undefined, cost: number, ...flags: string[]): Command {
  return [
    'RL.QUOTA',
    key,
    ...(limits === undefined || limits === '*' ? [] : [limits]),
    'COST',
    cost,
    ...flags,
  ]
}

/** Gives the answer of a command, or throws its error. */
function valueOf(came: PromiseSettledResult<unknown> | undefined): unknown {
  if (came?.status === 'fulfilled') return came.value
  throw came?.reason
}

/** Gives the headers. There are none where the server was away before it gave them. */
function unlessAway(came: PromiseSettledResult<unknown> | undefined): Record<string, string> | undefined {
  if (came?.status === 'rejected' && came.reason instanceof Away) return undefined
  return headersOf(valueOf(came))
}

function headersOf(reply: unknown): Record<string, string> {
  return Object.fromEntries(pairs(reply ?? []).map(([name, value]) => [name, text(value)]))
}

/** Reads the reply of RL.QUOTA: a map for each limit, and a map `blocked` while the key is blocked. */
export function quotaOf(reply: unknown): Quota {
  const quota: Quota = { rows: [] }
  for (const item of list(reply)) {
    const fields = new Map(pairs(item))
    const blocked = fields.get('blocked')
    if (blocked !== undefined) {
      const block = new Map(pairs(blocked))
      quota.blocked = { untilMs: integer(block.get('until')), reason: text(block.get('reason') ?? '') }
      continue
    }
    const number = (name: string) => integer(fields.get(name))
    const string = (name: string) => text(fields.get(name) ?? '')
    quota.rows.push({
      name: string('name'),
      algorithm: string('algorithm'),
      limit: number('limit'),
      used: number('used'),
      remaining: number('remaining'),
      periodMs: number('period_ms'),
      retryAfterMs: number('retry_after_ms'),
      resetAfterMs: number('reset_after_ms'),
      resetAtMs: number('reset_at_ms'),
      shadow: number('shadow') !== 0,
      source: string('source'),
    })
  }
  return quota
}
