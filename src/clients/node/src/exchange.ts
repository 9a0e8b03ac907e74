import { whenAborted } from './aborts.js'
import type { Adapter, Command } from './client.js'
import { isReply, messageOf } from './errors.js'
import type { Health } from './health.js'
import type { Outages } from './outages.js'
import { patience } from './patience.js'
import type { Question } from './question.js'

/** What an exchange needs of its Server. */
export interface Asker {
  readonly adapter: Adapter
  readonly outages: Outages
  /** The time in which Redis must answer. */
  readonly timeoutMs: number
  /** Tells the logger. */
  warn(message: string): void
  /** Finds out whether the server that has the key answers, for those who ask later. */
  look(key: string): void
}

/** Sends the command by the client, and gives its answer. It rejects when the time of the answer is over. */
export function exchanged(
  asker: Asker,
  command: Command,
  question: Question,
  health: Health,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    new Exchange(asker, command, question, health, { resolve, reject }).begin()
  })
}

/** What settles the promise of an exchange. */
interface Settle {
  resolve(answer: unknown): void
  reject(reason: unknown): void
}

/** One command that was sent, until its answer comes or its time is over. */
class Exchange {
  readonly #asker: Asker
  readonly #command: Command
  readonly #question: Question
  readonly #health: Health
  readonly #settle: Settle
  /** Aborted when nobody waits for the answer any more: a command that is not on its way is not sent. */
  readonly #over = new AbortController()
  /** The number of answers before the command was sent. */
  readonly #answersBefore: number
  /** The number of answers at the last look. */
  #answersSeen: number
  /** Whether the asker has gone before the answer. */
  #hasLeft = false
  /** Whether the exchange has ended: by an answer, an error or silence. */
  #isOver = false
  #stopPatience = () => {}
  #forgetSignal = () => {}

  constructor(asker: Asker, command: Command, question: Question, health: Health, settle: Settle) {
    this.#asker = asker
    this.#command = command
    this.#question = question
    this.#health = health
    this.#settle = settle
    this.#answersBefore = this.#answersSeen = health.answers
  }

  begin(): void {
    const { adapter, timeoutMs } = this.#asker
    const { key, signal } = this.#question
    const answer = adapter.send(this.#command, key, this.#over.signal)
    this.#stopPatience = patience(
      timeoutMs,
      () => this.#giveUp(),
      () => this.#hears(),
    )
    this.#forgetSignal = whenAborted(signal, () => this.#leave())
    if (signal?.aborted) this.#leave()
    const taken = answer.then(
      (value) => this.#answered(value),
      (error: unknown) => this.#failed(error),
    )
    taken.catch((error: unknown) => this.#asker.warn(`floodgate: ${this.#command[0]}: ${messageOf(error)}`))
  }

  #answered(value: unknown): void {
    this.#health.answers += 1
    this.#asker.adapter.trouble?.over()
    if (this.#hasLeft || this.#isOver) {
      // An answer that comes too late ends no outage, or each request would wait in vain.
      this.#stopPatience()
      this.#question.late?.(value)
      return
    }
    this.#end()
    this.#settle.resolve(value)
  }

  #failed(error: unknown): void {
    if (isReply(error)) this.#health.answers += 1
    if (this.#isOver) return
    if (this.#hasLeft) return this.#takenBack(error)
    this.#end()
    this.#settle.reject(error)
  }

  /**
   * The asker has gone. Redis keeps its time all the same: otherwise askers whose own patience is shorter
   * would never find out that it is away.
   */
  #leave(): void {
    this.#hasLeft = true
    this.#over.abort()
    this.#settle.reject(this.#question.signal?.reason)
  }

  /**
   * The client has not sent the command, or has lost it: its silence says nothing of Redis. So another
   * command finds out whether Redis answers.
   */
  #takenBack(error: unknown): void {
    const { key } = this.#question
    if (isReply(error) || key === undefined) return
    this.#end()
    this.#asker.look(key)
  }

  #giveUp(): void {
    const silence = new Error(`no answer within ${this.#asker.timeoutMs} ms`)
    if (this.#hasLeft && this.#health.answers === this.#answersBefore) {
      this.#asker.outages.judged(this.#command[0], silence, this.#health, this.#question.key)
    }
    this.#end()
    this.#over.abort()
    this.#settle.reject(silence)
  }

  /** Whether answers of this server came since the last look. */
  #hears(): boolean {
    const before = this.#answersSeen
    this.#answersSeen = this.#health.answers
    return this.#answersSeen > before
  }

  #end(): void {
    this.#isOver = true
    this.#stopPatience()
    this.#forgetSignal()
  }
}
