// A process that loads the package as an ES module and as CommonJS: an application of one kind, and a
// library of the other.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import * as esm from 'floodgate-redis'
import { FloodgateStore } from 'floodgate-redis/express'
import { ioredis } from './clients.mjs'
import { startServer } from './servers.mjs'

const cjs = createRequire(import.meta.url)('floodgate-redis')
const server = await startServer()

for (const [name, one, other] of [
  ['an ES module with what CommonJS made', esm, cjs],
  ['CommonJS with what an ES module made', cjs, esm],
]) {
  test(name, async () => {
    const client = ioredis(server.port)
    const made = new one.Server(client, { timeoutMs: 5000, restMs: 200, logger: null })
    assert.equal((await new other.Limiter(made).acquire('both', '100/h')).source, 'redis')
    const store = new FloodgateStore({ client: made })
    store.init({ windowMs: 60_000, limit: 5 })
    assert.equal((await store.increment(name)).totalHits, 1)
    assert.equal(one.Server.of(client), other.Server.of(client))

    const limiter = new one.Limiter(made)
    const reserved = () => other.reserve(limiter, { [name]: '1/h' }, {}, async () => 'done')
    assert.equal(await reserved(), 'done')
    await assert.rejects(reserved(), one.Denied)
    client.disconnect()
    assert.equal(await reserved(), 'done', 'the fallback decides')
    const paid = other.guarded({ limiter, breaker: new one.Breaker(made, 'b', '3'), key: name }, () => 42)
    assert.equal(await paid(), 42)
  })
}
