// Requests whose signal is aborted before their command is on its way.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Limiter, Server } from 'floodgate-redis'
import { ioredis, listener, nodeRedis } from './clients.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { ends, eventually, sleep } from './waits.mjs'

const server = await startServer()
const { port, operator } = server
const TIMEOUT_MS = 2000

/** A limiter by the client, and what it logs. */
function limiterOf(client, timeoutMs = TIMEOUT_MS) {
  const logger = listener()
  return { logger, limiter: new Limiter(new Server(client, { ...PATIENT, timeoutMs, logger })) }
}

for (const [name, connect] of [
  ['ioredis, which connects for it', () => ioredis(port, { lazyConnect: true })],
  ['node-redis', () => nodeRedis(port)],
]) {
  test(`${name}: who goes at once is no sign of an outage, and takes nothing`, async () => {
    const { limiter, logger } = limiterOf(await connect())
    const gone = new AbortController()
    const asked = limiter.acquire(`at once:${name}`, '9/h', { signal: gone.signal })
    gone.abort()
    await assert.rejects(asked, { name: 'AbortError' })
    await sleep(TIMEOUT_MS + 100)
    assert.deepEqual(logger.lines, [])
    assert.equal((await limiter.acquire('after', '9/h')).source, 'redis')
    assert.equal(await operator.exists(`at once:${name}`), 0)
  })
}

for (const [name, connect] of [
  ['ioredis', (port) => ioredis(port)],
  ['node-redis', (port) => nodeRedis(port)],
]) {
  test(`${name}: a server that is away is found out by those who go at once, too`, async () => {
    const own = await startServer()
    const { limiter, logger } = limiterOf(await connect(own.port), 300)
    await eventually('it answers', async () => (await limiter.acquire('k', '9/h')).source === 'redis')
    logger.lines.length = 0
    await own.kill()
    await sleep(200) // the client finds out that it is not connected
    const gone = new AbortController()
    const asked = limiter.acquire('k', '9/h', { signal: gone.signal })
    gone.abort()
    await ends('it ends', assert.rejects(asked))
    await eventually('it is found out', () => logger.lines.length > 0)
    assert.match(logger.lines[0], /^error: floodgate: Redis is away/)
  })
}
