// A process of its own that serves hosts with their plug-ins:
//
//   node worker.mjs PORT-OF-REDIS '{ "HOST": { "prefix": …, "theirs": OPTIONS-OF-THE-HOST }, … }'
//
// It says the port of each host.

import { serveAll } from './serve-all.mjs'

const [, , redis, served] = process.argv
const { ports } = await serveAll(Number(redis), JSON.parse(served))
console.log(JSON.stringify(ports))
