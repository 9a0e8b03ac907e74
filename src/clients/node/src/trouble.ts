import { errorMonitor } from 'node:events'

/** The part of a client that tells of its connections. */
interface Emitter {
  on(event: string | symbol, listener: (error?: unknown) => void): unknown
}

/** The events by which clients tell that they, or one of their nodes, are connected. */
const CONNECTED = ['ready', 'node-ready']

/** The reason for which a client is not connected: the last error of its connections, until it is. */
export class Trouble {
  #last: Error | undefined

  get last(): Error | undefined {
    return this.#last
  }

  /** Listens to a client of ioredis. Without a listener ioredis logs its errors on the console. */
  static ofIoredis(client: Emitter & { listenerCount?(event: string): number }): Trouble {
    const trouble = new Trouble()
    client.on('error', (error) => {
      trouble.note(error)
      // Nobody else listens, so the error is logged here as ioredis would.
      if (client.listenerCount?.('error') === 1 && error instanceof Error) {
        console.error('[ioredis] Unhandled error event:', error.stack)
      }
    })
    client.on('ready', () => trouble.over())
    return trouble
  }

  /** Listens to a client of node-redis. An error to which nobody else listens is still thrown. */
  static ofNodeRedis(client: object): Trouble {
    const trouble = new Trouble()
    if (!('on' in client) || typeof client.on !== 'function') return trouble
    const { on } = client as Emitter
    for (const event of [errorMonitor, 'node-error']) on.call(client, event, (error) => trouble.note(error))
    for (const event of CONNECTED) on.call(client, event, () => trouble.over())
    return trouble
  }

  note(error: unknown): void {
    this.#last = reasonOf(error)
  }

  /** Forgets the reason: the client is connected. */
  over(): void {
    this.#last = undefined
  }
}

/**
 * Gives the reason that an error tells. ioredis has errors that stand for those of all nodes, and node-redis
 * has one round that of a Sentinel. Then the reason is the error of a node.
 */
function reasonOf(error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined
  const inner = 'lastNodeError' in error ? error.lastNodeError : error.cause
  return inner instanceof Error ? inner : error
}
