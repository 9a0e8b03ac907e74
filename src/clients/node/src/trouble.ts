import { errorMonitor } from 'node:events'

/** What of a client tells how its connections are. */
interface Emitter {
  on(event: string | symbol, listener: (error?: unknown) => void): unknown
}

/** Events by which clients tell that they are connected, or that a node of theirs is. */
const CONNECTED = ['ready', 'node-ready']

/** Why a client is not connected: the last error of a connection of its, until it is. */
export class Trouble {
  #last: Error | undefined

  get last(): Error | undefined {
    return this.#last
  }

  /** Of a client of ioredis, which tells its errors on the console unless somebody listens. */
  static ofIoredis(client: Emitter & { listenerCount?(event: string): number }): Trouble {
    const trouble = new Trouble()
    client.on('error', (error) => {
      trouble.note(error)
      // Nobody else does.
      if (client.listenerCount?.('error') === 1 && error instanceof Error) {
        console.error('[ioredis] Unhandled error event:', error.stack)
      }
    })
    client.on('ready', () => trouble.over())
    return trouble
  }

  /** Of a client of node-redis, in which an error that nobody listens to stays one. */
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

  /** It is connected. */
  over(): void {
    this.#last = undefined
  }
}

/**
 * The reason that an error tells. Some stand for the errors of all nodes (ioredis), or round one
 * (Sentinel of node-redis): then it is that of a node.
 */
function reasonOf(error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined
  const inner = 'lastNodeError' in error ? error.lastNodeError : error.cause
  return inner instanceof Error ? inner : error
}
