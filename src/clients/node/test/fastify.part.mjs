// What @fastify/rate-limit alone promises.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ask, hosts } from './hosts.mjs'
import { client, run, statuses } from './running.mjs'
import { patient } from './clients.mjs'
import { closeLater } from './closing.mjs'
import { times } from './numbers.mjs'
import { startStillServer } from './servers.mjs'

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
