// A process of its own that serves one host with a plug-in:
//
//   node worker.mjs HOST PORT-OF-REDIS
//
// It says its port.

import { hosts } from './hosts.mjs'
import { ioredis, patient } from './kit.mjs'

const [, , host, port] = process.argv
const running = await hosts[host]({ client: patient(ioredis(Number(port))) })
console.log(running.port)
