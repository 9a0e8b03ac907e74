// Counters by OpenTelemetry's API, which the application may set up late.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { metrics } from '@opentelemetry/api'
import { ioredis } from './clients.mjs'
import { times } from './numbers.mjs'
import { startServer } from './servers.mjs'

const server = await startServer()
const client = ioredis(server.port)

/** What is counted, by name and outcome. */
function provider() {
  const counts = {}
  const createCounter = (name) => ({
    add(value, { outcome }) {
      const counted = `${name} ${outcome}`
      counts[counted] = (counts[counted] ?? 0) + value
    },
  })
  return { counts, getMeter: (name) => (assert.equal(name, 'floodgate-redis'), { createCounter }) }
}

for (const [build, load] of [
  ['module', () => import('floodgate-redis')],
  ['CommonJS', () => createRequire(import.meta.url)('floodgate-redis')],
]) {
  test(`what was decided, and what came of calls: ${build}`, async () => {
    const { Breaker, Cache, FailOpen, Limiter, Server, guarded } = await load()
    const asked = new Server(client, { timeoutMs: 20_000, logger: null })
    const limiter = new Limiter(asked, { fallback: new FailOpen() })
    await limiter.acquire(`early:${build}`, '9/h') // before anybody counts
    const { counts, getMeter } = provider()
    metrics.setGlobalMeterProvider({ getMeter })
    await times(4, () => limiter.acquire(`k:${build}`, '2/h'))
    await limiter.batch('EACH', [
      { key: `k:${build}`, limits: '2/h' },
      { key: `b:${build}`, limits: '2/h' },
    ])
    const breaker = new Breaker(asked, `pay:${build}`, '1:open=1h')
    await breaker.call(() => 42)
    await assert.rejects(breaker.call(() => Promise.reject(new DOMException('gone', 'AbortError'))))
    await assert.rejects(breaker.call(() => Promise.reject(new Error('no answer'))))
    await assert.rejects(breaker.call(() => 42))
    const cache = new Cache(asked, `answers:${build}`)
    const fine = new Breaker(asked, `fine:${build}`, '3')
    const paid = guarded(
      { limiter, breaker: fine, key: `p:${build}`, limits: '1/h', cache },
      function ask(x) {
        return x
      },
    )
    await paid(1)
    await paid(1)
    await assert.rejects(paid(2))
    const away = new Limiter(new Server(async () => Promise.reject(new Error('away')), { logger: null }))
    await away.acquire('k', '1/h')
    metrics.disable()
    await limiter.acquire(`late:${build}`, '9/h')
    assert.deepEqual(counts, {
      'floodgate.decisions granted': 4,
      'floodgate.decisions denied': 3,
      'floodgate.decisions remembered': 1,
      'floodgate.decisions fallback': 1,
      'floodgate.calls ok': 2,
      'floodgate.calls ignore': 1,
      'floodgate.calls fail': 1,
      'floodgate.calls open': 1,
      'floodgate.calls cached': 1,
    })
  })
}
