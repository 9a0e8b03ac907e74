// A process that leases until it is denied, then says what it was granted:
//
//   leaser.mjs PORT KEY LIMITS

import { Lease, Limiter, Server } from 'floodgate-redis'
import { newIoredis } from './new-ioredis.mjs'
import { PATIENT } from './patience.mjs'
import { sleep } from './waits.mjs'

const [, , port, key, limits] = process.argv
const client = newIoredis(Number(port))
// What a process has on lease when it dies is free again after 4 times this.
const server = new Server(client, { ...PATIENT, timeoutMs: 5000 })
const lease = new Lease(new Limiter(server), key, limits, { processes: 4 })
let granted = 0
for (let i = 0; ; i++) {
  const decision = await lease.acquire()
  if (!decision.granted) break
  granted += 1
  if (i % 10 === 0) await sleep(1)
}
await lease.close()
process.send({ granted, ...lease.counters })
process.on('message', () => {}) // until it is killed
