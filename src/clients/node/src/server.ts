import { checkMs, checkWait, checkWhole } from './checks.js'
import { adapterOf } from './adapters.js'
import type { Adapter, Command, RedisClient } from './client.js'
import { Away, Closed, Misconfigured, messageOf } from './errors.js'
import { exchanged, type Asker } from './exchange.js'
import { giveBackLate } from './give-back.js'
import type { Health, Outage } from './health.js'
import { unfailing, type Logger } from './logger.js'
import { Outages } from './outages.js'
import type { Question } from './question.js'
import { Waiters } from './waiters.js'

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
   * The number of requests that may wait in queues at a time, those of caches among them: each has a
   * connection of its own. Further requests do not wait. The default is 64.
   */
  maxWaiters?: number | undefined
  /** The logger. The default is `console`; with `null` nothing is logged. */
  logger?: Logger | null | undefined
}

/**
 * Redis, asked with little patience, whatever patience the client has that was passed in.
 *
 * After a failure Redis is not asked for `restMs`. Then one request asks for all. So an outage costs
 * one request its timeout, and not each request. Each node of a cluster has outages of its own.
 */
export class Server {
  static readonly #known = new WeakMap<RedisClient, Server>()

  readonly timeoutMs: number
  readonly restMs: number
  readonly #adapter: Adapter
  readonly #logger: Logger | null
  readonly #outages: Outages
  readonly #asker: Asker
  /** The requests that wait. A client that opens no connections of its own has none. */
  readonly #waiters: Waiters | undefined
  readonly #maxWaiters: number

  constructor(client: RedisClient, options: ServerOptions = {}) {
    const { timeoutMs = 250, restMs = 1000, maxWaiters = 64, logger = console } = options
    checkMs('timeoutMs', timeoutMs, 1)
    checkMs('restMs', restMs)
    checkWhole('maxWaiters', maxWaiters, 0, Infinity)
    const adapter = adapterOf(client)
    this.#adapter = adapter
    this.timeoutMs = timeoutMs
    this.restMs = restMs
    this.#logger = logger && unfailing(logger)
    this.#outages = new Outages(adapter, restMs, this.#logger)
    this.#asker = {
      adapter,
      timeoutMs,
      outages: this.#outages,
      warn: (message) => this.warn(message),
      look: (key) => void this.ask(['RL.QUOTA', key], { key }).catch(() => {}),
    }
    this.#maxWaiters = maxWaiters
    if (adapter.own) this.#waiters = new Waiters(this.#asker, adapter.own, maxWaiters)
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
      // The user need not have the right to RL.HELP. A server that refuses it knows the command.
      if (!(error instanceof Misconfigured && error.message.startsWith('NOPERM'))) throw error
    }
  }

  /** Asks Redis and gives its answer. It throws Away, Misconfigured, or the server's own error. */
  ask(command: Command, question: Question = {}): Promise<unknown> {
    return this.#gate(command[0], question, (health) => exchanged(this.#asker, command, question, health))
  }

  /**
   * Asks several commands on one key, in their order and in one round trip where the client can, and
   * gives what came of each. Where one fails, later ones may not be asked.
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
    return this.#waiters !== undefined
  }

  /** The text that the client puts before each key. A pattern of keys begins with it. */
  get prefix(): string {
    return this.#adapter.prefix
  }

  /** Whether SCAN sees all keys. On a cluster it does not. */
  get walks(): boolean {
    return this.#adapter.walks
  }

  /** The outage of the server that has the key; none while that server decides. */
  outage(key: string | undefined): Outage | undefined {
    return this.#outages.healthOf(key).outage
  }

  /** Tells the logger. */
  warn(message: string): void {
    this.#logger?.warn(message)
  }

  /** The number of further requests that may wait. */
  get freeWaiters(): number {
    return this.#waiters?.free ?? this.#maxWaiters
  }

  /**
   * Asks a command that waits, and gives its answer. A request whose signal is aborted leaves the queue.
   * When too many wait already, the command is asked without waiting. It throws Closed when the client
   * or this Server is closed during the wait.
   */
  async wait(command: Command, waitMs: number, question: Question = {}): Promise<unknown> {
    const waiters = this.#waiters
    checkWait(waitMs)
    if (!waiters) {
      throw new TypeError(
        'waiting needs a connection of its own: pass a client of ioredis, or createClient of redis',
      )
    }
    if (!waiters.hasRoom) return this.ask(command, question)
    return this.#gate(command[0], question, (health) => waiters.wait(command, waitMs, question, health))
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

  /** Gives back what was granted too late. It never rejects. */
  giveBackLate(command: Command, key: string): Promise<void> {
    return giveBackLate(this.#asker, command, key)
  }

  /**
   * Closes the connections on which requests wait: those requests throw Closed. The client that was
   * passed in stays open. When that client is closed, this happens by itself.
   */
  close(): void {
    this.#waiters?.close()
  }

  /** Asks unless the server rests, and notes what the answer or the error says of the server. */
  async #gate(
    name: string,
    { key, signal, late }: Question,
    ask: (health: Health) => Promise<unknown>,
  ): Promise<unknown> {
    signal?.throwIfAborted()
    const health = this.#outages.healthOf(key)
    health.turn(name)
    try {
      const answer = await ask(health)
      // The asker may have gone just when the answer came.
      if (signal?.aborted) late?.(answer)
      signal?.throwIfAborted()
      this.#outages.found(name, key)
      return answer
    } catch (error) {
      if (signal?.aborted) throw signal.reason as unknown
      if (error instanceof Away || error instanceof Closed || error instanceof Misconfigured) throw error
      throw this.#outages.judged(name, error, health, key)
    }
  }
}
