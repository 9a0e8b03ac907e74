// The clients of others that can be passed in, and the one way in which this
// package talks to them.

import { Connections } from './connections.js'
import { isOnItsWay } from './errors.js'
import { prefixed } from './keys.js'
import { Room } from './room.js'
import { slotOf } from './slots.js'
import { Trouble } from './trouble.js'

/** A command and its arguments. */
export type Command = readonly [name: string, ...args: (string | number)[]]

/** A client of ioredis: `Redis` or `Cluster`. */
export interface IoredisClient {
  readonly status: string
  readonly options?: { keyPrefix?: string | undefined }
  call(command: string, ...args: (string | number)[]): Promise<unknown>
  duplicate(...options: never[]): unknown
  disconnect(): void
  on(event: 'ready' | 'end' | 'error', listener: (error?: Error) => void): unknown
  off(event: 'ready' | 'end' | 'error', listener: (error?: Error) => void): unknown
}

/** What is used of `Cluster` of ioredis besides. */
interface IoredisCluster extends IoredisClient {
  /** Of each slot the addresses of its nodes, the master first. */
  readonly slots: (string[] | undefined)[]
  createBuiltinCommand(name: string): { string(...args: (string | number)[]): Promise<unknown> }
  sendCommand(command: IoredisCommand): Promise<unknown>
}

interface IoredisCommand {
  getKeys(): string[]
  reject(error: Error): void
}

/** How a command is sent by node-redis. */
export interface Sending {
  abortSignal?: AbortSignal
}

/** Clients of node-redis that send each command by one that is free: what `createClientPool` gives. */
export interface NodeRedisPool {
  sendCommand(args: string[], options?: Sending): Promise<unknown>
  execute(task: never): unknown
}

/** A client of node-redis: what `createClient` gives. */
export interface NodeRedisClient {
  sendCommand(args: string[], options?: Sending): Promise<unknown>
  readonly isOpen: boolean
  duplicate(...options: never[]): unknown
  on(event: 'end', listener: () => void): unknown
  destroy(): void
}

/** A cluster of node-redis: what `createCluster` gives. */
export interface NodeRedisCluster {
  sendCommand(firstKey: string, isReadonly: boolean, args: string[], options?: Sending): Promise<unknown>
  nodeClient(node: never): unknown
  readonly slots: ({ master: { address: string } } | undefined)[]
}

/** Masters that Sentinel watches, of node-redis: what `createSentinel` gives. */
export interface NodeRedisSentinel {
  sendCommand(isReadonly: boolean, args: string[], options?: Sending): Promise<unknown>
  getSentinelNode(): unknown
}

/** Sends a command by any other means; `key` is its first key, if it has one. */
export type SendCommand = (args: string[], key: string | undefined) => Promise<unknown>

/** What can be passed as `client`. */
export type RedisClient =
  IoredisClient | NodeRedisClient | NodeRedisPool | NodeRedisCluster | NodeRedisSentinel | SendCommand

/** One of the clients above, asked in one way. */
export interface Adapter {
  /** Whether the commands of one process arrive in the order in which they are sent. */
  readonly ordered: boolean
  /** Whether it talks to one server, which has all keys. */
  readonly walks: boolean
  /** What stands before each key on the server. */
  readonly prefix: string
  /** Sends it. What is not on its way yet when `over` is aborted is not sent any more. */
  send(command: Command, key: string | undefined, over: AbortSignal): Promise<unknown>
  /** The address of the node of a cluster that has the key, as far as the client knows. */
  owner?(key: string): string | undefined
  /** Why it is not connected. */
  readonly trouble?: Trouble
  /** Connections for commands that wait. */
  readonly own?: Connections
}

const ignore = () => {}
const words = (command: Command) => command.map(String)
const known = new WeakMap<RedisClient, Adapter>()

/** Finds out whose client it is. */
export function adapterOf(client: RedisClient): Adapter {
  let adapter = known.get(client)
  if (!adapter) known.set(client, (adapter = newAdapterOf(client)))
  return adapter
}

const CLIENTS =
  'it must be a client of ioredis or node-redis, such as new Redis(url), or a function that sends a command'

function newAdapterOf(client: RedisClient): Adapter {
  if (typeof client === 'function') {
    return { ordered: false, walks: false, prefix: '', send: (command, key) => client(words(command), key) }
  }
  if (typeof client !== 'object' || client === null) {
    // Not the value: an address may have a password.
    const given = client === undefined || client === null ? String(client) : `a ${typeof client}`
    throw new TypeError(`client is ${given}: ${CLIENTS}`)
  }
  if ('call' in client && typeof client.call === 'function') return ioredis(client)
  if (!('sendCommand' in client) || typeof client.sendCommand !== 'function') {
    throw new TypeError(`client is another object: ${CLIENTS}`)
  }
  if ('nodeClient' in client) {
    const cluster = client as NodeRedisCluster
    const prefix = prefixOf(cluster)
    const room = new Room()
    return {
      ordered: false,
      walks: false,
      prefix,
      owner: (key) => cluster.slots[slotOf(prefix + key)]?.master.address,
      trouble: Trouble.ofNodeRedis(cluster),
      send: (command, key, abortSignal) => {
        // None of a command that any master answers.
        const first = (key === undefined ? undefined : prefix + key) as string
        const told = words(prefixed(prefix, command, key))
        return room.send(abortSignal, () => cluster.sendCommand(first, false, told, sending(abortSignal)))
      },
    }
  }
  if ('getSentinelNode' in client) {
    const sentinel = client as NodeRedisSentinel
    const prefix = prefixOf(sentinel)
    const room = new Room()
    return {
      ordered: false,
      walks: true,
      prefix,
      trouble: Trouble.ofNodeRedis(sentinel),
      send: (command, key, abortSignal) => {
        const told = words(prefixed(prefix, command, key))
        return room.send(abortSignal, () => sentinel.sendCommand(false, told, sending(abortSignal)))
      },
    }
  }
  if (!('duplicate' in client) || typeof client.duplicate !== 'function') {
    return nodeRedisPool(client as NodeRedisPool)
  }
  return nodeRedis(client as NodeRedisClient)
}

/**
 * Without the client's own limit on the time of an answer, 5 s unless told, and in the order in which
 * commands are sent, whatever the client does with others (`asap`).
 */
function sending(abortSignal: AbortSignal): Sending {
  const options = { abortSignal, timeout: undefined, asap: false }
  return options
}

/** Of a client of node-redis, which has one since 6. */
const prefixOf = (client: object) => ('_keyPrefix' in client ? String(client._keyPrefix ?? '') : '')

const UNKNOWN_TO_IOREDIS = /^(RL|CB)\./

/** ioredis puts its prefix before the keys of the commands that it knows, before 5.9 by their names in lower case. */
function forIoredis(prefix: string, command: Command, key: string | undefined): Command {
  if (UNKNOWN_TO_IOREDIS.test(command[0])) return prefixed(prefix, command, key)
  const [name, ...args] = command
  return [name.toLowerCase(), ...args]
}

/**
 * Sends it to the node that has its key: ioredis knows no keys of the commands that it does not know,
 * and would ask any master. Where keys are on their way to another node, it would ask again and again,
 * for longer than anybody waits.
 */
function sendToOwner(by: IoredisCluster, [name, ...args]: Command, key: string): Promise<unknown> {
  const sender = {
    options: by.options,
    sendCommand: (told: IoredisCommand) => {
      const { reject } = told
      told.getKeys = () => [key]
      const answer = by.sendCommand(told)
      const redirect = told.reject
      told.reject = (error) => (isOnItsWay(error) ? reject : redirect).call(told, error)
      return answer
    },
  }
  return by.createBuiltinCommand(name).string.apply(sender, args)
}

const isCluster = (client: IoredisClient): client is IoredisCluster =>
  'isCluster' in client && client.isCluster === true

function ioredis(client: IoredisClient): Adapter {
  const patient = { commandTimeout: undefined, socketTimeout: undefined }
  const overrides = isCluster(client)
    ? [[], { lazyConnect: true, clusterRetryStrategy: () => null, redisOptions: patient }]
    : [{ ...patient, lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 }]
  const duplicate = client.duplicate as (...overrides: unknown[]) => IoredisConnection
  const prefix = String(client.options?.keyPrefix ?? '')
  const call = (by: IoredisClient, command: Command, key: string | undefined) => {
    const told = forIoredis(prefix, command, key)
    if (key === undefined || !isCluster(by) || !UNKNOWN_TO_IOREDIS.test(command[0])) return by.call(...told)
    return sendToOwner(by, told, prefix + key)
  }
  const trouble = Trouble.ofIoredis(client)
  const open = async () => {
    const own = duplicate.apply(client, overrides)
    own.on('error', ignore)
    await own.connect()
    return {
      get isOpen() {
        return own.status === 'ready'
      },
      send: (command: Command, key: string | undefined) => call(own, command, key),
      close: () => own.disconnect(),
    }
  }
  const own = new Connections(
    open,
    () => client.status === 'end',
    (close) => client.on('end', close),
  )
  let connecting: Promise<void> | undefined
  return {
    ordered: !isCluster(client),
    walks: !isCluster(client),
    prefix,
    ...(isCluster(client) && { owner: (key) => client.slots[slotOf(prefix + key)]?.[0] }),
    trouble,
    own,
    async send(command, key, over) {
      // ioredis would keep the command until it is connected. By then nobody waits for the answer.
      if (CONNECTING.has(client.status)) {
        connecting ??= isReady(client).finally(() => (connecting = undefined))
        await connecting
        over.throwIfAborted()
      }
      return call(client, command, key)
    },
  }
}

const CONNECTING = new Set(['connecting', 'connect', 'reconnecting', 'close'])

/** Until the client is connected, or says why it is not. */
function isReady(client: IoredisClient): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      client.off('ready', ready)
      client.off('error', fail)
      client.off('end', fail)
    }
    const ready = () => {
      end()
      resolve()
    }
    const fail = (error?: Error) => {
      end()
      reject(error ?? new Error('Connection is closed.'))
    }
    client.on('ready', ready)
    client.on('error', fail)
    client.on('end', fail)
  })
}

interface IoredisConnection extends IoredisClient {
  connect(): Promise<unknown>
}

function nodeRedisPool(client: NodeRedisPool): Adapter {
  const prefix = prefixOf(client)
  return {
    ordered: false,
    walks: true,
    prefix,
    trouble: Trouble.ofNodeRedis(client),
    send: (command, key, abortSignal) =>
      client.sendCommand(words(prefixed(prefix, command, key)), sending(abortSignal)),
  }
}

function nodeRedis(client: NodeRedisClient): Adapter {
  const duplicate = client.duplicate as (overrides: unknown) => NodeRedisConnection
  const prefix = prefixOf(client)
  const told = (command: Command, key: string | undefined) => words(prefixed(prefix, command, key))
  const { socket, commandsQueueMaxLength } = (client as { options?: NodeRedisOptions }).options ?? {}
  const room = new Room(commandsQueueMaxLength || undefined)
  const open = async () => {
    const own = duplicate.call(client, {
      socket: { ...socket, reconnectStrategy: false, socketTimeout: undefined },
      commandOptions: { timeout: undefined },
    })
    own.on('error', ignore)
    await own.connect()
    return {
      get isOpen() {
        return own.isReady
      },
      send: (command: Command, key: string | undefined) => own.sendCommand(told(command, key)),
      close: () => {
        if (own.isOpen) own.destroy()
      },
    }
  }
  const own = new Connections(
    open,
    () => !client.isOpen,
    (close) => client.on('end', close),
  )
  return {
    ordered: true,
    walks: true,
    prefix,
    trouble: Trouble.ofNodeRedis(client),
    own,
    send: (command, key, abortSignal) =>
      room.send(abortSignal, () => client.sendCommand(told(command, key), sending(abortSignal))),
  }
}

interface NodeRedisOptions {
  socket?: object
  commandsQueueMaxLength?: number
}

interface NodeRedisConnection extends NodeRedisClient {
  readonly isReady: boolean
  on(event: 'end' | 'error', listener: () => void): unknown
  connect(): Promise<unknown>
}
