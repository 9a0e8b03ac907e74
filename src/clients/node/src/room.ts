import { setTimeout as sleep } from 'node:timers/promises'

/**
 * node-redis refuses a command while so many have no answer yet (`commandsQueueMaxLength`). It is the
 * process that is full, and not Redis that is away: the command waits for room.
 */
export class Room {
  readonly #line: (() => void)[] = []
  #free: number

  /** @param most how many have room, if nobody else sends */
  constructor(most = Infinity) {
    this.#free = most
  }

  /** Sends it in its turn, unless its time is over before. */
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
