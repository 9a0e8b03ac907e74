import { setTimeout as sleep } from 'node:timers/promises'
import { checkMs, checkWait, checkWhole } from './checks.js'
import { whenAborted } from './aborts.js'
import { adapterOf } from './adapters.js'
import type { Adapter, Command, RedisClient } from './client.js'
import type { Connections } from './connections.js'
import {
  Away,
  Closed,
  Misconfigured,
  cannotDecide,
  inabilityOf,
  isOnItsWay,
  isReply,
  messageOf,
  wrongBy,
} from './errors.js'
import { Health, type Outage } from './health.js'
import { patience } from './patience.js'
import { integer } from './reply.js'
import { Waiting } from './waiting.js'

export { Away, Closed, Misconfigured }

/** A logger: it is told that Redis is away, and that Redis is back. */
export interface Logger {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** The options of a Server. */
export interface ServerOptions {
  /** The time in which Redis must answer, in milliseconds. The default is 250. */
  timeoutMs?: number | undefined
  /**
   * The time for which Redis is not asked after a failure, in milliseconds, give or take a half. The
   * default is 1000.
   */
  restMs?: number | undefined
  /**
   * The number of requests that may wait in line at a time, those of caches among them: each has a
   * connection of its own. Further requests do not wait. The default is 64.
   */
  maxWaiters?: number | undefined
  /** The logger. The default is `console`; with `null` nothing is logged. */
  logger?: Logger | null | undefined
}

/** How a question is asked. */
export interface Question {
  /** The first key of the command, by which a cluster is asked. */
  key?: string | undefined
  /** Called with an answer that came when nobody waited for it any more. */
  late?: ((answer: unknown) => void) | undefined
  /** How what a command that waits has taken is given back, if its answer is lost. */
  undo?: Undo | undefined
  signal?: AbortSignal | undefined
}

/** Gives back what a command took. */
export interface Undo {
  /** The reply to this command is 0 where nothing was taken. */
  command: Command
  /** Whether this answer says that something is taken, which is not to be given back. */
  took(answer: unknown): boolean
}

const aborted = (signal: AbortSignal) => signal.reason as unknown

/**
 * Redis, asked with little patience, whatever the client that was passed in
 * would wait for.
 *
 * After a failure it is not asked for `restMs`, and then by one request for all:
 * an outage costs one request its timeout, not each of them. Each node of a cluster has
 * outages of its own.
 */
export class Server {
  static readonly #known = new WeakMap<RedisClient, Server>()

  readonly timeoutMs: number
  readonly restMs: number
  readonly #adapter: Adapter
  readonly #logger: Logger | null
  /** What shows that this process was set up right. */
  readonly #shown = new Set<'anything answered' | 'the module answered'>()
  /** By the server that has the key; of a cluster by its address. */
  readonly #health = new Map<string, Health>()
  readonly #waiting = new Set<Waiting>()
  #freeWaiters: number

  constructor(client: RedisClient, options: ServerOptions = {}) {
    const { timeoutMs = 250, restMs = 1000, maxWaiters = 64, logger = console } = options
    checkMs('timeoutMs', timeoutMs, 1)
    checkMs('restMs', restMs)
    checkWhole('maxWaiters', maxWaiters, 0, Infinity)
    this.#adapter = adapterOf(client)
    this.timeoutMs = timeoutMs
    this.restMs = restMs
    this.#freeWaiters = maxWaiters
    this.#logger = logger
  }

  /** The Server of a client. All who use that client share it, and find out together that Redis is away. */
  static of(client: RedisClient | Server): Server {
    if (client instanceof Server) return client
    let server = Server.#known.get(client)
    if (!server) Server.#known.set(client, (server = new Server(client)))
    return server
  }

  /**
   * Asks Redis once, for the start of a service, so that a wrong password does not look like an outage.
   * It throws Misconfigured where requests would, and Away while Redis is away.
   */
  async check(): Promise<void> {
    try {
      await this.ask(['RL.HELP'])
    } catch (error) {
      // The user need not have the right to this command. Redis knows it, and that is enough.
      if (!(error instanceof Misconfigured && error.message.startsWith('NOPERM'))) throw error
    }
  }

  /** Asks Redis and gives its answer. It throws Away, Misconfigured, or the server's own error. */
  ask(command: Command, question: Question = {}): Promise<unknown> {
    return this.#gate(command[0], question, (health) => this.#send(command, question, health))
  }

  /**
   * Asks several commands on one key, in their order and in one round trip where the client can, and
   * gives what came of each. After one that fails the rest may not be asked.
   */
  async askInTurn(commands: Command[], question: Question): Promise<PromiseSettledResult<unknown>[]> {
    if (this.#adapter.ordered) {
      return Promise.allSettled(commands.map((command) => this.ask(command, question)))
    }
    const came: PromiseSettledResult<unknown>[] = []
    for (const command of commands) {
      const [one] = await Promise.allSettled([this.ask(command, question)])
      came.push(one)
      if (one.status === 'rejected') break
    }
    return came
  }

  /** Whether the client can open a connection for a command that waits. */
  get canWait(): boolean {
    return this.#adapter.own !== undefined
  }

  /** What the client puts before each key: what a pattern of keys begins with. */
  get prefix(): string {
    return this.#adapter.prefix
  }

  /** Whether SCAN sees all keys: not on a cluster. */
  get walks(): boolean {
    return this.#adapter.walks
  }

  /** The outage of the server that has the key; none while that server decides. */
  outage(key: string | undefined): Outage | undefined {
    return this.#healthOf(key).outage
  }

  /** Tells the logger. */
  warn(message: string): void {
    this.#logger?.warn(message)
  }

  /** The number of further requests that may wait. */
  get freeWaiters(): number {
    return this.#freeWaiters
  }

  /**
   * Asks a command that waits, and gives its answer. A request whose signal is aborted leaves the line.
   * When too many wait already, the command is asked without waiting. It throws Closed when the client
   * or this Server is closed meanwhile.
   */
  async wait(command: Command, waitMs: number, question: Question = {}): Promise<unknown> {
    const { signal } = question
    const { own } = this.#adapter
    checkWait(waitMs)
    if (!own) {
      throw new TypeError(
        'waiting needs a connection of its own: pass a client of ioredis, or createClient of redis',
      )
    }
    if (this.#freeWaiters <= 0 || own.isClosed) return this.ask(command, question)
    signal?.throwIfAborted()
    this.#freeWaiters -= 1
    try {
      return await this.#gate(command[0], question, (health) =>
        this.#waitOn(own, command, waitMs, question, health),
      )
    } finally {
      this.#freeWaiters += 1
    }
  }

  /**
   * Reports the result of the work, and says whether the server refuses the report. It never
   * rejects, because the work counts more than the report. What could not be reported ends with
   * its lease or its TTL.
   */
  async finish(command: Command, key: string): Promise<boolean> {
    try {
      await this.ask(command, { key })
      return false
    } catch (error) {
      if (error instanceof Away) return false
      this.warn(`floodgate: ${command[0]} failed: ${messageOf(error)}`)
      return true
    }
  }

  /**
   * Closes the connections on which requests wait: those requests throw Closed. The client that was
   * passed in stays open. When that client is closed, this happens by itself.
   */
  close(): void {
    for (const waiting of [...this.#waiting]) {
      waiting.leave(new Closed('the server was closed while a request waited'))
    }
    this.#adapter.own?.closeFree()
  }

  /** The health of the server that has the key, as far as the client knows. */
  #healthOf(key: string | undefined): Health {
    const owner = (key === undefined ? undefined : this.#adapter.owner?.(key)) ?? ''
    let health = this.#health.get(owner)
    if (!health) {
      health = new Health(nameOf(owner), this.restMs, this.#logger)
      this.#health.set(owner, health)
    }
    return health
  }

  #send(command: Command, { key, late, signal }: Question, health: Health): Promise<unknown> {
    const over = new AbortController()
    let heard = health.answers
    const hears = () => {
      const before = heard
      heard = health.answers
      return heard > before
    }
    const answer = this.#adapter.send(command, key, over.signal)
    return new Promise((resolve, reject) => {
      let isOver = false
      const end = () => {
        isOver = true
        stop()
        forget()
      }
      // Who asked has gone, and Redis has its time all the same: else nobody whose own patience is
      // shorter would find out that it is away.
      const abort = () => {
        isOver = true
        over.abort()
        reject(aborted(signal!))
      }
      const asked = health.answers
      const giveUp = () => {
        const silence = new Error(`no answer within ${this.timeoutMs} ms`)
        if (isOver && health.answers === asked) this.#judged(command[0], silence, health, key)
        end()
        over.abort()
        reject(silence)
      }
      const stop = patience(this.timeoutMs, giveUp, hears)
      const forget = whenAborted(signal, abort)
      if (signal?.aborted) abort()
      const answered = answer.then(
        (value) => {
          health.answers += 1
          this.#adapter.trouble?.over()
          if (isOver) {
            // Redis answers, and too late: it rests all the same, or each request would wait in vain.
            stop()
            return late?.(value)
          }
          end()
          resolve(value)
        },
        (error: unknown) => {
          if (isReply(error)) health.answers += 1
          if (isOver) return // silence is judged when its time is over
          end()
          reject(error)
        },
      )
      answered.catch((error: unknown) => this.warn(`floodgate: ${command[0]}: ${messageOf(error)}`))
    })
  }

  async #waitOn(
    own: Connections,
    command: Command,
    waitMs: number,
    question: Question,
    health: Health,
  ): Promise<unknown> {
    const { key, undo, signal } = question
    const before = health.outage
    const waiting = new Waiting(own, this.timeoutMs)
    this.#waiting.add(waiting)
    try {
      return await waiting.answer(command, key, waitMs, signal)
    } catch (error) {
      const isLost = waiting.isSent && !isReply(error)
      const isTheirs = waiting.isSent && isReply(error) && !cannotDecide(error) && !wrongBy(error)
      const hasLeft = signal?.aborted || error instanceof Closed
      const isFoundAway = health.outage !== undefined && health.outage !== before
      if (!isTheirs && !hasLeft && !isFoundAway) {
        return await this.#askInstead(command, question, health, isLost)
      }
      if (isLost && undo) void this.#giveBack(undo.command, key)
      // Else nobody whose own patience is shorter would find out that Redis is away.
      if (signal?.aborted && !waiting.isSent) this.#look(key)
      throw isFoundAway && !isTheirs && !hasLeft ? new Away(messageOf(error), { cause: error }) : error
    } finally {
      this.#waiting.delete(waiting)
    }
  }

  /**
   * Asks by the client itself, without waiting, after the connection on which a request waited has
   * failed: it may have been refused or have gone silent alone. Only where the client fails, too,
   * is Redis away.
   */
  async #askInstead(command: Command, question: Question, health: Health, isLost: boolean): Promise<unknown> {
    const { key, undo } = question
    let isTaken = false
    try {
      const answer = await this.#send(command, question, health)
      isTaken = undo?.took(answer) ?? false
      return answer
    } finally {
      if (isLost && undo && !isTaken) void this.#giveBack(undo.command, key)
    }
  }

  /** Looks whether Redis answers, for those who ask later. */
  #look(key: string | undefined): void {
    if (key !== undefined) this.ask(['RL.QUOTA', key], { key }).catch(() => {})
  }

  /**
   * Gives back what was granted too late. Redis is asked even while it rests: it has just answered.
   * What this fails to give back ends with its lease or its TTL.
   */
  async giveBackLate(command: Command, key: string): Promise<void> {
    try {
      await this.#adapter.send(command, key, new AbortController().signal)
    } catch (error) {
      if (isReply(error) && !cannotDecide(error))
        this.warn(`floodgate: ${command[0]} failed: ${messageOf(error)}`)
    }
  }

  /**
   * Gives back what a command took whose answer is lost. Twice where it took nothing: the server
   * may find later that the connection is closed, and have granted the request in between.
   * Redis is asked even while it rests: one that hangs does it when it goes on.
   */
  async #giveBack(undo: Command, key: string | undefined): Promise<void> {
    const never = new AbortController().signal
    try {
      if (integer(await this.#adapter.send(undo, key, never)) > 0) return
      await sleep(this.timeoutMs)
      await this.#adapter.send(undo, key, never)
    } catch {
      // Its TTL settles it.
    }
  }

  async #gate(
    name: string,
    { key, signal, late }: Question,
    question: (health: Health) => Promise<unknown>,
  ): Promise<unknown> {
    signal?.throwIfAborted()
    const health = this.#healthOf(key)
    health.turn(name)
    try {
      const answer = await question(health)
      // It came while its asker went.
      if (signal?.aborted) late?.(answer)
      signal?.throwIfAborted()
      this.#found(name, key)
      return answer
    } catch (error) {
      if (signal?.aborted) throw aborted(signal)
      if (error instanceof Away || error instanceof Closed || error instanceof Misconfigured) throw error
      throw this.#judged(name, error, health, key)
    }
  }

  /** What an error means: an outage, a mistake of who set things up, or the server's word on the command. */
  #judged(name: string, told: unknown, health: Health, key: string | undefined): unknown {
    // Who is not connected hears nothing: why not, the connection says.
    const error = isReply(told) ? told : (this.#adapter.trouble?.last ?? told)
    const wrong = wrongBy(error)
    // What was right before is an outage: a server that came back without its module.
    const shownBy = wrong?.shownBy ?? (error === told ? undefined : 'anything answered')
    if (wrong && !(shownBy && this.#shown.has(shownBy))) {
      health.awake(name)
      return new Misconfigured(`${messageOf(error).trim()}: ${wrong.wayOut}`, { cause: error })
    }
    if (!wrong && !cannotDecide(error)) {
      this.#found(name, key)
      return isOnItsWay(error) ? new Away(messageOf(error), { cause: error }) : error
    }
    health.lost(error, inabilityOf(error), key)
    // They may be connections to a server that has vanished, on which nothing is ever heard again.
    this.#adapter.own?.closeFree()
    return new Away(messageOf(error), { cause: error })
  }

  #found(name: string, key: string | undefined): void {
    // Not the one that was asked: the client may have found another node meanwhile that has the key.
    const health = this.#healthOf(key)
    this.#shown.add('anything answered')
    if (/^(RL|CB)\./.test(name)) this.#shown.add('the module answered')
    health.found(name)
    // Where a node answers, the cluster as a whole is not away.
    const whole = this.#healthOf(undefined)
    if (whole === health) return
    whole.found(name)
    this.#forgetReplaced(health)
  }

  /** Of a node of a cluster that is away, and whose keys another node has by now, which has answered. */
  #forgetReplaced(by: Health): void {
    for (const [owner, health] of this.#health) {
      const key = health.outage?.key
      if (health === by || key === undefined || this.#healthOf(key) !== by) continue
      health.replaced(by.name)
      this.#health.delete(owner)
    }
  }
}

const nameOf = (owner: string) => (owner ? `Redis at ${owner}` : 'Redis')
