// A client of ioredis. Programs that tests start load this file: it loads nothing else.

import { Redis } from 'ioredis'

/** A client that tries again soon, and whose errors nobody needs. */
export function newIoredis(port, options = {}, Client = Redis) {
  const client = new Client({ port, retryStrategy: () => 50, ...options })
  client.on('error', () => {})
  return client
}
