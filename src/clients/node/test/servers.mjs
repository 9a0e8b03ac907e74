// Servers for tests, from the program that runs them (tests/server/clients/node.rs). FLOODGATE_CONTROL
// names its port.

import assert from 'node:assert/strict'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { ioredis } from './clients.mjs'
import { closeLater } from './closing.mjs'

/**
 * Starts a server of one's own, which runs until the tests of the file are over: a `server`, a `cluster`
 * or a `sentinel`. `operator` is a client of it.
 */
export async function startServer(kind = 'server') {
  const control = process.env.FLOODGATE_CONTROL
  assert.ok(control, 'these tests are run by: cargo test --all-features --test server clients::node')
  const socket = net.connect(Number(control), '127.0.0.1')
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  socket.write(`${kind}\n`)
  const port = Number((await lines.next()).value)
  const please = async (what) => {
    socket.write(`${what}\n`)
    assert.equal((await lines.next()).value, 'done')
  }
  closeLater(() => socket.destroy())
  let operator
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    get operator() {
      return (operator ??= ioredis(port))
    },
    // In a cluster these are for the node that has this port.
    kill: (node = '') => please(`kill ${node}`),
    start: (node = '') => please(`start ${node}`),
    freeze: (node = '') => please(`freeze ${node}`),
    thaw: (node = '') => please(`thaw ${node}`),
  }
}

/** Starts a server whose clock stands still until it is advanced, so that no slow machine ends a window. */
export async function startStillServer() {
  const server = await startServer()
  const { operator } = server
  await operator.call('RL.DEBUG', 'CLOCK', 'SET', 1_700_000_000_000_000)
  const advance = (ms) => operator.call('RL.DEBUG', 'CLOCK', 'ADVANCE', ms * 1000)
  return { ...server, operator, advance }
}
