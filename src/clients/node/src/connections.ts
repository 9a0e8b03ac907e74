import type { Command } from './client.js'

/** A connection of its own for a command that waits. */
export interface LentConnection {
  readonly isOpen: boolean
  send(command: Command, key: string | undefined): Promise<unknown>
  close(): void
}

/** How long nobody may have waited on a connection that is kept. */
const IDLE_MS = 60_000

/**
 * The connections on which requests wait, beside one client. One that is free is kept for the
 * next who waits. None that is free outlives the client: it would keep the process alive.
 */
export class Connections {
  readonly #free = new Map<LentConnection, NodeJS.Timeout>()
  #isUsed = false

  /**
   * @param open opens one, with no limit on the time of an answer
   * @param isOver whether the client is closed
   * @param whenOver has it called when the client is closed
   */
  constructor(
    readonly open: () => Promise<LentConnection>,
    readonly isOver: () => boolean,
    readonly whenOver: (close: () => void) => void,
    readonly idleMs = IDLE_MS,
  ) {}

  /** One that is free, or a new one. */
  async take(): Promise<LentConnection> {
    if (!this.#isUsed) this.whenOver(() => this.close())
    this.#isUsed = true
    for (const own of [...this.#free.keys()].reverse()) {
      clearTimeout(this.#free.get(own))
      this.#free.delete(own)
      if (own.isOpen) return own
      own.close()
    }
    return this.open()
  }

  /** Keeps it for the next who waits. */
  keep(own: LentConnection): void {
    if (this.isOver()) return own.close()
    this.#free.set(own, setTimeout(() => this.#drop(own), this.idleMs).unref())
  }

  /** Closes those that are free. */
  close(): void {
    for (const own of this.#free.keys()) this.#drop(own)
  }

  #drop(own: LentConnection): void {
    clearTimeout(this.#free.get(own))
    this.#free.delete(own)
    own.close()
  }
}
