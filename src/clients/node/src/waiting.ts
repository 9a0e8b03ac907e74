import { whenAborted } from './aborts.js'
import type { Command } from './client.js'
import type { Connections, LentConnection } from './connections.js'
import { Closed } from './errors.js'
import { patience } from './patience.js'

/** One request that waits in a queue, on a connection of its own. */
export class Waiting {
  readonly #over = new AbortController()
  #isSent = false
  #endsBy = -Infinity

  /** @param timeoutMs the time for opening the connection, and for the answer after the wait */
  constructor(
    readonly connections: Connections,
    readonly timeoutMs: number,
  ) {}

  /** Whether the command was sent, so that the server may have run it. */
  get isSent(): boolean {
    return this.#isSent
  }

  /** The time by which the server ends the wait, by `performance.now`. */
  get endsBy(): number {
    return this.#endsBy
  }

  /** Leaves the queue. The answer is this error. */
  leave(reason: unknown): void {
    this.#over.abort(reason)
  }

  /** Sends the command, which waits for up to `waitMs`, and gives its answer. */
  async answer(
    command: Command,
    key: string | undefined,
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const longestMs = waitMs + this.timeoutMs
    this.#endsBy = performance.now() + longestMs
    const ends = [
      whenAborted(signal, () => this.leave(signal!.reason)),
      this.connections.whenClosed(() =>
        this.leave(new Closed('the client was closed while a request waited')),
      ),
      patience(longestMs, () => this.#fail(`no answer within ${longestMs} ms`), undefined, this.timeoutMs),
    ]
    let own: LentConnection | undefined
    try {
      own = await this.#connection()
      this.#isSent = true
      const told: Command = [...command, 'WAIT', `${Math.ceil(waitMs)}ms`]
      const answer = await this.#unlessOver(own.send(told, key))
      this.connections.keep(own)
      return answer
    } catch (error) {
      own?.close()
      throw error
    } finally {
      for (const end of ends) end()
    }
  }

  /** Gives the connection, if it opens within the timeout. One that opens later is closed. */
  async #connection(): Promise<LentConnection> {
    const silence = `no connection within ${this.timeoutMs} ms`
    const stop = patience(this.timeoutMs, () => this.#fail(silence))
    const opening = this.connections.take(this.#over.signal)
    try {
      return await this.#unlessOver(opening)
    } catch (error) {
      opening.then(
        (own) => own.close(),
        () => {},
      )
      throw error
    } finally {
      stop()
    }
  }

  #fail(message: string): void {
    this.leave(new Error(message))
  }

  /** Gives the answer, or rejects when the request leaves: a server that hangs may never answer. */
  #unlessOver<T>(answer: Promise<T>): Promise<T> {
    const { signal } = this.#over
    return new Promise((resolve, reject) => {
      const leave = () => reject(signal.reason as Error)
      if (signal.aborted) leave()
      else signal.addEventListener('abort', leave, { once: true })
      answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
    })
  }
}
