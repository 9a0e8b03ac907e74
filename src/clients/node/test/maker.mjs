// One of several processes that make the same: maker.mjs PORT once|dies

import { Cache } from 'floodgate-redis'
import { ioredis, patient, sleep } from './kit.mjs'

const [, , port, part] = process.argv
const client = ioredis(Number(port))
const server = patient(client)
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
