import type { Adapter, Command, IoredisClient } from './client.js'
import { Connections, opened } from './connections.js'
import { isOnItsWay } from './errors.js'
import { prefixed } from './keys.js'
import { slotOf } from './slots.js'
import { Trouble } from './trouble.js'

/** What this package uses of `Cluster` of ioredis beyond `Redis`. */
interface IoredisCluster extends IoredisClient {
  /** The addresses of the nodes of each slot, the master first. */
  readonly slots: (string[] | undefined)[]
  createBuiltinCommand(name: string): { string(...args: (string | number)[]): Promise<unknown> }
  sendCommand(command: IoredisCommand): Promise<unknown>
}

interface IoredisCommand {
  getKeys(): string[]
  reject(error: Error): void
}

const ignore = () => {}

const isCluster = (client: IoredisClient): client is IoredisCluster =>
  'isCluster' in client && client.isCluster === true

/** Asks a client of ioredis: `Redis` or `Cluster`. */
export function ioredis(client: IoredisClient): Adapter {
  const prefix = String(client.options?.keyPrefix ?? '')
  const call = (by: IoredisClient, command: Command, key: string | undefined) => {
    const told = forIoredis(prefix, command, key)
    if (key === undefined || !isCluster(by) || !UNKNOWN_TO_IOREDIS.test(command[0])) return by.call(...told)
    return sendToOwner(by, told, prefix + key)
  }
  let connecting: Promise<void> | undefined
  return {
    ordered: !isCluster(client),
    walks: !isCluster(client),
    prefix,
    ...(isCluster(client) && { owner: (key) => client.slots[slotOf(prefix + key)]?.[0] }),
    trouble: Trouble.ofIoredis(client),
    own: connectionsBeside(client, call),
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

/** Sends a command by a client, or by one that was made like it. */
type Call = (by: IoredisClient, command: Command, key: string | undefined) => Promise<unknown>

function connectionsBeside(client: IoredisClient, call: Call): Connections {
  const patient = { commandTimeout: undefined, socketTimeout: undefined }
  // Nothing is tried again: where the connection does not open, the request is asked by the client itself.
  const once = { retryStrategy: () => null, sentinelRetryStrategy: () => null }
  const overrides = isCluster(client)
    ? [[], { lazyConnect: true, clusterRetryStrategy: () => null, redisOptions: patient }]
    : [{ ...patient, ...once, lazyConnect: true, maxRetriesPerRequest: 0 }]
  const duplicate = client.duplicate as (...overrides: unknown[]) => IoredisClient
  return new Connections({
    open(over) {
      const own = duplicate.apply(client, overrides)
      const use = {
        isOpen: () => own.status === 'ready',
        send: (command: Command, key: string | undefined) => call(own, command, key),
        close: () => own.disconnect(),
      }
      return opened(own, use, over)
    },
    isClosed: () => client.status === 'end',
    watch({ lost, closed }) {
      client.on('close', lost)
      client.on('ready', lost)
      client.on('end', closed)
    },
  })
}

const UNKNOWN_TO_IOREDIS = /^(RL|CB)\./

/**
 * Puts the prefix before the keys of the commands that ioredis does not know. It does so itself for those
 * that it knows; before 5.9 it knows them in lower case only.
 */
function forIoredis(prefix: string, command: Command, key: string | undefined): Command {
  if (UNKNOWN_TO_IOREDIS.test(command[0])) return prefixed(prefix, command, key)
  const [name, ...args] = command
  return [name.toLowerCase(), ...args]
}

/**
 * Sends the command to the node that has its key: ioredis knows no keys of the commands that it does
 * not know, and would ask any master. Where keys are on their way to another node, ioredis would ask
 * again and again, for longer than anybody waits.
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

/** A client that `wait`s connects when it is asked for the first time (`lazyConnect`). */
const CONNECTING = new Set(['wait', 'connecting', 'connect', 'reconnecting', 'close'])

/** Waits until the client is connected. It rejects with the reason where the client fails. */
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
    // The events of the client tell why it fails.
    if (client.status === 'wait') client.connect().catch(ignore)
  })
}
