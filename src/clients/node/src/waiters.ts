import type { Command } from './client.js'
import type { Connections } from './connections.js'
import { Away, Closed, cannotDecide, isReply, messageOf, wrongBy } from './errors.js'
import { exchanged, type Asker } from './exchange.js'
import { giveBackLost } from './give-back.js'
import type { Health } from './health.js'
import type { Question } from './question.js'
import { Waiting } from './waiting.js'

/** The requests that wait in queues, each on a connection of its own. */
export class Waiters {
  readonly #asker: Asker
  readonly #connections: Connections
  readonly #waiting = new Set<Waiting>()
  #free: number

  /** @param most the number of requests that may wait at a time */
  constructor(asker: Asker, connections: Connections, most: number) {
    this.#asker = asker
    this.#connections = connections
    this.#free = most
  }

  /** The number of further requests that may wait. */
  get free(): number {
    return this.#free
  }

  /** Whether one more request may wait. */
  get hasRoom(): boolean {
    return this.#free > 0 && !this.#connections.isClosed
  }

  /** Sends a command that waits for up to `waitMs`, and gives its answer. */
  async wait(command: Command, waitMs: number, question: Question, health: Health): Promise<unknown> {
    const waiting = new Waiting(this.#connections, this.#asker.timeoutMs)
    const outage = health.outage
    this.#free -= 1
    this.#waiting.add(waiting)
    try {
      return await waiting.answer(command, question.key, waitMs, question.signal)
    } catch (error) {
      const isFoundAway = health.outage !== undefined && health.outage !== outage
      return await this.#afterFailure(error, waiting, command, question, health, isFoundAway)
    } finally {
      this.#waiting.delete(waiting)
      this.#free += 1
    }
  }

  /** Ends all waits: they throw Closed. Closes the connections that are free. */
  close(): void {
    for (const waiting of [...this.#waiting]) {
      waiting.leave(new Closed('the server was closed while a request waited'))
    }
    this.#connections.closeFree()
  }

  /**
   * Decides what follows a wait without an answer. A request that the server has not refused, and whose
   * asker is still there, is asked once more by the client itself.
   *
   * @param isFoundAway whether an outage was found during the wait
   */
  async #afterFailure(
    error: unknown,
    waiting: Waiting,
    command: Command,
    question: Question,
    health: Health,
    isFoundAway: boolean,
  ): Promise<unknown> {
    const { key, undo, signal } = question
    const isLost = waiting.isSent && !isReply(error)
    const isRefused = waiting.isSent && isReply(error) && !cannotDecide(error) && !wrongBy(error)
    const hasLeft = signal?.aborted || error instanceof Closed
    const giveBack = () => {
      if (isLost && undo) void giveBackLost(this.#asker, undo.command, key, waiting.endsBy)
    }
    if (!isRefused && !hasLeft && !isFoundAway) return this.#askInstead(command, question, health, giveBack)
    giveBack()
    // Otherwise askers whose own patience is shorter would never find out that Redis is away.
    if (signal?.aborted && !waiting.isSent && key !== undefined) this.#asker.look(key)
    throw isFoundAway && !isRefused && !hasLeft ? new Away(messageOf(error), { cause: error }) : error
  }

  /**
   * Asks by the client itself, without waiting, after the connection on which a request waited has
   * failed. That connection may have been refused, or have gone silent alone. Redis is away only where
   * the client fails, too.
   *
   * @param giveBack gives back what the request may have taken that waited
   */
  async #askInstead(
    command: Command,
    question: Question,
    health: Health,
    giveBack: () => void,
  ): Promise<unknown> {
    let isTaken = false
    try {
      const answer = await exchanged(this.#asker, command, question, health)
      isTaken = question.undo?.took(answer) ?? false
      return answer
    } finally {
      if (!isTaken) giveBack()
    }
  }
}
