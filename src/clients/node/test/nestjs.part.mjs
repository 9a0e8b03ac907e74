// What @nestjs/throttler alone promises.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ask } from './hosts.mjs'
import { client, run, statuses } from './running.mjs'
import { patient } from './clients.mjs'
import { times } from './numbers.mjs'
import { startStillServer } from './servers.mjs'

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
