import type {
  Adapter,
  Command,
  NodeRedisClient,
  NodeRedisCluster,
  NodeRedisPool,
  NodeRedisSentinel,
  Sending,
} from './client.js'
import { Connections, opened } from './connections.js'
import { prefixed } from './keys.js'
import { Room } from './room.js'
import { slotOf } from './slots.js'
import { Trouble } from './trouble.js'

/** The prefix of a client of node-redis, which has one since version 6. */
const prefixOf = (client: object) => ('_keyPrefix' in client ? String(client._keyPrefix ?? '') : '')

/** The words of a command, with the client's prefix before its keys. */
const told = (prefix: string, command: Command, key: string | undefined) =>
  prefixed(prefix, command, key).map(String)

/**
 * Sends without the client's own limit on the time of an answer, which is 5 s by default. Commands keep
 * their order, whatever the client does with others (`asap`).
 */
function sending(abortSignal: AbortSignal): Sending {
  const options = { abortSignal, timeout: undefined, asap: false }
  return options
}

/** Asks what `createCluster` gives. */
export function nodeRedisCluster(cluster: NodeRedisCluster): Adapter {
  const prefix = prefixOf(cluster)
  const room = new Room()
  return {
    ordered: false,
    walks: false,
    prefix,
    owner: (key) => cluster.slots[slotOf(prefix + key)]?.master.address,
    trouble: Trouble.ofNodeRedis(cluster),
    send: (command, key, over) => {
      // A command without a key is one that any master answers.
      const first = (key === undefined ? undefined : prefix + key) as string
      const words = told(prefix, command, key)
      return room.send(over, () => cluster.sendCommand(first, false, words, sending(over)))
    },
  }
}

/** Asks what `createSentinel` gives. */
export function nodeRedisSentinel(sentinel: NodeRedisSentinel): Adapter {
  const prefix = prefixOf(sentinel)
  const room = new Room()
  return {
    ordered: false,
    walks: true,
    prefix,
    trouble: Trouble.ofNodeRedis(sentinel),
    send: (command, key, over) =>
      room.send(over, () => sentinel.sendCommand(false, told(prefix, command, key), sending(over))),
  }
}

/** Asks what `createClientPool` gives. */
export function nodeRedisPool(pool: NodeRedisPool): Adapter {
  const prefix = prefixOf(pool)
  return {
    ordered: false,
    walks: true,
    prefix,
    trouble: Trouble.ofNodeRedis(pool),
    send: (command, key, over) => pool.sendCommand(told(prefix, command, key), sending(over)),
  }
}

/** Asks what `createClient` gives. */
export function nodeRedis(client: NodeRedisClient): Adapter {
  const prefix = prefixOf(client)
  const { socket, commandsQueueMaxLength } = (client as { options?: NodeRedisOptions }).options ?? {}
  const room = new Room(commandsQueueMaxLength || undefined)
  return {
    ordered: true,
    walks: true,
    prefix,
    trouble: Trouble.ofNodeRedis(client),
    own: connectionsBeside(client, prefix, socket),
    send: (command, key, over) =>
      room.send(over, () => client.sendCommand(told(prefix, command, key), sending(over))),
  }
}

interface NodeRedisOptions {
  socket?: object
  commandsQueueMaxLength?: number
}

interface NodeRedisConnection extends NodeRedisClient {
  readonly isReady: boolean
  connect(): Promise<unknown>
}

function connectionsBeside(client: NodeRedisClient, prefix: string, socket: object | undefined): Connections {
  const duplicate = client.duplicate as (overrides: unknown) => NodeRedisConnection
  return new Connections({
    open(over) {
      const own = duplicate.call(client, {
        socket: { ...socket, reconnectStrategy: false, socketTimeout: undefined },
        commandOptions: { timeout: undefined },
      })
      const close = () => {
        if (own.isOpen) own.destroy()
      }
      // node-redis forgets the socket of a client that is destroyed before it is connected.
      let isConnected = false
      own.on('connect', () => {
        isConnected = true
        if (over.aborted) close()
      })
      const use = {
        isOpen: () => own.isReady,
        send: (command: Command, key: string | undefined) => own.sendCommand(told(prefix, command, key)),
        close,
        giveUp: () => {
          if (isConnected) close()
        },
      }
      return opened(own, use, over)
    },
    isClosed: () => !client.isOpen,
    watch({ lost, closed }) {
      client.on('reconnecting', lost)
      client.on('ready', lost)
      client.on('end', closed)
    },
  })
}
