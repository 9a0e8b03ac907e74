// A process of its own that serves one host with a plug-in:
//
//   node worker.mjs HOST PORT-OF-REDIS PREFIX OPTIONS-OF-THE-HOST
//
// It says its port.

import { Server } from 'floodgate-redis'
import { hosts } from './hosts.mjs'
import { PATIENT, ioredis } from './kit.mjs'

// An outage is tried with it, and what is granted on a busy machine.
const TIMEOUT_MS = 5000

const [, , host, port, prefix, theirs] = process.argv
const client = new Server(ioredis(Number(port)), { ...PATIENT, timeoutMs: TIMEOUT_MS })
const running = await hosts[host]({ client, prefix }, JSON.parse(theirs))
console.log(running.port)
