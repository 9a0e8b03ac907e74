// The server killed, frozen, full, without the module, or not ours to ask.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import {
  Away,
  Breaker,
  Cache,
  Denied,
  FailClosed,
  FailOpen,
  Limiter,
  LocalBucket,
  Misconfigured,
  Server,
  reserve,
} from 'floodgate-redis'
import {
  IMPATIENT,
  OldestIoredis,
  PATIENT,
  ends,
  eventually,
  ioredis,
  listener,
  nodeRedis,
  patient,
  sleep,
  startServer,
  times,
} from './kit.mjs'

const server = await startServer()
const { port } = server
const operator = ioredis(port)
const asksAgain = (limiter) =>
  eventually('it asks again', async () => (await limiter.acquire('asks', '100000/h')).source === 'redis')
const granted = (decisions) => decisions.map((decision) => decision.granted)

for (const [name, connect] of [
  ['ioredis', () => ioredis(port)],
  ['node-redis', () => nodeRedis(port)],
]) {
  test(`${name}: killed, all that is under way ends well, and what was granted stands`, async () => {
    const logger = listener()
    // It does not hang, so that patience costs nothing. But node-redis keeps what it is told while it
    // has no connection.
    const asked = new Server(await connect(), { ...PATIENT, timeoutMs: 5000, logger })
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
    const limiter = new Limiter(new Server(await connect(), { ...PATIENT, timeoutMs: 1000, restMs: 2000 }))
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

for (const [name, connect] of [
  ['ioredis', () => ioredis(port)],
  ['node-redis', () => nodeRedis(port)],
]) {
  test(`${name}: frozen, those whose own patience is shorter find out, too`, async () => {
    const logger = listener()
    const asked = new Server(await connect(), { ...PATIENT, timeoutMs: 1000, restMs: 10_000, logger })
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
    const asked = new Server(await connect(), { ...PATIENT, timeoutMs: 1000, restMs: 10_000 })
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
    const impatient = new Server(await connect(), { ...PATIENT, timeoutMs: 1000, restMs: 0 })
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
    const limiter = new Limiter(patient(await connect()))
    const logger = listener()
    const brief = new Limiter(new Server(await connect(), { ...PATIENT, timeoutMs: 2000, logger }))
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

test('a wrong password and missing rights are raised, and say what to do', async () => {
  await operator.call('ACL', 'SETUSER', 'app', 'on', '>secret', '~api:*', '+rl.acquire')
  const wrong = ioredis(port, { username: 'app', password: 'wrong' })
  const limiter = new Limiter(patient(wrong))
  await assert.rejects(limiter.acquire('api:1', '3/h'), (error) => {
    return error instanceof Misconfigured && /^WRONGPASS.*check the user and the password/.test(error.message)
  })
  await assert.rejects(limiter.server.check(), Misconfigured)

  const client = createClient({ url: `redis://app:secret@127.0.0.1:${port}` })
  await client.connect()
  const right = new Limiter(patient(client))
  await right.server.check()
  assert.equal((await right.acquire('api:1', '3/h')).granted, 1)
  await assert.rejects(right.acquire('others', '3/h'), /NOPERM.*give the user the ACL line/)
  await assert.rejects(right.refund('api:1', 1), /NOPERM.*give the user the ACL line/)
  assert.equal((await right.acquire('api:1', '3/h')).source, 'redis', 'that is no outage')
  client.destroy()
})

for (const [name, connect] of [
  ['ioredis', (options) => new Redis({ ...options, retryStrategy: () => 1500 })],
  [
    'node-redis',
    ({ port, ...options }) => {
      const client = createClient({ ...options, socket: { port, reconnectStrategy: () => 1500 } })
      client.connect().catch(() => {})
      return client
    },
  ],
]) {
  const connected = (port, options) => {
    const client = connect({ port, ...options })
    client.on('error', () => {})
    return client
  }
  // On which who has not said who it is may do nothing.
  const startClosedServer = async () => {
    const { port } = await startServer()
    const operator = ioredis(port)
    await operator.config('SET', 'requirepass', 'secret')
    return { port, operator }
  }
  const end = (client) => (client.disconnect ?? client.destroy).call(client)

  test(`${name}: a wrong password is raised for as long as it is wrong`, async () => {
    const { port, operator } = await startClosedServer()
    await operator.acl('SETUSER', `late:${name}`, 'reset', 'on', '>right', '~*', '+@all')
    const client = connected(port, { username: `late:${name}`, password: 'wrong' })
    const limiter = new Limiter(new Server(client, { timeoutMs: 250, restMs: 200, logger: null }))
    const acquired = () =>
      limiter.acquire('late', '1000000/h').then(
        ({ source }) => source,
        ({ name, message }) => `${name} ${message.replace(/NOAUTH|WRONGPASS/, 'password').slice(0, 8)}`,
      )
    await eventually('it is raised', async () => (await acquired()).startsWith('Misconfigured'))
    const start = performance.now()
    while (performance.now() - start < 4000) assert.equal(await acquired(), 'Misconfigured password')
    await assert.rejects(limiter.server.check(), Misconfigured)
    await operator.acl('SETUSER', `late:${name}`, '>wrong')
    await eventually('it is right now', async () => (await acquired()) === 'redis')
    end(client)
  })

  test(`${name}: a password that was right before is an outage, for commands that were not asked yet, too`, async () => {
    const { port, operator } = await startClosedServer()
    const user = `rotated:${name}`
    await operator.acl('SETUSER', user, 'reset', 'on', '>one', '~*', '+@all')
    const logger = listener()
    const client = connected(port, { username: user, password: 'one' })
    const asked = new Server(client, { ...PATIENT, timeoutMs: 5000, logger })
    const limiter = new Limiter(asked)
    await asksAgain(limiter)
    logger.lines.length = 0
    await operator.acl('SETUSER', user, 'resetpass', '>two')
    await operator.call('CLIENT', 'KILL', 'USER', user)
    for (let i = 0; i < 2; i++) {
      assert.equal(await new Breaker(asked, 'rotated', '3').call(() => 'called'), 'called')
      assert.equal(await reserve(limiter, { 'rotated:place': '9/h' }, {}, async () => 'done'), 'done')
      assert.equal((await limiter.charge('rotated:place', '9/h', 1)).source, 'fallback')
      await sleep(350) // the longest rest
    }
    assert.equal(logger.lines.length, 1, logger.lines.join('\n'))
    end(client)
  })
}

test('a command that one server does not know, beside the module, is its own mistake', async () => {
  const limiter = new Limiter(patient(ioredis(port)))
  await asksAgain(limiter)
  await assert.rejects(limiter.server.ask(['NOBODY.KNOWS', 'k'], { key: 'k' }), { name: 'ReplyError' })
  assert.equal((await limiter.acquire('k9', '9/h')).source, 'redis')
})

test('no password where one is needed is raised', async () => {
  const second = await startServer()
  const admin = ioredis(second.port)
  await admin.config('SET', 'requirepass', 'secret')
  const client = new Redis({ port: second.port, retryStrategy: () => 50 })
  client.on('error', () => {})
  const limiter = new Limiter(patient(client))
  await assert.rejects(limiter.acquire('k', '3/h'), (error) => {
    return error instanceof Misconfigured && /NOAUTH.*check the user and the password/.test(error.message)
  })
  client.disconnect()
})

test('a server without the module is raised at the start, and an outage later', async () => {
  let isLoaded = false
  const logger = listener()
  const client = ioredis(port)
  // As a server answers that has lost the module at a restart.
  const send = async ([name, ...args]) => client.call(isLoaded ? name : `RL.NO-${name}`, args)
  const limiter = new Limiter(new Server(send, { ...PATIENT, logger }))
  await assert.rejects(limiter.acquire('k2', '3/h'), (error) => {
    return error instanceof Misconfigured && /unknown command.*load the module/s.test(error.message)
  })
  await assert.rejects(limiter.server.check(), Misconfigured)
  assert.deepEqual(logger.lines, [])
  isLoaded = true
  assert.equal((await limiter.acquire('k2', '3/h')).source, 'redis')
  isLoaded = false
  assert.equal((await limiter.acquire('k2', '3/h')).source, 'fallback')
  assert.match(logger.lines[0], /^error: .*unknown command/)
  // What needs no module is answered, and does not say that the module is back.
  const plain = async ([name, ...args]) =>
    client.call(/^(RL|CB)\./.test(name) && !isLoaded ? `RL.NO-${name}` : name, args)
  const lines = listener()
  const asked = new Server(plain, { ...PATIENT, logger: lines })
  const [values, again] = [new Cache(asked, 'plain'), new Limiter(asked)]
  isLoaded = true
  await again.acquire('k2', '9/h')
  isLoaded = false
  for (let i = 0; i < 4; i++) {
    assert.equal((await again.acquire('k2', '9/h')).source, 'fallback')
    await sleep(350) // the longest rest
    await values.get('x')
  }
  assert.equal(lines.lines.length, 1, lines.lines.join('\n'))
  isLoaded = true
  await asksAgain(again)
  assert.deepEqual(lines.lines.slice(1), ['info: floodgate: Redis is back'])
})

test('all who use one client find out together', async () => {
  const client = ioredis(port)
  assert.equal(Server.of(client), Server.of(client))
  assert.equal(new Limiter(client).server, new Breaker(client, 'k').server)
  assert.throws(() => new Limiter({}), /must be a client of ioredis or node-redis/)
})

/** Has the process do something for so long. */
const works = (ms) => {
  const until = performance.now() + ms
  while (performance.now() < until);
}
const turn = () => new Promise(setImmediate)

test('a process that was slow itself reads the answer that lies there', async () => {
  for (const client of [ioredis(port), await nodeRedis(port)]) {
    const asked = new Server(client, { ...IMPATIENT, timeoutMs: 50 })
    const limiter = new Limiter(asked, { fallback: new FailClosed(), rememberDenials: false })
    await asksAgain(limiter)
    // On a busy machine the answer may come later still: then once more.
    await eventually('it reads the answer', async () => {
      const asked = limiter.acquire('slow process', '1000/h')
      await turn() // it is sent
      works(200)
      return (await asked).source === 'redis'
    })
    await limiter.acquire('slow line', '1/h')
    await eventually('who waits reads it, too', async () => {
      const waits = limiter.wait('slow line', '1/h', 500)
      const inLine = async () => (await operator.call('RL.QUEUE', 'slow line'))[0] === 1
      await eventually('it stands in line', inLine, 400).catch(() => {})
      works(700)
      return (await waits).source === 'redis'
    })
  }
})

/** A server by a function of which the test answers each request. */
function answered() {
  const requests = []
  const send = () => new Promise((resolve) => requests.push(() => resolve([1, 99, 98, 0, 0, 0])))
  const asked = new Server(send, { timeoutMs: 1000, restMs: 60_000, logger: null })
  const limiter = new Limiter(asked, { fallback: new FailClosed() })
  const sources = async (n) => {
    const decisions = await Promise.all(Array.from({ length: n }, () => limiter.acquire('k', '99/h')))
    return decisions.map(({ source }) => source)
  }
  return { requests, sources }
}

test('while answers come, a process that is busy itself is no outage', async () => {
  const { requests, sources } = answered()
  const all = sources(8)
  // As of a burst, of which the answers take three times the timeout to be read.
  works(1200)
  for (const answer of requests) {
    await turn()
    answer()
    works(400)
  }
  assert.deepEqual(await all, Array(8).fill('redis'))
})

test('no answers at all are an outage, however busy the process is', async () => {
  const { sources } = answered()
  let isOver = false
  const all = sources(8).finally(() => (isOver = true))
  const start = performance.now()
  while (!isOver) {
    works(200)
    await turn()
    assert.ok(performance.now() - start < 60_000, 'it ends')
  }
  assert.deepEqual(await all, Array(8).fill('fallback'))
})

test('answers that come slowly to a process that has nothing to do are an outage', async () => {
  const { requests, sources } = answered()
  const all = sources(40)
  const answering = setInterval(() => requests.shift()?.(), 300)
  const found = await all
  clearInterval(answering)
  assert.equal(found.at(-1), 'fallback')
})

test('who answers late is left alone all the same', async () => {
  const { requests, sources } = answered()
  assert.deepEqual(await sources(1), ['fallback'])
  requests[0]()
  await sleep(10)
  assert.deepEqual(await sources(5), Array(5).fill('fallback'))
  assert.equal(requests.length, 1, 'nobody else was sent')
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

test('a queue of node-redis that is full is no outage', async () => {
  const logger = listener()
  const client = await nodeRedis(port, { commandsQueueMaxLength: 20 })
  const limiter = new Limiter(new Server(client, { ...PATIENT, logger }))
  const acquire = (key) => limiter.acquire(key, '10/h')
  const decisions = await Promise.all(Array.from({ length: 500 }, () => acquire('burst')))
  assert.equal(
    granted(decisions).reduce((a, b) => a + b),
    10,
  )
  // Nor what others send by it.
  const others = Promise.all(Array.from({ length: 20 }, () => client.ping()))
  decisions.push(...(await Promise.all([acquire('others'), acquire('others')])))
  assert.ok((await others).every((pong) => pong === 'PONG'))
  assert.ok(decisions.every(({ source }) => source === 'redis'))
  assert.deepEqual(logger.lines, [])
  assert.equal((await limiter.acquireWithHeaders('others', '10/h')).headers['X-RateLimit-Remaining'], '7')
})

test('the timeout of a client of node-redis is not ours', async () => {
  const limiter = new Limiter(patient(await nodeRedis(port, { commandOptions: { timeout: 1 } })))
  // So many that not all are written at once.
  const keys = Array.from({ length: 2000 }, (_, i) => `${i}:${'long'.repeat(250)}`)
  const decisions = await Promise.all(keys.map((key) => limiter.acquire(key, '9/h')))
  assert.ok(decisions.every(({ source }) => source === 'redis'))
})
