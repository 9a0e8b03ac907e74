import { setTimeout as sleep } from 'node:timers/promises'
import { checkMs, checkWait, checkWhole } from './checks.js'
import { adapterOf, type Adapter, type Command, type RedisClient } from './client.js'
import type { Connections, LentConnection } from './connections.js'
import { patience } from './patience.js'
import { integer } from './reply.js'

/** Redis cannot decide: it does not answer, or answers that it cannot write. */
export class Away extends Error {
  override readonly name = 'Away'
}

/**
 * Redis refuses this process: its credentials or rights are wrong, the server has no module, or it
 * is a node of a cluster and the client none of clusters.
 */
export class Misconfigured extends Error {
  override readonly name = 'Misconfigured'
}

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

const CANNOT_NOW =
  /^(BUSY|CLUSTERDOWN|ERR max number of clients|EXECABORT|LOADING|MASTERDOWN|TRYAGAIN|UNBLOCKED)/
const CANNOT_WRITE = /^(MISCONF|NOREPLICAS|OOM|READONLY)/
/** What a server refuses that cannot write, whatever the reason. Others look, or give back. */
const TAKES = new Set(['RL.ACQUIRE', 'RL.BATCH', 'RL.CHARGE', 'RL.RESERVE', 'CB.ACQUIRE', 'SET'])
const WAYS_OUT: [RegExp, string][] = [
  [/NOAUTH|WRONGPASS|invalid password/i, 'check the user and the password of the client'],
  [/^NOPERM/, 'give the user the ACL line that README of floodgate-redis shows'],
  [
    /^(MOVED|ASK) /,
    'this server is a node of a cluster: pass a client of clusters, Cluster of ioredis or createCluster of redis',
  ],
  [/^ERR unknown command/i, 'load the module floodgate on this server (loadmodule in redis.conf)'],
]

/** Whether the server itself said it. */
function isReply(error: unknown): error is Error {
  if (!(error instanceof Error)) return false
  return error.name === 'ReplyError' || (!('code' in error) && /^[A-Z]{2,}[A-Z0-9]* /.test(error.message))
}

/** From when it was found that Redis is away until it is back. */
export interface Outage {
  /** What only looks is still answered, which does not say that Redis is back. */
  cannotWrite: boolean
}

const aborted = (signal: AbortSignal) => signal.reason as unknown

/**
 * Redis, asked with little patience, whatever the client that was passed in
 * would wait for.
 *
 * After a failure it is not asked for `restMs`, and then by one request for all:
 * an outage costs one request its timeout, not each of them.
 */
export class Server {
  static readonly #known = new WeakMap<RedisClient, Server>()

  readonly timeoutMs: number
  readonly restMs: number
  readonly #adapter: Adapter
  readonly #logger: Logger | null
  readonly #answered = new Set<string>()
  #answers = 0
  #freeWaiters: number
  #asleepUntil: number | undefined
  #outage: Outage | undefined
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
    return this.#gate(command[0], question, () => this.#send(command, question))
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

  /** The one that lasts; none while Redis decides. */
  get outage(): Outage | undefined {
    return this.#outage
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

  #send(command: Command, { key, late, signal }: Question): Promise<unknown> {
    const over = new AbortController()
    let heard = this.#answers
    const hears = () => {
      const before = heard
      heard = this.#answers
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
      const asked = this.#answers
      const giveUp = () => {
        const silence = new Error(`no answer within ${this.timeoutMs} ms`)
        if (isOver && this.#answers === asked) this.#judged(command[0], silence)
        end()
        over.abort()
        reject(silence)
      }
      const stop = patience(this.timeoutMs, giveUp, hears)
      if (signal?.aborted) abort()
      else signal?.addEventListener('abort', abort)
      const answered = answer.then(
        (value) => {
          this.#answers += 1
          if (isOver) {
            stop()
            this.#asleepUntil = undefined // it answered, if late: it can be asked
            return late?.(value)
          }
          end()
          resolve(value)
        },
        (error: unknown) => {
          if (isReply(error)) this.#answers += 1
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
      own = await this.#opened(command[0], connections.take(), signal)
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

  /**
   * The connection, if it opens within the timeout; one that opens later is closed. Who asked may go
   * before, and Redis has its time all the same.
   */
  #opened(
    name: string,
    opening: Promise<LentConnection>,
    signal: AbortSignal | undefined,
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
        if (isOver) this.#judged(name, silence)
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

  async #gate(name: string, { signal, late }: Question, question: () => Promise<unknown>): Promise<unknown> {
    signal?.throwIfAborted()
    if (this.#asleepUntil !== undefined) {
      const left = this.#asleepUntil - performance.now()
      if (left > 0) throw new Away(`Redis was away a moment ago; it is asked again in ${Math.ceil(left)} ms`)
      // The others: this one asks for them, unless its answer says nothing.
      if (this.#saysItIsBack(name)) this.#sleep()
    }
    try {
      const answer = await question()
      // It came while its asker went.
      if (signal?.aborted) late?.(answer)
      signal?.throwIfAborted()
      this.#found(name)
      return answer
    } catch (error) {
      if (signal?.aborted) throw aborted(signal)
      throw this.#judged(name, error)
    }
  }

  /** What an error means: an outage, a mistake of who set things up, or the server's word on the command. */
  #judged(name: string, error: unknown): unknown {
    const isOfServer = isReply(error)
    const wayOut = WAYS_OUT.find(([pattern]) => isOfServer && pattern.test(error.message))?.[1]
    // What worked before and now does not is an outage: a server that came back without its module.
    const worked = this.#answered.has(name) && !/^(NOPERM|MOVED|ASK) /.test(messageOf(error))
    if (wayOut && !worked) {
      this.#asleepUntil = undefined
      return new Misconfigured(`${messageOf(error).trim()}: ${wayOut}`, { cause: error })
    }
    const cannotWrite = isOfServer && CANNOT_WRITE.test(error.message)
    if (isOfServer && !wayOut && !cannotWrite && !CANNOT_NOW.test(error.message)) {
      this.#found(name)
      return error
    }
    this.#sleep()
    if (!this.#outage) {
      this.#logger?.error(`floodgate: Redis is away, the fallback decides: ${messageOf(error)}`)
    }
    this.#outage ??= { cannotWrite }
    this.#outage.cannotWrite = cannotWrite
    return new Away(messageOf(error), { cause: error })
  }

  #found(name: string): void {
    this.#answered.add(name)
    if (!this.#saysItIsBack(name)) return
    this.#asleepUntil = undefined
    if (!this.#outage) return
    this.#outage = undefined
    this.#logger?.info('floodgate: Redis is back')
  }

  /** Whether the answer to this command would say that Redis is back. */
  #saysItIsBack(name: string): boolean {
    return !this.#outage?.cannotWrite || TAKES.has(name)
  }

  #sleep(): void {
    // Not all processes at the same moment.
    this.#asleepUntil = performance.now() + this.restMs * (0.5 + Math.random())
  }
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.message) return error.message
  const inner = error instanceof AggregateError ? error.errors.map(messageOf).join(', ') : ''
  return inner || ('code' in error ? String(error.code) : error.name)
}
