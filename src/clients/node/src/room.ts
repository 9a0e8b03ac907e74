import { setTimeout as sleep } from 'node:timers/promises'

/**
 * The room for commands that have no answer yet. node-redis refuses a command while there are too many
 * (`commandsQueueMaxLength`). Then this process is busy, and Redis is not away: the command waits for
 * room.
 */
export class Room {
  readonly #line: (() => void)[] = []
  #free: number

  /** @param most the number of commands that have room, if nobody else sends by the client */
  constructor(most = Infinity) {
    this.#free = most
  }

  /** Sends a command when it is its turn, unless its time is over before. */
  async send(over: AbortSignal, send: () => Promise<unknown>): Promise<unknown> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => this.#line.push(resolve))
    try {
      return await untilSent(over, send)
    } finally {
      const next = this.#line.shift()
      if (next) next()
      else this.#free += 1
    }
  }
}

async function untilSent(over: AbortSignal, send: () => Promise<unknown>): Promise<unknown> {
  for (;;) {
    over.throwIfAborted()
    try {
      return await send()
    } catch (error) {
      if (!(error instanceof Error && error.message === 'The queue is full')) throw error
      await sleep(1, undefined, { signal: over })
    }
  }
}
