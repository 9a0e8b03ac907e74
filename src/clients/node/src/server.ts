import { setTimeout as sleep } from 'node:timers/promises'
import { checkMs, checkWait, checkWhole } from './checks.js'
import { adapterOf, type Adapter, type Command, type RedisClient } from './client.js'
import type { Connections, LentConnection } from './connections.js'
import {
  Away,
  Misconfigured,
  cannotDecide,
  cannotWrite,
  isOnItsWay,
  isReply,
  messageOf,
  wrongBy,
} from './errors.js'
import { Health, type Outage } from './health.js'
import { patience } from './patience.js'
import { integer } from './reply.js'

export { Away, Misconfigured }

/** Where it is logged that Redis is away, and that it is back: `console`, or a logger of yours. */
export interface Logger {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

export interface ServerOptions {
  /** How long an answer may take (250 ms): a limiter must not be what is slow. */
  timeoutMs?: number | undefined
  /** How long a server that failed is left alone (1 s), give or take a half. */
  restMs?: number | undefined
  /**
   * How many requests may wait in line at a time (64), those of caches among them: each has
   * a connection of its own. One more does not wait.
   */
  maxWaiters?: number | undefined
  /** `console` unless told; `null` tells nobody. */
  logger?: Logger | null | undefined
}

/** How a question is asked. */
export interface Question {
  /** The first key of the command, by which a cluster is asked. */
  key?: string | undefined
  /** Called with an answer that came when nobody waited for it any more. */
  late?: ((answer: unknown) => void) | undefined
  /**
   * Gives back what a command that waits has taken, if its answer is lost. The reply is 0
   * where it took nothing.
   */
  undo?: Command | undefined
  signal?: AbortSignal | undefined
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
  #freeWaiters: number
  #isClosed = false

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

  /** The server of a client, the same for all who use that client: they find out together that it is away. */
  static of(client: RedisClient | Server): Server {
    if (client instanceof Server) return client
    let server = Server.#known.get(client)
    if (!server) Server.#known.set(client, (server = new Server(client)))
    return server
  }

  /**
   * For the start of a service, so that a wrong password does not look like an outage. Throws
   * Misconfigured where requests would, and Away while Redis is away.
   */
  async check(): Promise<void> {
    try {
      await this.ask(['RL.HELP'])
    } catch (error) {
      // The user need not have the right to this command. Redis knows it, and that is enough.
      if (!(error instanceof Misconfigured && error.message.startsWith('NOPERM'))) throw error
    }
  }

  /** The answer. Throws Away, Misconfigured, or the server's own error. */
  ask(command: Command, question: Question = {}): Promise<unknown> {
    return this.#gate(command[0], question, (health) => this.#send(command, question, health))
  }

  /** The answers of commands on one key, in their order and in one round trip where the client can. */
  async askInTurn(commands: Command[], key: string): Promise<unknown[]> {
    if (this.#adapter.ordered) return Promise.all(commands.map((command) => this.ask(command, { key })))
    const answers = []
    for (const command of commands) answers.push(await this.ask(command, { key }))
    return answers
  }

  /** Whether its client has a connection of its own for a command that waits. */
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

  /** The one that lasts of the server that has the key; none while it decides. */
  outage(key: string | undefined): Outage | undefined {
    return this.#healthOf(key).outage
  }

  /** Tells the logger. */
  warn(message: string): void {
    this.#logger?.warn(message)
  }

  /** How many more may wait. */
  get freeWaiters(): number {
    return this.#freeWaiters
  }

  /**
   * The answer of a command that waits. Who stops waiting for it (aborts the
   * signal) leaves the line. When too many wait already it does not wait.
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
    if (this.#freeWaiters <= 0) return this.ask(command, question)
    signal?.throwIfAborted()
    this.#freeWaiters -= 1
    try {
      return await this.#gate(command[0], question, () => this.#waitOn(own, command, waitMs, question))
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
   * Closes the connections on which requests waited; the client that was passed in stays open.
   * They are closed without this when the client is closed.
   */
  close(): void {
    this.#isClosed = true
    this.#adapter.own?.close()
  }

  /** Of the server that has the key, as far as the client knows. */
  #healthOf(key: string | undefined): Health {
    const owner = (key === undefined ? undefined : this.#adapter.owner?.(key)) ?? ''
    let health = this.#health.get(owner)
    if (!health) {
      health = new Health(owner ? `Redis at ${owner}` : 'Redis', this.restMs, this.#logger)
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
        signal?.removeEventListener('abort', abort)
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
        if (isOver && health.answers === asked) this.#judged(command[0], silence, health)
        end()
        over.abort()
        reject(silence)
      }
      const stop = patience(this.timeoutMs, giveUp, hears)
      if (signal?.aborted) abort()
      else signal?.addEventListener('abort', abort)
      const answered = answer.then(
        (value) => {
          health.answers += 1
          this.#adapter.trouble?.over()
          if (isOver) {
            stop()
            health.awake(command[0]) // it answered, if late: it can be asked
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
    connections: Connections,
    command: Command,
    waitMs: number,
    { key, undo, signal }: Question,
  ): Promise<unknown> {
    let own: LentConnection | undefined
    let isOver = false
    let isSent = false
    let giveUp: (reason: Error) => void
    // A connection to a server that hangs may take seconds to close.
    const left = new Promise<never>((_, reject) => (giveUp = reject))
    left.catch(() => {})
    const leave = () => {
      isOver = true
      own?.close()
      giveUp(new Error(`no answer within ${longestMs} ms`))
    }
    const longestMs = waitMs + this.timeoutMs
    signal?.addEventListener('abort', leave)
    const stop = patience(longestMs, leave, undefined, this.timeoutMs)
    try {
      own = await this.#connection(command[0], connections, signal)
      if (isOver) throw new Error(`no connection within ${longestMs} ms`)
      isSent = true
      const told: Command = [...command, 'WAIT', `${Math.ceil(waitMs)}ms`]
      const answer = await Promise.race([own.send(told, key), left])
      if (isOver || this.#isClosed) own.close()
      else connections.keep(own)
      return answer
    } catch (error) {
      own?.close()
      if (isSent && undo && !isReply(error)) void this.#giveBack(undo, key)
      throw error
    } finally {
      stop()
      signal?.removeEventListener('abort', leave)
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

  /** A cluster as a whole gives it, or fails to: whether the node that has the key is away, this does not say. */
  async #connection(
    name: string,
    connections: Connections,
    signal: AbortSignal | undefined,
  ): Promise<LentConnection> {
    const whole = this.#healthOf(undefined)
    try {
      return await this.#opened(name, connections.take(), signal, whole)
    } catch (error) {
      if (signal?.aborted) throw error
      throw this.#judged(name, error, whole)
    }
  }

  /**
   * The connection, if it opens within the timeout; one that opens later is closed. Who asked may go
   * before, and Redis has its time all the same.
   */
  #opened(
    name: string,
    opening: Promise<LentConnection>,
    signal: AbortSignal | undefined,
    health: Health,
  ): Promise<LentConnection> {
    return new Promise((resolve, reject) => {
      let isOver = false
      const abort = () => {
        isOver = true
        reject(aborted(signal!))
      }
      const end = () => {
        stop()
        signal?.removeEventListener('abort', abort)
      }
      const stop = patience(this.timeoutMs, () => {
        const silence = new Error(`no connection within ${this.timeoutMs} ms`)
        if (isOver) this.#judged(name, silence, health)
        isOver = true
        end()
        reject(silence)
      })
      signal?.addEventListener('abort', abort)
      opening.then(
        (own) => {
          end()
          if (isOver) own.close()
          else resolve(own)
        },
        (error: unknown) => {
          end()
          reject(error)
        },
      )
    })
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
      this.#found(name, health)
      return answer
    } catch (error) {
      if (signal?.aborted) throw aborted(signal)
      if (error instanceof Away || error instanceof Misconfigured) throw error
      throw this.#judged(name, error, health)
    }
  }

  /** What an error means: an outage, a mistake of who set things up, or the server's word on the command. */
  #judged(name: string, told: unknown, health: Health): unknown {
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
      this.#found(name, health)
      return isOnItsWay(error) ? new Away(messageOf(error), { cause: error }) : error
    }
    health.lost(error, cannotWrite(error))
    return new Away(messageOf(error), { cause: error })
  }

  #found(name: string, health: Health): void {
    this.#shown.add('anything answered')
    if (/^(RL|CB)\./.test(name)) this.#shown.add('the module answered')
    health.found(name)
    // Where a node answers, the cluster as a whole is not away.
    const whole = this.#healthOf(undefined)
    if (whole !== health) whole.found(name)
  }
}
