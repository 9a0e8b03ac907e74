// The hosts in the process of the tests, on one server that is neither killed nor frozen.

import { hosts } from './hosts.mjs'
import { ioredis, nodeRedis, patient } from './clients.mjs'
import { closeLater } from './closing.mjs'
import { startStillServer } from './servers.mjs'

// Its clock stands still.
export const still = await startStillServer()
export const { operator: client, port } = still

let prefixes = 0
/** One of the hosts in this process, by keys of its own. */
export async function run(
  host,
  theirs,
  { by = patient(client), prefix = `${host}:${(prefixes += 1)}:`, from } = {},
) {
  const running = await hosts[host]({ client: by, prefix }, theirs, from)
  closeLater(running.close)
  return { ...running, prefix }
}

export const statuses = (answers) => answers.map(({ status }) => status)
export const count = (answers, status) => answers.filter((answer) => answer.status === status).length
export const NAMES = Object.keys(hosts)
export const LIMIT = { express: 'limit', hono: 'limit', fastify: 'max', nestjs: 'limit' }
/** Makes it when it is asked for first. */
const memo = (make) => {
  let made
  return () => (made ??= make())
}
export const CLIENTS = {
  'ioredis, RESP2': memo(() => ioredis(port, { protocol: 2 })),
  'ioredis, RESP3': memo(() => ioredis(port, { protocol: 3, replyMapping: 'resp3' })),
  'node-redis, RESP2': memo(() => nodeRedis(port, { RESP: 2 })),
  'node-redis, RESP3': memo(() => nodeRedis(port, { RESP: 3 })),
}
export const WINDOW = { express: 'windowMs', hono: 'windowMs', fastify: 'timeWindow', nestjs: 'ttl' }
