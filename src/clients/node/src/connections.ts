import type { Command } from './client.js'

/** A connection of its own for a command that waits. */
export interface LentConnection {
  readonly isOpen: boolean
  send(command: Command, key: string | undefined): Promise<unknown>
  close(): void
}

/** A client that has been made like the one that was passed in, for one connection. */
interface OwnClient {
  connect(): Promise<unknown>
  on(event: 'error', listener: () => void): unknown
}

/** How such a client is used. */
interface Use extends Pick<LentConnection, 'send' | 'close'> {
  isOpen(): boolean
  /** Ends a connection that is being opened. By default it is closed. */
  giveUp?(): void
}

/** Connects the client and lends it. It gives up when `over` is aborted. */
export async function opened(own: OwnClient, use: Use, over: AbortSignal): Promise<LentConnection> {
  const { send, close, giveUp = close } = use
  // `connect` tells the error, too.
  own.on('error', () => {})
  over.addEventListener('abort', giveUp, { once: true })
  try {
    await own.connect()
  } catch (error) {
    // Some clients try again by themselves.
    close()
    throw error
  } finally {
    over.removeEventListener('abort', giveUp)
  }
  return {
    get isOpen() {
      return use.isOpen()
    },
    send,
    close,
  }
}

/** What a client tells of its own connection. */
export interface Watcher {
  /** The connection of the client was lost, or is made anew. */
  lost(): void
  /** The client is closed. */
  closed(): void
}

/** The client beside which connections are opened. */
export interface Beside {
  /** Opens a connection that sets no limit on the time of an answer. It gives up when `over` is aborted. */
  open(over: AbortSignal): Promise<LentConnection>
  /** Whether the client is closed. */
  isClosed(): boolean
  /** Tells the watcher from now on. */
  watch(watcher: Watcher): void
}

/** The time after which a connection is closed on which nobody has waited. */
const IDLE_MS = 60_000

/**
 * The connections on which requests wait, beside one client. A connection that is free is kept for the
 * next request that waits. No connection outlives the client: it would keep the process alive.
 */
export class Connections {
  readonly #free = new Map<LentConnection, NodeJS.Timeout>()
  readonly #closings = new Set<() => void>()
  #isWatched = false

  constructor(
    readonly client: Beside,
    readonly idleMs = IDLE_MS,
  ) {}

  /** Whether the client is closed. */
  get isClosed(): boolean {
    return this.client.isClosed()
  }

  /** Gives a connection that is free, or a new one. The caller closes it, or gives it back by `keep`. */
  async take(over: AbortSignal): Promise<LentConnection> {
    this.#watch()
    for (const own of [...this.#free.keys()].reverse()) {
      clearTimeout(this.#free.get(own))
      this.#free.delete(own)
      if (own.isOpen) return own
      own.close()
    }
    return this.client.open(over)
  }

  /** Keeps the connection for the next request that waits. */
  keep(own: LentConnection): void {
    if (this.isClosed) return own.close()
    this.#free.set(own, setTimeout(() => this.#drop(own), this.idleMs).unref())
  }

  /** Calls `closing` when the client is closed. The function that it returns ends that. */
  whenClosed(closing: () => void): () => void {
    this.#watch()
    this.#closings.add(closing)
    return () => this.#closings.delete(closing)
  }

  /** Closes the connections that are free. */
  closeFree(): void {
    for (const own of this.#free.keys()) this.#drop(own)
  }

  #watch(): void {
    if (this.#isWatched) return
    this.#isWatched = true
    this.client.watch({
      // The cause may have broken the other connections, too. A host that vanishes closes none of them.
      lost: () => this.closeFree(),
      closed: () => {
        this.closeFree()
        for (const closing of [...this.#closings]) closing()
      },
    })
  }

  #drop(own: LentConnection): void {
    clearTimeout(this.#free.get(own))
    this.#free.delete(own)
    own.close()
  }
}
