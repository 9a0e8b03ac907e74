// The server killed, frozen, full, or a replica.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import {
  Away,
  Breaker,
  Denied,
  FailClosed,
  FailOpen,
  Limiter,
  LocalBucket,
  Server,
  reserve,
} from 'floodgate-redis'
import { asksAgain } from './asks-again.mjs'
import { BOTH, ioredis, listener, patient } from './clients.mjs'
import { times } from './numbers.mjs'
import { OldestIoredis } from './oldest.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { ends, eventually, sleep } from './waits.mjs'

const server = await startServer()
const { port, operator } = server
const granted = (decisions) => decisions.map((decision) => decision.granted)

for (const [name, connect] of BOTH) {
  test(`${name}: killed, all that is under way ends well, and what was granted stands`, async () => {
    const logger = listener()
    // It does not hang, so that patience costs nothing. But node-redis keeps what it is told while it
    // has no connection.
    const asked = new Server(await connect(port), { ...PATIENT, timeoutMs: 5000, logger })
    const limiter = new Limiter(asked, { fallback: new LocalBucket(1, 5), rememberDenials: false })
    assert.deepEqual(granted(await times(3, () => limiter.acquire(`kept:${name}`, '3/h'))), [1, 1, 1])
    const requests = async () => {
      for (let shared = 0; ; shared++) {
        const { source } = await ends('a request', limiter.acquire('flight', '1000000/h'))
        if (source !== 'redis') return shared
        await sleep(1)
      }
    }
    await limiter.acquire(`flight:line:${name}`, '1/h')
    const waiter = limiter.wait(`flight:line:${name}`, '1/h', 25_000)
    let end
    const gone = new Promise((resolve) => (end = resolve))
    const call = new Breaker(asked, `flight:mail:${name}`, '1').call(() => gone)
    const stream = reserve(
      limiter,
      { [`flight:llm:${name}`]: '9/h,concurrent:2' },
      { ttlMs: 30_000 },
      async (spending) => {
        await gone
        spending.add(1)
        return 42
      },
    )
    const loops = [requests(), requests(), requests()]
    await eventually('all is under way', async () => {
      const [[waiting], held] = await Promise.all([
        operator.call('RL.QUEUE', `flight:line:${name}`),
        operator.call('RL.RESERVATIONS', `flight:llm:${name}`),
      ])
      return waiting === 1 && held.length === 1 && limiter.counters.redis > 100
    })
    await server.kill()
    end()
    for (const shared of await Promise.all(loops)) assert.ok(shared > 0)
    await ends('the call', call)
    assert.equal(await ends('the work', stream), 42)
    assert.equal((await ends('the wait', waiter)).source, 'fallback')

    for (const [fallback, least, most] of [
      [new FailOpen(), 20, 20],
      [new FailClosed(), 0, 0],
      [new LocalBucket(1, 5), 5, 5],
    ]) {
      const alone = new Limiter(asked, { fallback })
      const start = performance.now()
      const decisions = await ends(
        'twenty requests',
        times(20, () => alone.acquire('k', '3/h')),
      )
      // A bucket gains meanwhile.
      const gained = fallback instanceof LocalBucket ? (performance.now() - start) / 1000 : 0
      const sum = granted(decisions).reduce((a, b) => a + b)
      assert.ok(least <= sum && sum <= most + gained, `${fallback.constructor.name}: ${sum}`)
      assert.ok(decisions.every(({ source }) => source === 'fallback'))
    }
    const closed = new Limiter(asked, { fallback: new FailClosed() })
    await assert.rejects(
      reserve(closed, { llm: '9/h' }, {}, () => assert.fail('done')),
      Denied,
    )
    assert.equal(await new Breaker(asked, 'mail', '2').call(() => 42), 42)
    assert.deepEqual(await closed.headers('k', '3/h'), {})
    const { decision, headers } = await closed.acquireWithHeaders('k', '3/h')
    assert.deepEqual([decision.granted, headers], [0, { 'Retry-After': '1' }])
    assert.equal(await closed.refund('k', 1), 0)
    const charged = await new Limiter(asked, { fallback: new LocalBucket(1, 5) }).charge('k', '3/h', 4)
    assert.deepEqual([charged.granted, charged.remaining, charged.source], [4, 1, 'fallback'])
    const all = await new Limiter(asked, { fallback: new LocalBucket(1, 2) }).batch('ALL', [
      { key: 'a', cost: 2 },
      { key: 'b', cost: 3 },
    ])
    assert.deepEqual([granted(all), all[0].index, all[1].retryAfterMs], [[0, 0], -3, -1])
    await assert.rejects(closed.quota('k'), Away)

    // What was not sent is not done later.
    for (let i = 0; i < 2; i++) {
      await sleep(350) // the longest rest: it is asked anew
      assert.equal((await limiter.acquire(`queued:${name}`, '9/h')).source, 'fallback')
    }

    await server.start()
    await asksAgain(limiter)
    assert.equal(await operator.exists(`queued:${name}`), 0)
    assert.equal((await limiter.acquire(`kept:${name}`, '3/h')).granted, 0)
    assert.equal(logger.lines.length, 2, logger.lines.join('\n'))
    assert.match(logger.lines[0], /^error: floodgate: Redis is away, the fallback decides: ./)
    assert.equal(logger.lines[1], 'info: floodgate: Redis is back')
  })

  test(`${name}: frozen, one of a crowd pays the timeout`, async () => {
    const limiter = new Limiter(
      new Server(await connect(port), { ...PATIENT, timeoutMs: 1000, restMs: 2000 }),
    )
    await asksAgain(limiter)
    await server.freeze()
    const alone = async () => {
      const decision = await ends('a request', limiter.acquire(`frozen:${name}`, '1000/h'))
      assert.equal(decision.source, 'fallback')
    }
    const start = performance.now()
    await alone()
    assert.ok(performance.now() - start > 900)
    await sleep(3100) // the longest rest
    await Promise.all([...Array(20)].map(alone))
    await server.thaw()
    await asksAgain(limiter)
    // The first, and one of the crowd: nobody else was sent, nor waited for.
    assert.equal((await limiter.quota(`frozen:${name}`, '1000/h')).rows[0].used, 2)
  })
}

for (const [name, connect] of BOTH) {
  test(`${name}: frozen, those whose own patience is shorter find out, too`, async () => {
    const logger = listener()
    const asked = new Server(await connect(port), { ...PATIENT, timeoutMs: 1000, restMs: 10_000, logger })
    const limiter = new Limiter(asked)
    await asksAgain(limiter)
    await server.freeze()
    const hasty = () => limiter.acquire('hasty', '1000/h', { signal: AbortSignal.timeout(300) })
    const sources = await times(12, () =>
      hasty().then(
        ({ source }) => source,
        ({ name }) => name,
      ),
    )
    await server.thaw()
    // Those who come before the time of the first is over do not know yet.
    assert.deepEqual([...new Set(sources)], ['TimeoutError', 'fallback'], sources.join())
    assert.ok(sources.lastIndexOf('TimeoutError') < sources.indexOf('fallback'), sources.join())
    assert.deepEqual(logger.lines.slice(0, 1), [
      'error: floodgate: Redis is away, the fallback decides: no answer within 1000 ms',
    ])
  })

  test(`${name}: frozen, who leaves the line goes at once, and it is found out, too`, async () => {
    const asked = new Server(await connect(port), { ...PATIENT, timeoutMs: 1000, restMs: 10_000 })
    const limiter = new Limiter(asked)
    await asksAgain(limiter)
    await server.freeze()
    const start = performance.now()
    const hasty = () => limiter.wait('hasty', '1000/h', 10_000, { signal: AbortSignal.timeout(300) })
    const sources = await times(12, () =>
      hasty().then(
        ({ source }) => source,
        ({ name }) => name,
      ),
    )
    const took = performance.now() - start
    await server.thaw()
    assert.deepEqual([...new Set(sources)], ['TimeoutError', 'fallback'], sources.join())
    const gone = sources.filter((source) => source === 'TimeoutError').length
    assert.ok(took < gone * 900, `${gone} in ${took} ms`)
  })

  test(`${name}: frozen, who waits on a kept connection waits no longer than told`, async () => {
    const impatient = new Server(await connect(port), { ...PATIENT, timeoutMs: 1000, restMs: 0 })
    const limiter = new Limiter(impatient)
    const kept = () =>
      eventually('it waits on a connection', async () => {
        return (await limiter.wait('kept', '1000000/h', 100)).source === 'redis'
      })
    const took = async (wait) => {
      await kept()
      await server.freeze()
      const start = performance.now()
      try {
        return [await wait(), performance.now() - start]
      } finally {
        await server.thaw()
      }
    }
    const [decision, waited] = await took(() => limiter.wait('kept', '1000000/h', 500))
    assert.equal(decision.source, 'fallback')
    assert.ok(waited < 3000, `${waited} ms`)
    const signal = () => AbortSignal.timeout(300)
    const [, gone] = await took(() =>
      assert.rejects(limiter.wait('kept', '1000000/h', 10_000, { signal: signal() }), {
        name: 'TimeoutError',
      }),
    )
    assert.ok(gone < 1500, `${gone} ms`)
  })

  test(`${name}: who goes before the answer, which comes in time, is no sign of an outage`, async () => {
    const limiter = new Limiter(patient(await connect(port)))
    const logger = listener()
    const brief = new Limiter(new Server(await connect(port), { ...PATIENT, timeoutMs: 2000, logger }))
    await brief.acquire('gone', '1000/h')
    await operator.call('CLIENT', 'PAUSE', '200')
    await assert.rejects(brief.acquire('gone', '1000/h', { signal: AbortSignal.timeout(50) }))
    await limiter.acquire('gone', '1000/h')
    await sleep(2100)
    assert.equal((await brief.acquire('gone', '1000/h')).source, 'redis')
    assert.deepEqual(logger.lines, [])
  })
}

test('a server that answers, but cannot write, is away', async () => {
  const limiter = new Limiter(patient(ioredis(port)))
  await asksAgain(limiter)
  for (const [setting, bad, good] of [
    ['maxmemory', 1, 0],
    ['min-replicas-to-write', 1, 0],
  ]) {
    await operator.config('SET', setting, bad)
    assert.equal((await limiter.acquire('k', '3/h')).source, 'fallback', setting)
    await operator.config('SET', setting, good)
    await asksAgain(limiter)
  }
})

test('a server that has become a replica, or fails to save, is away; it is told once', async () => {
  const logger = listener()
  const limiter = new Limiter(new Server(ioredis(port), { ...PATIENT, logger }))
  await asksAgain(limiter)
  const failsToSave = async () => {
    await operator.config('SET', 'save', '3600 1')
    await operator.config('SET', 'rdb-key-save-delay', 10_000_000)
    await operator.call('BGSAVE')
    const [, pid] = /process_id:(\d+)/.exec(await operator.info('server'))
    for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')) {
      process.kill(Number(child), 'SIGKILL')
    }
    await eventually('it fails to save', async () =>
      (await operator.info('persistence')).includes('rdb_last_bgsave_status:err'),
    )
  }
  for (const [what, breaks, mends] of [
    ['READONLY', () => operator.replicaof('127.0.0.1', 1), () => operator.replicaof('NO', 'ONE')],
    ['MISCONF', failsToSave, () => operator.config('SET', 'save', '')],
  ]) {
    logger.lines.length = 0
    await breaks()
    for (let i = 0; i < 5; i++) {
      assert.equal((await limiter.acquire('k', '1000/h')).source, 'fallback', what)
      await sleep(20)
    }
    await mends()
    await asksAgain(limiter)
    assert.equal(logger.lines.length, 2, logger.lines.join('\n'))
    assert.ok(logger.lines[0].includes(what), logger.lines[0])
  }
})

test('all who use one client find out together', async () => {
  const client = ioredis(port)
  assert.equal(Server.of(client), Server.of(client))
  assert.equal(new Limiter(client).server, new Breaker(client, 'k').server)
  assert.throws(() => new Limiter({}), /must be a client of ioredis or node-redis/)
})

test('a denial counts whose headers come too late', async () => {
  const client = ioredis(port)
  const quota = ([name]) => name === 'RL.QUOTA'
  let isLate = false
  const never = new Promise(() => {})
  const send = (words) => (isLate && quota(words) ? never : client.call(words[0], words.slice(1)))
  const own = ioredis(port)
  const call = own.call.bind(own)
  own.call = (...words) => (isLate && quota(words) ? never : call(...words))
  for (const asker of [send, own]) {
    isLate = false
    const limiter = new Limiter(new Server(asker, { ...PATIENT, timeoutMs: 2000 }), { rememberDenials: true })
    await operator.call('RL.RESET', 'late headers')
    await limiter.acquireWithHeaders('late headers', '1/h')
    isLate = true
    const { decision, headers } = await limiter.acquireWithHeaders('late headers', '1/h')
    assert.deepEqual([decision.granted, decision.source], [0, 'redis'])
    assert.deepEqual(Object.keys(headers), ['Retry-After'])
    assert.equal(limiter.counters.fallback, 0)
  }
})

test('an aborted signal ends a request for headers, too', async () => {
  const limiter = new Limiter(patient(ioredis(port)))
  await limiter.acquire('aborted', '1/h')
  await limiter.acquire('aborted', '1/h')
  for (const key of ['aborted', 'not asked']) {
    const options = { signal: AbortSignal.abort(new Error('gone')) }
    await assert.rejects(limiter.acquireWithHeaders(key, '1/h', options), /gone/)
    await assert.rejects(limiter.acquire(key, '1/h', options), /gone/)
  }
  assert.equal(await operator.exists('not asked'), 0)
  await server.freeze()
  try {
    const asked = limiter.acquireWithHeaders('frozen headers', '1/h', { signal: AbortSignal.timeout(100) })
    await ends('it is aborted', assert.rejects(asked, { name: 'TimeoutError' }))
  } finally {
    await server.thaw()
  }
})

test('a client that connects at its first request asks for it', async () => {
  for (const Client of [Redis, OldestIoredis]) {
    for (const enableOfflineQueue of [true, false]) {
      const client = ioredis(port, { lazyConnect: true, enableOfflineQueue }, Client)
      const limiter = new Limiter(patient(client))
      assert.equal((await limiter.acquire('lazy', '1000/h')).source, 'redis')
    }
  }
  // Nor is it asked later what nobody waits for.
  const second = await startServer()
  await second.kill()
  const limiter = new Limiter(
    new Server(ioredis(second.port, { lazyConnect: true }), { ...PATIENT, timeoutMs: 5000 }),
  )
  assert.equal((await limiter.acquire('lazy', '9/h')).source, 'fallback')
  await second.start()
  await asksAgain(limiter)
  assert.equal(await ioredis(second.port).exists('lazy'), 0)
})
