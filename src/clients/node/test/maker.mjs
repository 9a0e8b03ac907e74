// One of several processes that make the same: maker.mjs PORT once|dies

import { Cache, Server } from 'floodgate-redis'
import { newIoredis } from './new-ioredis.mjs'
import { PATIENT } from './patience.mjs'
import { sleep } from './waits.mjs'

const [, , port, part] = process.argv
const client = newIoredis(Number(port))
const server = new Server(client, PATIENT)
if (part === 'dies') {
  await new Cache(server, 'dies', { holdMs: 500 }).once('x', async () => {
    await client.incr('makers:dying')
    await sleep(60_000)
  })
}
const cache = new Cache(server, 'makers')
const make = async () => {
  await client.incr('makers:made')
  await sleep(300)
  return 42
}
const answers = await Promise.all(Array.from({ length: 5 }, () => cache.once('answer', make)))
await client.rpush('makers:answers', ...answers)
server.close()
client.disconnect()
process.exit(0)
