// What each host's own documentation promises, by its real middleware: in four
// processes at once, and with the server killed and frozen in between.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { Server } from 'floodgate-redis'
import { ask, hosts } from './hosts.mjs'
import { serveAll } from './serve-all.mjs'
import { ioredis, listener, nodeRedis, patient } from './clients.mjs'
import { closeLater } from './closing.mjs'
import { times } from './numbers.mjs'
import { used } from './operator.mjs'
import { IMPATIENT, PATIENT } from './patience.mjs'
import { startServer, startStillServer } from './servers.mjs'
import { eventually, sleep } from './waits.mjs'

// The one is killed and frozen. All else is asked of the other, whose clock stands still.
const server = await startServer()
const still = await startStillServer()
const { operator: client, port } = still

let prefixes = 0
/** One of the hosts in this process, by keys of its own. */
async function run(
  host,
  theirs,
  { by = patient(client), prefix = `${host}:${(prefixes += 1)}:`, from } = {},
) {
  const running = await hosts[host]({ client: by, prefix }, theirs, from)
  closeLater(running.close)
  return { ...running, prefix }
}

const statuses = (answers) => answers.map(({ status }) => status)
const count = (answers, status) => answers.filter((answer) => answer.status === status).length
const NAMES = Object.keys(hosts)
/** How a host says that an unreachable store lets requests pass; others have no such option. */
const PASSING = { express: { passOnStoreError: true }, fastify: { skipOnError: true } }
const LIMIT = { express: 'limit', hono: 'limit', fastify: 'max', nestjs: 'limit' }
/** By one key, which the tests know. */
const KEYED = { express: { keyGenerator: () => 'k' }, hono: { keyGenerator: () => 'k' } }
/** Makes it when it is asked for first. */
const memo = (make) => {
  let made
  return () => (made ??= make())
}
const CLIENTS = {
  'ioredis, RESP2': memo(() => ioredis(port, { protocol: 2 })),
  'ioredis, RESP3': memo(() => ioredis(port, { protocol: 3, replyMapping: 'resp3' })),
  'node-redis, RESP2': memo(() => nodeRedis(port, { RESP: 2 })),
  'node-redis, RESP3': memo(() => nodeRedis(port, { RESP: 3 })),
}
const WINDOW = { express: 'windowMs', hono: 'windowMs', fastify: 'timeWindow', nestjs: 'ttl' }

/** What passed of a limit, while some answers were lost on the way. */
class Tally {
  granted = 0
  /** Answered without Redis, which may have counted them: it does late what it was sent while frozen. */
  undecided = 0

  constructor(limit) {
    this.limit = limit
  }

  add(answers) {
    assert.deepEqual(
      answers.filter(({ status }) => ![200, 429, 500].includes(status)),
      [],
    )
    this.granted += count(answers, 200)
    this.undecided += count(answers, 500)
    return answers
  }

  /** Once it is reached. */
  check() {
    const { granted, limit, undecided } = this
    assert.ok(
      limit - undecided <= granted && granted <= limit,
      `${granted} of ${limit}, ${undecided} undecided`,
    )
  }
}

for (const host of NAMES) {
  describe(host, () => {
    test('the limit, its headers, and 429 with Retry-After', async () => {
      const { port } = await run(host, { [LIMIT[host]]: 3 })
      const answers = await times(4, () => ask(port))
      assert.deepEqual(statuses(answers), [200, 200, 200, 429])
      const seconds = Number(answers[3].headers['retry-after'])
      assert.ok(28 <= seconds && seconds <= 30, String(seconds))
      const [first] = answers
      if (host === 'express' || host === 'hono') {
        assert.equal(first.headers['ratelimit-policy'], '3;w=30')
        assert.match(first.headers.ratelimit, /^limit=3, remaining=2, reset=30$/)
      } else {
        const {
          'x-ratelimit-limit': limit,
          'x-ratelimit-remaining': remaining,
          'x-ratelimit-reset': reset,
        } = first.headers
        assert.deepEqual([limit, remaining, reset], ['3', '2', '30'])
      }
    })

    test('the window ends', async () => {
      const { port } = await run(host, { [LIMIT[host]]: 2, [WINDOW[host]]: 700 })
      assert.deepEqual(statuses(await times(3, () => ask(port))), [200, 200, 429])
      await still.advance(750) // units come back at most 2 % late
      assert.equal((await ask(port)).status, 200)
    })

    for (const [kind, connect] of Object.entries(CLIENTS)) {
      test(`by ${kind}`, async () => {
        const { port, store } = await run(
          host,
          { [LIMIT[host]]: 2, ...KEYED[host] },
          { by: patient(await connect()) },
        )
        const answers = await times(3, () => ask(port))
        assert.deepEqual(statuses(answers), [200, 200, 429])
        if (host === 'fastify') assert.equal(JSON.parse((await ask(port, '/peek')).body).remaining, 0)
        if (!store) return
        assert.equal((await store.get('k')).totalHits, 2)
        await store.resetAll()
        assert.equal(await store.get('k'), undefined)
      })
    }

    test('the CommonJS build does the same', async () => {
      const { port } = await run(host, { [LIMIT[host]]: 2 }, { from: 'CommonJS', by: client })
      assert.deepEqual(statuses(await times(3, () => ask(port))), [200, 200, 429])
    })

    test('a limit of 0 lets nobody pass', async () => {
      const { port } = await run(host, { [LIMIT[host]]: 0 })
      assert.deepEqual(statuses(await times(2, () => ask(port))), [429, 429])
    })

    test('a window that cannot be counted is an error, and no open door', async () => {
      const starting = run(host, { [WINDOW[host]]: 400 * 86_400_000 })
      if (host === 'hono') {
        await assert.rejects(starting, /1 ms to 366 days/)
        return
      }
      const { status, body } = await ask((await starting).port)
      assert.equal(status, 500)
      if (host !== 'nestjs') assert.match(body, /1 ms to 366 days/)
    })

    test('killed and frozen: an answer in time, as the host says, and what was counted stands', async () => {
      const by = new Server(await nodeRedis(server.port), IMPATIENT)
      const keys = `${host}:killed:`
      const strict = await run(host, { [LIMIT[host]]: 8 }, { by, prefix: keys })
      const loose =
        PASSING[host] && (await run(host, { [LIMIT[host]]: 8, ...PASSING[host] }, { by, prefix: keys }))
      const tally = new Tally(8)
      const asked = async () => tally.add([await ask(strict.port)])
      const back = () => eventually('it is back', () => by.ask(['RL.QUOTA', 'k', '1/s']).catch(() => null))
      await back()
      await eventually('two pass', async () => tally.granted === 2 || (await asked(), false))
      const away = async () => {
        const [answer] = await asked()
        assert.equal(answer.status, 500)
        if (loose) {
          assert.equal((await ask(loose.port)).status, 200)
          tally.undecided += 1
        }
      }
      await server.kill()
      await away()
      await server.start()
      await back()
      await server.freeze()
      await away()
      await server.thaw()
      await back()
      await eventually('the limit is reached', async () => count(await asked(), 429) === 1)
      tally.check()
    })

    test('four processes at once, the server killed and frozen in between', async () => {
      const ports = (await fourProcesses()).map((ports) => ports[host])
      const ofAll = (each) =>
        Promise.all(ports.flatMap((port) => Array.from({ length: each }, () => ask(port))))
      const tally = new Tally(60)
      const all = async (each) => tally.add(await ofAll(each))
      const back = () => eventually('all four ask again', async () => count(await all(1), 500) === 0)
      await all(5)
      await eventually('twenty pass', async () => tally.granted >= 20 || (await all(1), false))
      await server.kill()
      // Nobody could be asked, and so nothing was counted.
      assert.equal(count(await ofAll(3), 500), 12)
      await server.start()
      await back()
      await server.freeze()
      assert.equal(count(await all(3), 500), 12)
      await server.thaw()
      await back()
      await all(20)
      await eventually('the limit is reached', async () => count(await all(1), 429) === 4)
      tally.check()
    })
  })
}

let workers
/** Four processes, of which this is one, and each of which serves all hosts: the ports of each. */
function fourProcesses() {
  const served = NAMES.map((host) => {
    const theirs = { [LIMIT[host]]: 60, [WINDOW[host]]: 3_600_000 }
    return [host, { prefix: `${host}:four:`, theirs }]
  })
  const all = Object.fromEntries(served)
  workers ??= Promise.all([serveHere(all), ...[2, 3, 4].map(() => startWorker(all))])
  return workers
}

/** Serves all hosts in this process, and gives the port of each host. */
async function serveHere(served) {
  const { ports, close } = await serveAll(server.port, served)
  closeLater(close)
  return ports
}

/** Starts another process, which ends with this one, and gives the port of each host. */
async function startWorker(served) {
  const words = ['test/worker.mjs', String(server.port), JSON.stringify(served)]
  const worker = spawn(process.execPath, words, {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: new URL('..', import.meta.url),
  })
  closeLater(() => worker.kill())
  const [said] = await once(worker.stdout, 'data')
  return JSON.parse(said)
}

test('the oldest version of express-rate-limit', async () => {
  const { port } = await run('express', { max: 2 }, { from: 'oldest' })
  assert.deepEqual(statuses(await times(3, () => ask(port))), [200, 200, 429])
  const byFunction = await run('express', { max: () => 1 }, { from: 'oldest' })
  assert.deepEqual(statuses(await times(2, () => ask(byFunction.port))), [200, 429])
})

// express-rate-limit and hono-rate-limiter have one store.
for (const host of ['express', 'hono']) {
  describe(`${host}: give back`, () => {
    test('skipFailedRequests: a failed request is not counted, a denied one opens no door', async () => {
      const { port } = await run(host, { limit: 3, skipFailedRequests: true })
      assert.deepEqual(statuses(await times(6, () => ask(port, '/?fail'))), Array(6).fill(500))
      assert.deepEqual(statuses(await times(3, () => ask(port))), [200, 200, 200])
      // A store that refunds for each decrement lets every second of these pass.
      const denied = await times(10, async () => {
        const answer = await ask(port)
        await sleep(10)
        return answer
      })
      assert.equal(count(denied, 429), 10)
    })

    test('skipFailedRequests: all at once', async () => {
      const { port, store } = await run(host, {
        limit: 20,
        skipFailedRequests: true,
        keyGenerator: () => 'k',
      })
      const paths = [...Array(60)].map((_, i) => (i % 3 ? '/' : '/?fail'))
      const answers = await Promise.all(paths.map((path) => ask(port, path)))
      const passed = count(answers, 200)
      await eventually(
        'what failed is given back',
        async () => ((await store.get('k'))?.totalHits ?? 0) === passed,
      )
      assert.ok(count(answers, 429) > 0 && passed <= 20)
    })

    test('what is given back is what was taken, whoever took by other limits meanwhile', async () => {
      for (const connect of Object.values(CLIENTS)) {
        const { port, store, prefix } = await run(
          host,
          {
            limit: 3,
            skipFailedRequests: true,
            keyGenerator: () => 'k',
            requestWasSuccessful: async () => {
              await client.call('RL.ACQUIRE', `${prefix}k`, '9/d')
              return false
            },
          },
          { by: patient(await connect()) },
        )
        assert.equal((await ask(port)).status, 200)
        await eventually('it is given back', async () => (await store.get('k')) === undefined)
        assert.equal(await used(client, `${prefix}k`, '9/d'), 1)
      }
    })

    test('skipSuccessfulRequests: only failures count', async () => {
      const { port, store } = await run(host, {
        limit: 2,
        skipSuccessfulRequests: true,
        keyGenerator: () => 'k',
      })
      assert.deepEqual(statuses(await times(5, () => ask(port))), Array(5).fill(200))
      await eventually('it is given back', async () => (await store.get('k')) === undefined)
      assert.deepEqual(statuses(await times(3, () => ask(port, '/?fail'))), [500, 500, 429])
      const denied = await times(6, async () => {
        const answer = await ask(port)
        await sleep(10)
        return answer
      })
      assert.equal(count(denied, 429), 6)
    })

    test('what cannot be given back is no error of the request', async () => {
      const logger = listener()
      const versions = host === 'express' ? [undefined, 'oldest'] : [undefined]
      for (const error of [new Error('Socket closed'), new Error('NOPERM no right to rl.refund')]) {
        const send = async ([name, ...words]) => {
          if (name === 'RL.REFUND') throw error
          return client.call(name, words)
        }
        for (const from of versions) {
          const by = new Server(send, { ...PATIENT, logger })
          const failing = await run(host, { skipFailedRequests: true }, { by, from })
          assert.equal((await ask(failing.port, '/?fail')).status, 500)
          await eventually('it is logged', () => logger.lines.length > 0)
          assert.match(
            logger.lines.join('\n'),
            /^(error|warn): floodgate: .*(Socket closed|RL\.REFUND failed)/,
          )
          await by.check().catch(() => {})
          await sleep(350) // the longest rest
          logger.lines.length = 0
          const fine = await run(host, { skipSuccessfulRequests: true }, { by, from })
          assert.equal((await ask(fine.port)).status, 200)
          await eventually('it is logged', () => logger.lines.length > 0)
          logger.lines.length = 0
        }
      }
    })

    test('several limits at once', async () => {
      const { port } = await run(host, { limit: 3, limits: '3/h,2/700ms' })
      assert.deepEqual(statuses(await times(3, () => ask(port))), [200, 200, 429])
      await still.advance(750)
      const answers = await times(2, () => ask(port))
      assert.deepEqual(statuses(answers), [200, 429])
      const after = Number(answers[1].headers['retry-after'])
      assert.ok(after > 3590 && after <= 3600, `${after} seconds`)
    })

    test('limits and a limit that is a function contradict each other', async () => {
      const starting = run(host, { limit: () => 3, limits: '3/h' })
      if (host === 'hono') await assert.rejects(starting, /contradict/)
      else assert.match((await ask((await starting).port)).body, /contradict/)
    })

    test('a limit that is a function counts as INCR does', async () => {
      let limit = 2
      const { port, store } = await run(host, {
        limit: async () => limit,
        keyGenerator: () => 'k',
        windowMs: 5000,
      })
      assert.deepEqual(statuses(await times(4, () => ask(port))), [200, 200, 429, 429])
      assert.equal((await store.get('k')).totalHits, 4)
      limit = 6
      assert.deepEqual(statuses(await times(3, () => ask(port))), [200, 200, 429])
      const { resetTime } = await store.get('k')
      const left = resetTime - Date.now()
      assert.ok(0 < left && left <= 5000, `${left} ms`)
    })

    test('get, resetKey and resetAll', async () => {
      const { port, store, prefix } = await run(host, { limit: 3, keyGenerator: () => 'k*' })
      assert.equal(await store.get('k*'), undefined)
      await ask(port)
      assert.equal((await store.get('k*')).totalHits, 1)
      await store.resetKey('k*')
      assert.equal(await store.get('k*'), undefined)
      await ask(port)
      await client.call('RL.ACQUIRE', `other${prefix}`, '3/h')
      await store.resetAll()
      assert.equal(await store.get('k*'), undefined)
      assert.equal(await client.exists(`other${prefix}`), 1)
    })
  })
}

describe('fastify: more', () => {
  test('routes count apart, a group together', async () => {
    const { port } = await run('fastify', { max: 3 })
    const paths = ['/apart', '/apart', '/apart', '/one', '/two', '/one', '/', '/']
    const answers = await times(paths.length, (i) => ask(port, paths[i]))
    assert.deepEqual(statuses(answers), [200, 200, 429, 200, 200, 429, 200, 200])
  })

  test('peeking takes nothing', async () => {
    const { port } = await run('fastify', { max: 3 })
    const remaining = async () => JSON.parse((await ask(port, '/peek')).body).remaining
    assert.equal(await remaining(), 3)
    await ask(port)
    assert.deepEqual([await remaining(), await remaining()], [2, 2])
  })

  test('a ban comes by the count of all requests', async () => {
    const { port } = await run('fastify', { max: 1, ban: 1 })
    assert.deepEqual(statuses(await times(4, () => ask(port))), [200, 429, 403, 403])
  })

  test('what a denial would change is refused, and block= named', async () => {
    for (const option of ['continueExceeding', 'exponentialBackoff']) {
      await assert.rejects(run('fastify', { [option]: true }), new RegExp(`${option}.*block: '`))
    }
    const { floodgateStore } = await import('floodgate-redis/fastify')
    const Store = floodgateStore({ client, block: '1m' })
    assert.throws(() => new Store({ ban: 2 }), /ban and block contradict/)
  })

  test('block: who exceeds the limit is kept out, for longer each time', async () => {
    const clock = await startStillServer()
    const ours = { client: patient(clock.operator), block: '2m:grow=3' }
    const { port, close } = await hosts.fastify(ours, { max: 2, timeWindow: 10_000 })
    closeLater(close)
    const burst = async () => {
      const answers = await times(3, () => ask(port))
      assert.deepEqual(statuses(answers), [200, 200, 429])
      return Number(answers[2].headers['retry-after'])
    }
    assert.equal(await burst(), 120)
    await clock.advance(119_000)
    const still = await ask(port)
    assert.deepEqual([still.status, still.headers['retry-after']], [429, '1'])
    assert.equal(JSON.parse((await ask(port, '/peek')).body).remaining, 0)
    await clock.advance(1000)
    assert.equal(await burst(), 360)
  })
})

describe('nestjs: more', () => {
  const storageOn = async (client) => {
    const { FloodgateThrottlerStorage } = await import('floodgate-redis/nestjs')
    return new FloodgateThrottlerStorage({ client: patient(client) })
  }

  test('blockDuration: who exceeds the limit is kept out for so long', async () => {
    const { operator: client, advance } = await startStillServer()
    const storage = await storageOn(client)
    for (const [blockDuration, seconds] of [
      [60_000, 60], // the host's own default: ttl
      [300_000, 300], // longer
      [5_000, 60], // never shorter than the limit itself
      [0, 60], // as the limit itself
    ]) {
      const hit = () => storage.increment(`k${blockDuration}`, 60_000, 2, blockDuration, 'default')
      assert.deepEqual(await times(3, hit), [
        { totalHits: 1, timeToExpire: 60, isBlocked: false, timeToBlockExpire: 0 },
        { totalHits: 2, timeToExpire: 60, isBlocked: false, timeToBlockExpire: 0 },
        { totalHits: 3, timeToExpire: seconds, isBlocked: true, timeToBlockExpire: seconds },
      ])
      // Who asks meanwhile is kept out no longer.
      await advance(seconds * 1000 - 1)
      assert.deepEqual(await hit(), {
        totalHits: 3,
        timeToExpire: 1,
        isBlocked: true,
        timeToBlockExpire: 1,
      })
      await advance(1)
      assert.equal((await hit()).isBlocked, false, String(blockDuration))
    }
  })

  test('a request half a window later: the default keeps out for a whole ttl, 0 until a unit is free', async () => {
    const { operator: client, advance } = await startStillServer()
    const storage = await storageOn(client)
    const hit = (blockDuration) => storage.increment(`k${blockDuration}`, 60_000, 1, blockDuration, 'default')
    await Promise.all([hit(60_000), hit(0)])
    await advance(45_000)
    assert.equal((await hit(60_000)).timeToBlockExpire, 60)
    assert.equal((await hit(0)).timeToBlockExpire, 15)
    await advance(15_000)
    assert.deepEqual([(await hit(60_000)).isBlocked, (await hit(0)).isBlocked], [true, false])
  })

  test('a blockDuration that cannot be kept is an error that names it', async () => {
    const storage = await storageOn(client)
    await assert.rejects(
      storage.increment('long', 1000, 1, 400 * 86_400_000, 'default'),
      /^RangeError: blockDuration is/,
    )
    assert.equal((await storage.increment('none', 1000, Infinity, 5000, 'default')).isBlocked, false)
  })

  test('throttlers of other names count apart', async () => {
    const storage = await storageOn(client)
    await times(2, () => storage.increment('k', 1500, 1, 0, 'default'))
    assert.equal((await storage.increment('k', 1500, 1, 0, 'other')).isBlocked, false)
  })

  test('two throttlers on one route', async () => {
    const { port } = await run('nestjs', { name: 'short', limit: 2 })
    const answers = await times(3, () => ask(port))
    assert.deepEqual(statuses(answers), [200, 200, 429])
    assert.equal(answers[0].headers['x-ratelimit-remaining-short'], '1')
    assert.ok(Number(answers[2].headers['retry-after-short']) > 0)
  })
})
