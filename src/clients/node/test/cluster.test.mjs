// A cluster of three masters, a master that Sentinel watches, and a pool of connections to a server.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { Cluster, Redis } from 'ioredis'
import { createClientPool, createCluster, createSentinel } from 'redis'
import { Breaker, Cache, Limiter, Misconfigured, reserve } from 'floodgate-redis'
import { FloodgateStore } from 'floodgate-redis/express'
import { ioredis, nodeRedis, patient, startServer, times } from './kit.mjs'

const cluster = await startServer('cluster')
const sentinel = await startServer('sentinel')
const { url } = await startServer()
const node = { host: '127.0.0.1', port: cluster.port }
const watched = { host: '127.0.0.1', port: sentinel.port }
const closing = []
after(() => closing.forEach((close) => close()))

const clients = {
  'ioredis Cluster': (options) => new Cluster([node], options),
  'ioredis Cluster, of its nodes': ({ keyPrefix }) => new Cluster([node], { redisOptions: { keyPrefix } }),
  'ioredis by Sentinel': (options) => new Redis({ sentinels: [watched], name: 'floodgate', ...options }),
  'node-redis createCluster': (options) => createCluster({ rootNodes: [{ socket: node }], ...options }),
  'node-redis createSentinel': (options) =>
    createSentinel({ name: 'floodgate', sentinelRootNodes: [watched], ...options }),
  'node-redis createClientPool': (options) => createClientPool({ url, ...options }, { maximum: 3 }),
}

for (const [name, make] of Object.entries(clients)) {
  describe(name, () => {
    const isOfIoredis = name.startsWith('ioredis')
    let limiter
    const limiterOf = async (options) => {
      const client = make(options)
      client.on('error', () => {})
      if (!isOfIoredis) await client.connect()
      closing.push(() => (isOfIoredis ? client.disconnect() : client.destroy()))
      return new Limiter(patient(client))
    }
    const connected = async () => (limiter ??= await limiterOf({}))

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

    test('more at once than it sends', async () => {
      const commandsQueueMaxLength = 5
      const limiter = await limiterOf({
        defaults: { commandsQueueMaxLength },
        nodeClientOptions: { commandsQueueMaxLength },
      })
      const all = Array.from({ length: 100 }, (_, i) => limiter.acquire(`q:${name}:${i % 9}`, '2/h'))
      const decisions = await Promise.all(all)
      assert.ok(decisions.every(({ source }) => source === 'redis'))
      assert.equal(decisions.filter(({ granted }) => granted).length, 18)
    })

    test('what the client puts before its keys', async () => {
      const limiter = await connected()
      const under = await limiterOf({ keyPrefix: 'under:' })
      const used = async (key) => (await limiter.quota(`under:${key}`))?.rows[0].used
      for (let i = 0; i < 6; i++) {
        const key = `p:${name}:${i}`
        assert.equal((await under.acquire(key, '9/h', { cost: 3 })).source, 'redis')
        if (isOfIoredis) await under.wait(key, '9/h', 1000)
        assert.deepEqual([await under.refund(key, 1), await used(key)], [1, isOfIoredis ? 3 : 2])
        const limits = { [`{${key}}org`]: 'concurrent:1,9/h', [`{${key}}user`]: '9/h' }
        await reserve(under, limits, {}, async (spending) => spending.add(4))
        assert.equal(await used(`{${key}}user`), 4)
        const cache = new Cache(under.server, 'values')
        assert.equal(await cache.once(key, () => 42), 42)
        assert.equal(await new Cache(limiter.server, 'under:values').get(key), 42)
        assert.equal(await cache.delete(key), 1)
      }
      assert.equal(await used('of nobody'), undefined)
    })
  })
}

for (const [name, connect] of [
  ['ioredis', ioredis],
  ['node-redis', nodeRedis],
]) {
  test(`${name}: a client of one node is told what to pass instead, each time`, async () => {
    const limiter = new Limiter(patient(await connect(cluster.port)))
    const told = { redis: 0, moved: 0 }
    for (let i = 0; i < 24; i++) {
      try {
        told[(await limiter.acquire(`one:${name}:${i}`, '2/h')).source] += 1
      } catch (error) {
        assert.ok(error instanceof Misconfigured, error.stack)
        assert.match(
          error.message,
          /^MOVED .*: this server is a node of a cluster: pass a client of clusters/,
        )
        told.moved += 1
      }
    }
    assert.ok(told.redis > 0 && told.moved > 0 && told.redis + told.moved === 24, JSON.stringify(told))
  })
}
