// What each of several processes serves that count together.

import { Server } from 'floodgate-redis'
import { hosts } from './hosts.mjs'
import { newIoredis } from './new-ioredis.mjs'
import { PATIENT } from './patience.mjs'

// An outage is tried with it, and what is granted on a busy machine.
const TIMEOUT_MS = 5000

/**
 * Serves each host of `{ HOST: { prefix, theirs: options of the host } }` with its plug-in.
 *
 * @returns the port of each, and what closes them
 */
export async function serveAll(redis, served) {
  const ports = {}
  const closings = []
  for (const [host, { prefix, theirs }] of Object.entries(served)) {
    const own = newIoredis(redis)
    const client = new Server(own, { ...PATIENT, timeoutMs: TIMEOUT_MS })
    const { port, close } = await hosts[host]({ client, prefix }, theirs)
    ports[host] = port
    closings.push(close, () => own.disconnect())
  }
  return { ports, close: () => closings.forEach((close) => close()) }
}
