// A cluster of three masters, a master that Sentinel watches, and a pool of connections to a server.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Cluster, Redis } from 'ioredis'
import { createClientPool, createCluster, createSentinel } from 'redis'
import { Breaker, Cache, Limiter, Misconfigured, Server, reserve } from 'floodgate-redis'
import { FloodgateStore } from 'floodgate-redis/express'
import { BOTH, ioredis, listener, patient } from './clients.mjs'
import { closeLater } from './closing.mjs'
import { times } from './numbers.mjs'
import { OldestIoredis } from './oldest.mjs'
import { IMPATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { eventually, sleep } from './waits.mjs'

const cluster = await startServer('cluster')
const sentinel = await startServer('sentinel')
const { url } = await startServer()
const node = { host: '127.0.0.1', port: cluster.port }
const watched = { host: '127.0.0.1', port: sentinel.port }

const clients = {
  'ioredis Cluster': (options) => new Cluster([node], options),
  'ioredis Cluster, of its nodes': ({ keyPrefix }) => new Cluster([node], { redisOptions: { keyPrefix } }),
  'ioredis Cluster, oldest': (options) => new OldestIoredis.Cluster([node], options),
  'ioredis Cluster, in pipelines': (options) =>
    new Cluster([node], { ...options, enableAutoPipelining: true }),
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
      closeLater(() => (isOfIoredis ? client.disconnect() : client.destroy()))
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

for (const [name, connect] of BOTH) {
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

/** A cluster of one's own: its nodes by their ports, and one key of each. */
async function startCluster() {
  const own = await startServer('cluster')
  const ranges = await own.operator.cluster('SLOTS')
  const nodes = new Map(ranges.map(([, , [, port]]) => [port, ioredis(port)]))
  const keyOf = async (port) => {
    for (let i = 0; ; i++)
      if (
        await nodes
          .get(port)
          .get(`n${i}`)
          .then(
            () => true,
            () => false,
          )
      )
        return `n${i}`
  }
  const keys = new Map()
  for (const port of nodes.keys()) keys.set(port, await keyOf(port))
  // One that is away does not stop the others.
  for (const node of nodes.values()) await node.config('SET', 'cluster-require-full-coverage', 'no')
  return { ...own, nodes, keys }
}
const ofCluster = {
  ioredis: (port, redisOptions) => new Cluster([{ host: '127.0.0.1', port }], { redisOptions }),
  'node-redis': (port, defaults) =>
    createCluster({ rootNodes: [{ socket: { host: '127.0.0.1', port } }], defaults }),
}

for (const [name, make] of Object.entries(ofCluster)) {
  const connect = async (port, options, serverOptions) => {
    const client = make(port, options)
    client.on('error', () => {})
    const server = new Server(client, { ...IMPATIENT, ...serverOptions })
    if (name === 'node-redis') await client.connect().catch(() => {})
    closeLater(() => (client.disconnect ?? client.destroy).call(client))
    return server
  }

  test(`${name}: a node that hangs, and keys on their way, are no outage of the others`, async () => {
    const { port, nodes, keys, freeze, thaw } = await startCluster()
    const logger = listener()
    const server = await connect(port, {}, { logger })
    const limiter = new Limiter(server, { rememberDenials: false })
    const source = async (key) => (await limiter.acquire(key, '1000000/h')).source
    for (const key of keys.values())
      await eventually('it answers', async () => (await source(key)) === 'redis')
    for (const node of nodes.values()) await node.config('RESETSTAT')
    for (let i = 0; i < 30; i++) {
      const items = [...'ab'].map((tail) => ({ key: `{t${i}}${tail}`, limits: '9/h' }))
      assert.ok((await limiter.batch('ALL', items)).every(({ granted }) => granted === 1))
      await source(`{t${i}}a`)
    }
    for (const node of nodes.values()) assert.doesNotMatch(await node.info('errorstats'), /MOVED/)

    // Of the one node, one key moves to the other, and a key beside it does not yet.
    const [from, to, third] = [...nodes.keys()]
    const [moved, stays] = ['moved', 'stays'].map((tail) => `{${keys.get(from)}}${tail}`)
    for (const key of [moved, stays]) assert.equal(await source(key), 'redis')
    const slot = await nodes.get(from).cluster('KEYSLOT', moved)
    const id = (port) => nodes.get(port).cluster('MYID')
    await nodes.get(to).call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', await id(from))
    await nodes.get(from).call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', await id(to))
    await nodes.get(from).migrate('127.0.0.1', to, moved, 0, 5000)
    const both = [moved, stays].map((key) => ({ key, limits: '1000000/h' }))
    await limiter.batch('ALL', both)
    assert.equal(limiter.counters.fallback, 2, 'it is decided by the fallback')
    for (const key of [...keys.values(), moved, stays]) assert.equal(await source(key), 'redis', key)
    assert.deepEqual(logger.lines, [])

    await freeze(third)
    try {
      const cache = new Cache(server, `{${keys.get(third)}}`)
      await eventually('it is away', async () => (await source(keys.get(third))) === 'fallback')
      await cache.set('alone', 1)
      const end = performance.now() + 2500
      while (performance.now() < end) {
        for (const port of [from, to]) assert.equal(await source(keys.get(port)), 'redis')
        assert.equal(await source(keys.get(third)), 'fallback')
        assert.equal(await cache.get('alone'), 1)
        await sleep(10)
      }
    } finally {
      await thaw(third)
    }
    await eventually('it is back', async () => (await source(keys.get(third))) === 'redis')
    assert.match(logger.lines[0], new RegExp(`^error: floodgate: Redis at 127.0.0.1:${third} is away`))
    assert.deepEqual(logger.lines.slice(1), [`info: floodgate: Redis at 127.0.0.1:${third} is back`])
  })

  test(`${name}: it is told what became of a node whose keys another one takes over`, async () => {
    const { port, nodes, keys, kill } = await startCluster()
    const logger = listener()
    const server = await connect(port, {}, { logger })
    const limiter = new Limiter(server, { rememberDenials: false })
    const [dead, heir] = [...nodes.keys()].filter((one) => one !== port)
    const key = keys.get(dead)
    const source = async () => (await limiter.acquire(key, '1000000/h')).source
    await eventually('it answers', async () => (await source()) === 'redis')
    await kill(dead)
    await eventually('it is away', async () => (await source()) === 'fallback')
    const slot = await nodes.get(heir).cluster('KEYSLOT', key)
    const id = await nodes.get(heir).cluster('MYID')
    for (const [alive, node] of nodes)
      if (alive !== dead) await node.call('CLUSTER', 'SETSLOT', slot, 'NODE', id)
    await eventually('the heir decides', async () => (await source()) === 'redis')
    await times(10, source)
    const told = logger.lines.filter((line) => line.includes(`Redis at 127.0.0.1:${dead} is`))
    assert.match(told[0], /is away, the fallback decides/)
    const heirs = `Redis at 127.0.0.1:${heir} has its keys, and decides`
    assert.deepEqual(told.slice(1), [
      `info: floodgate: Redis at 127.0.0.1:${dead} is not asked any more: ${heirs}`,
    ])
  })

  test(`${name}: a wrong password and missing rights are raised`, async () => {
    const { port, nodes } = await startCluster()
    for (const node of nodes.values()) await node.config('SET', 'requirepass', 'secret')
    const user = (...rights) =>
      Promise.all(
        [...nodes.values()].map((node) => node.acl('SETUSER', 'app', 'reset', 'on', '>right', ...rights)),
      )
    const asked = async (password) => new Limiter(await connect(port, { username: 'app', password }))
    await user('~*', '+@all')
    await assert.rejects((await asked('wrong')).acquire('k', '9/h'), (error) => {
      return error instanceof Misconfigured && /^WRONGPASS/.test(error.message)
    })
    await user('~*', '+info', '+rl.acquire')
    await assert.rejects((await asked('right')).acquire('k', '9/h'), (error) => {
      return error instanceof Misconfigured && /^NOPERM/.test(error.message)
    })
    await user('~*', '+info', '+rl.acquire', '+cluster|slots', '+cluster|info', '+asking')
    const right = await asked('right')
    await eventually('it answers', async () => (await right.acquire('k', '99/h')).source === 'redis')
  })
}
