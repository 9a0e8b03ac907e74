// The clients of others that can be passed in, and the one interface by which this package talks to
// them. adapters.ts makes it of each.

import type { Connections } from './connections.js'
import type { Trouble } from './trouble.js'

/** A command and its arguments. */
export type Command = readonly [name: string, ...args: (string | number)[]]

/** A client of ioredis: `Redis` or `Cluster`. */
export interface IoredisClient {
  readonly status: string
  readonly options?: { keyPrefix?: string | undefined }
  call(command: string, ...args: (string | number)[]): Promise<unknown>
  connect(): Promise<unknown>
  duplicate(...options: never[]): unknown
  disconnect(): void
  on(event: IoredisEvent, listener: (error?: Error) => void): unknown
  off(event: IoredisEvent, listener: (error?: Error) => void): unknown
}

/** The events by which a client of ioredis tells of its connection. */
export type IoredisEvent = 'close' | 'end' | 'error' | 'ready'

/** The options with which node-redis sends a command. */
export interface Sending {
  abortSignal?: AbortSignal
}

/** A pool of node-redis, which sends each command by a client that is free: what `createClientPool` gives. */
export interface NodeRedisPool {
  sendCommand(args: string[], options?: Sending): Promise<unknown>
  execute(task: never): unknown
}

/** A client of node-redis: what `createClient` gives. */
export interface NodeRedisClient {
  sendCommand(args: string[], options?: Sending): Promise<unknown>
  readonly isOpen: boolean
  duplicate(...options: never[]): unknown
  on(event: NodeRedisEvent, listener: () => void): unknown
  destroy(): void
}

/** The events by which a client of node-redis tells of its connection. */
export type NodeRedisEvent = 'connect' | 'end' | 'error' | 'ready' | 'reconnecting'

/** A cluster of node-redis: what `createCluster` gives. */
export interface NodeRedisCluster {
  sendCommand(firstKey: string, isReadonly: boolean, args: string[], options?: Sending): Promise<unknown>
  nodeClient(node: never): unknown
  readonly slots: ({ master: { address: string } } | undefined)[]
}

/** A client of node-redis of a master that Sentinel watches: what `createSentinel` gives. */
export interface NodeRedisSentinel {
  sendCommand(isReadonly: boolean, args: string[], options?: Sending): Promise<unknown>
  getSentinelNode(): unknown
}

/**
 * Sends a command by any other means; `key` is its first key, if it has one. It gives the answer, or a
 * promise of the answer.
 */
export type SendCommand = (args: string[], key: string | undefined) => unknown

/** The clients that can be passed as `client`. */
export type RedisClient =
  IoredisClient | NodeRedisClient | NodeRedisPool | NodeRedisCluster | NodeRedisSentinel | SendCommand

/** One of the clients above, asked in one way. */
export interface Adapter {
  /** Whether the commands of one process arrive in the order in which they are sent. */
  readonly ordered: boolean
  /** Whether it talks to one server, which has all keys. */
  readonly walks: boolean
  /** The text that the client puts before each key. */
  readonly prefix: string
  /** Sends the command. A command that is not on its way yet when `over` is aborted is not sent any more. */
  send(command: Command, key: string | undefined, over: AbortSignal): Promise<unknown>
  /** The address of the node of a cluster that has the key, as far as the client knows. */
  owner?(key: string): string | undefined
  /** Why the client is not connected. */
  readonly trouble?: Trouble
  /** The connections for commands that wait. */
  readonly own?: Connections
}
