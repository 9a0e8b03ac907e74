// A cluster of three masters, and a master that Sentinel watches.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { Cluster, Redis } from 'ioredis'
import { createCluster, createSentinel } from 'redis'
import { Breaker, Limiter, reserve } from 'floodgate-redis'
import { FloodgateStore } from 'floodgate-redis/express'
import { patient, startServer, times } from './kit.mjs'

const cluster = await startServer('cluster')
const sentinel = await startServer('sentinel')
const node = { host: '127.0.0.1', port: cluster.port }
const watched = { host: '127.0.0.1', port: sentinel.port }
const closing = []
after(() => closing.forEach((close) => close()))

const clients = {
  'ioredis Cluster': () => new Cluster([node]),
  'ioredis by Sentinel': () => new Redis({ sentinels: [watched], name: 'floodgate' }),
  'node-redis createCluster': () => createCluster({ rootNodes: [{ socket: node }] }),
  'node-redis createSentinel': () => createSentinel({ name: 'floodgate', sentinelRootNodes: [watched] }),
}

for (const [name, make] of Object.entries(clients)) {
  describe(name, () => {
    const isOfIoredis = name.startsWith('ioredis')
    let limiter
    const connected = async () => {
      if (limiter) return limiter
      const client = make()
      client.on('error', () => {})
      if (!isOfIoredis) await client.connect()
      limiter = new Limiter(patient(client))
      closing.push(() => {
        limiter.server.close()
        if (isOfIoredis) client.disconnect()
        else client.destroy()
      })
      return limiter
    }

    test('keys of all masters', async () => {
      const limiter = await connected()
      for (let i = 0; i < 12; i++) {
        const key = `${name}:${i}`
        const decisions = await times(3, () => limiter.acquire(key, '2/h'))
        assert.deepEqual(
          decisions.map(({ granted, source }) => [granted, source]),
          [1, 1, 0].map((granted) => [granted, 'redis']),
        )
        const { decision, headers } = await limiter.acquireWithHeaders(`h:${key}`, '2/h')
        assert.deepEqual([decision.remaining, headers['X-RateLimit-Remaining']], [1, '1'])
      }
      const items = ['a', 'b'].map((key) => ({ key: `{${name}}${key}`, limits: '1/h' }))
      assert.deepEqual(
        (await limiter.batch('ALL', items)).map(({ granted }) => granted),
        [1, 1],
      )
    })

    test('breakers, reservations and plug-ins', async () => {
      const { server } = await connected()
      for (let i = 0; i < 6; i++) {
        const key = `b:${name}:${i}`
        assert.equal(await new Breaker(server, key, '3').call(() => 42), 42)
        const limits = { [`{${key}}org`]: 'concurrent:1', [`{${key}}user`]: '5/h' }
        assert.equal(await reserve(limiter, limits, {}, async () => 42), 42)
        assert.equal(await reserve(limiter, limits, {}, async () => 42), 42)
      }
      const store = new FloodgateStore({ client: server, prefix: `${name}:` })
      store.init({ windowMs: 60_000, limit: 5 })
      const hits = await times(6, (i) => store.increment(`user:${i % 2}`))
      assert.deepEqual(
        hits.map(({ totalHits }) => totalHits),
        [1, 1, 2, 2, 3, 3],
      )
    })

    test('waiting', async () => {
      const limiter = await connected()
      for (let i = 0; i < 3; i++) {
        const waiting = limiter.wait(`w:${name}:${i}`, '1/50ms', 5000)
        if (isOfIoredis) assert.equal((await waiting).source, 'redis')
        else await assert.rejects(waiting, /waiting needs a connection of its own/)
      }
    })
  })
}
