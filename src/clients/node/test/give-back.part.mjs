// Hits that express-rate-limit and hono-rate-limiter give back, and limits that they hand over.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Server } from 'floodgate-redis'
import { ask } from './hosts.mjs'
import { client, CLIENTS, count, run, statuses, still } from './running.mjs'
import { listener, patient } from './clients.mjs'
import { times } from './numbers.mjs'
import { used } from './operator.mjs'
import { PATIENT } from './patience.mjs'
import { eventually, sleep } from './waits.mjs'

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
