// A process of its own that serves hosts with their plug-ins:
//
//   node worker.mjs PORT-OF-REDIS '{ "HOST": { "prefix": …, "theirs": OPTIONS-OF-THE-HOST }, … }'
//
// It says the port of each host.

import { Server } from 'floodgate-redis'
import { hosts } from './hosts.mjs'
import { newIoredis } from './new-ioredis.mjs'
import { PATIENT } from './patience.mjs'

// An outage is tried with it, and what is granted on a busy machine.
const TIMEOUT_MS = 5000

const [, , redis, served] = process.argv
const ports = {}
for (const [host, { prefix, theirs }] of Object.entries(JSON.parse(served))) {
  const client = new Server(newIoredis(Number(redis)), { ...PATIENT, timeoutMs: TIMEOUT_MS })
  ports[host] = (await hosts[host]({ client, prefix }, theirs)).port
}
console.log(JSON.stringify(ports))
