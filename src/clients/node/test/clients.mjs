// Clients of others, as tests pass them in.

import { Redis } from 'ioredis'
import { Server } from 'floodgate-redis'
import { closeLater } from './closing.mjs'
import { newIoredis } from './new-ioredis.mjs'
import { PATIENT } from './patience.mjs'

/** A client of ioredis, until the tests of the file are over. */
export function ioredis(port, options = {}, Client = Redis) {
  const client = newIoredis(port, options, Client)
  closeLater(() => client.disconnect())
  return client
}

/** A client of node-redis, until the tests of the file are over. Files that need none do not load it. */
export async function nodeRedis(port, options = {}) {
  const { createClient } = await import('redis')
  const client = createClient({ ...options, socket: { port, reconnectStrategy: 50 } })
  client.on('error', () => {})
  await client.connect()
  closeLater(() => client.destroy())
  return client
}

/** The names of both clients, and how each connects. */
export const BOTH = Object.entries({ ioredis, 'node-redis': nodeRedis })

/** A Server of the client that waits for a busy machine. */
export const patient = (client) => new Server(client, PATIENT)

/** What is logged, to be looked at. */
export function listener() {
  const lines = []
  const tell = (level) => (message) => lines.push(`${level}: ${message}`)
  return { lines, info: tell('info'), warn: tell('warn'), error: tell('error') }
}
