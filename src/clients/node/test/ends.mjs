// A program that has waited in line, closes its clients, and then must end by itself. It closes one client
// in each way:
//
//   node ends.mjs CLIENT PORT WAY…

import { Breaker, Cache, Lease, Limiter, Server, reserve } from 'floodgate-redis'

const [, , kind, port, ...ways] = process.argv
const node = { host: '127.0.0.1', port: Number(port) }
const { Cluster, Redis, createClient } = await import(kind === 'node-redis' ? 'redis' : 'ioredis')
const connect = {
  ioredis: () => new Redis(node),
  cluster: () => new Cluster([node]),
  // Of Sentinels that cannot be reached.
  sentinel: () => new Redis({ sentinels: [node], name: 'floodgate' }),
  'node-redis': () => createClient({ socket: node }),
}[kind]
for (const how of ways) {
  const client = connect()
  client.on('error', () => {})
  if (kind === 'node-redis') await client.connect()
  const server = new Server(client, { timeoutMs: 20_000, logger: null })
  const limiter = new Limiter(server)
  await Promise.all([1, 2, 3].map(() => limiter.wait(`ends:${kind}`, '1000/h', 1000)))
  await reserve(limiter, { 'ends:place': 'concurrent:9' }, { waitMs: 1000 }, async () => {})
  await new Cache(server, 'ends').once(`${kind}:${how}`, () => 42)
  await new Breaker(server, 'ends:breaker', '3').call(() => 42)
  const lease = new Lease(limiter, 'ends:lease', '1000000/h')
  for (let i = 0; i < 20; i++) await lease.acquire()
  await lease.close()
  // Under way while the client is closed.
  const late = limiter.wait(`ends:late:${kind}:${how}`, '1000/h', 1000).catch(({ name }) => name)
  if (how === 'at once') (client.destroy ?? client.disconnect).call(client)
  await late
  if (how !== 'at once') await client[how]()
  console.log(`closed: ${how}`)
}
