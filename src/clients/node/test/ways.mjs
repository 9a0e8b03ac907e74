// Ways to a server on which things go wrong between it and its client.

import { once } from 'node:events'
import net from 'node:net'
import { closeLater } from './closing.mjs'

/**
 * Starts a way to a server on which answers to commands that WAIT get lost. The server does not hear there
 * that a client has gone. `cut` closes the connections of the clients that wait.
 */
export async function startLossyWay(port) {
  const waiting = new Set()
  const proxy = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1')
    closeLater(() => server.destroy())
    let waits = false
    client.on('data', (asked) => {
      if (asked.includes('WAIT')) waits = waiting.add(client)
      server.write(asked)
    })
    server.on('data', (told) => waits || client.destroyed || client.write(told))
    for (const socket of [client, server]) socket.on('error', () => {})
  })
  proxy.listen(0, '127.0.0.1')
  const cut = () => waiting.forEach((client) => client.destroy())
  return { port: await listening(proxy), cut }
}

/**
 * Starts a way to a server. `vanish` does as if the host vanished: the connections after the first `from`
 * carry nothing any more, and stay open. `cut` closes the first connection, that of the client itself.
 * `shut` lets nobody through any more.
 */
export async function startWay(port) {
  const ways = []
  const proxy = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1')
    closeLater(() => server.destroy())
    const way = { client, vanished: false }
    ways.push(way)
    client.on('data', (asked) => way.vanished || server.write(asked))
    server.on('data', (told) => way.vanished || client.destroyed || client.write(told))
    client.on('close', () => way.vanished || server.destroy())
    server.on('close', () => way.vanished || client.destroy())
    for (const socket of [client, server]) socket.on('error', () => {})
  })
  proxy.listen(0, '127.0.0.1')
  const own = await listening(proxy)
  return {
    port: own,
    vanish: (from = 0) => ways.slice(from).forEach((way) => (way.vanished = true)),
    cut: () => ways[0].client.destroy(),
    shut: () => {
      proxy.close()
      ways.forEach(({ client }) => client.destroy())
    },
  }
}

/** The port on which a server listens, until the tests of the file are over. */
export async function listening(server) {
  if (!server.listening) await once(server, 'listening')
  closeLater(() => {
    server.close()
    server.closeAllConnections?.()
  })
  return server.address().port
}
