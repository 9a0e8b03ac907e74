import type {
  Adapter,
  NodeRedisClient,
  NodeRedisCluster,
  NodeRedisPool,
  NodeRedisSentinel,
  RedisClient,
} from './client.js'
import { ioredis } from './ioredis.js'
import { nodeRedis, nodeRedisCluster, nodeRedisPool, nodeRedisSentinel } from './node-redis.js'

const known = new WeakMap<RedisClient, Adapter>()

/** Gives the adapter of a client. Each client has one. */
export function adapterOf(client: RedisClient): Adapter {
  let adapter = known.get(client)
  if (!adapter) known.set(client, (adapter = newAdapterOf(client)))
  return adapter
}

const CLIENTS =
  'it must be a client of ioredis or node-redis, such as new Redis(url), or a function that sends a command'

function newAdapterOf(client: RedisClient): Adapter {
  if (typeof client === 'function') {
    // It may give the answer itself, or throw at once.
    const send: Adapter['send'] = async (command, key) => client(command.map(String), key)
    return { ordered: false, walks: false, prefix: '', send }
  }
  if (typeof client !== 'object' || client === null) {
    // The error does not show the value: an address may have a password.
    const given = client === undefined || client === null ? String(client) : `a ${typeof client}`
    throw new TypeError(`client is ${given}: ${CLIENTS}`)
  }
  if ('call' in client && typeof client.call === 'function') return ioredis(client)
  if (!('sendCommand' in client) || typeof client.sendCommand !== 'function') {
    throw new TypeError(`client is another object: ${CLIENTS}`)
  }
  if ('nodeClient' in client) return nodeRedisCluster(client as NodeRedisCluster)
  if ('getSentinelNode' in client) return nodeRedisSentinel(client as NodeRedisSentinel)
  const isOfOne = 'duplicate' in client && typeof client.duplicate === 'function'
  return isOfOne ? nodeRedis(client as NodeRedisClient) : nodeRedisPool(client as NodeRedisPool)
}
