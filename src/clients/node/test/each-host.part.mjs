// What each host promises: limits, headers and errors, in four processes at once, and with the server killed
// and frozen in between.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { Server } from 'floodgate-redis'
import { ask } from './hosts.mjs'
import { serveAll } from './serve-all.mjs'
import { client, CLIENTS, count, LIMIT, NAMES, run, statuses, still, WINDOW } from './running.mjs'
import { nodeRedis, patient } from './clients.mjs'
import { closeLater } from './closing.mjs'
import { times } from './numbers.mjs'
import { IMPATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { eventually } from './waits.mjs'

// It is killed and frozen. All else is asked of the one whose clock stands still.
const server = await startServer()

/** How a host says that an unreachable store lets requests pass; others have no such option. */
const PASSING = { express: { passOnStoreError: true }, fastify: { skipOnError: true } }
/** By one key, which the tests know. */
const KEYED = { express: { keyGenerator: () => 'k' }, hono: { keyGenerator: () => 'k' } }

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
