// Functions of the user that throw: what was asked, made or paid for counts more, and the fault is seen.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker, Cache, FailClosed, guarded, Limiter, Server } from 'floodgate-redis'
import { listener } from './clients.mjs'
import { fields } from './operator.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { warningsDuring } from './warnings.mjs'

const { operator } = await startServer()
const logger = listener()
const server = new Server(operator, { ...PATIENT, logger })
const limiter = new Limiter(server)

const throwing = (message) => () => {
  throw new Error(message)
}
/** What was logged since the last look. */
const logged = () => logger.lines.splice(0)

test('outcomeOf: the error of the call is thrown, it counts as a failure, and the fault is logged', async () => {
  const wrong = [throwing('no status'), () => undefined, () => 'fail', async () => 'OK']
  for (const [i, outcomeOf] of wrong.entries()) {
    const key = `outcome:${i}`
    const breaker = new Breaker(server, key, '9', { outcomeOf })
    const paid = guarded({ limiter, breaker, key: `${key}:paid`, limits: '9/h' }, throwing('no answer'))
    for (const call of [() => breaker.call(throwing('no answer')), paid]) {
      await assert.rejects(call(), { message: 'no answer' })
      const lines = logged()
      assert.equal(lines.length, 1, lines.join('\n'))
      assert.match(lines[0], new RegExp(`^warn: floodgate: outcomeOf of '${key}' failed.* FAIL: .`))
    }
    assert.equal(fields(await operator.call('CB.STATE', key)).failures, 2)
  }
  assert.throws(
    () => new Breaker(server, 'k', '9', { outcomeOf: 'FAIL' }),
    /^TypeError: outcomeOf is 'FAIL': it must be a function/,
  )
})

test('key, cost and cachedAs: the caller gets the error, and nothing is taken', async () => {
  const breaker = new Breaker(server, 'before:api', '9')
  const cache = new Cache(server, 'before')
  const before = { limiter, breaker, key: 'before', limits: '9/h', cache, cachedAs: () => 'answer' }
  for (const name of ['key', 'cost', 'cachedAs']) {
    const call = guarded({ ...before, [name]: throwing(`no ${name}`) }, () => assert.fail('called'))
    await assert.rejects(call(), { message: `no ${name}` })
  }
  assert.equal(await operator.exists('before', 'before:api', 'before!answer'), 0)
  assert.deepEqual(logged(), [])
})

test('a fallback: its acquire decides, so its error is thrown; what its refund throws is logged', async () => {
  const away = new Server(throwing('away'), { ...PATIENT, logger })
  const alone = (fallback) => new Limiter(away, { fallback })
  await assert.rejects(alone({ acquire: throwing('no bucket') }).acquire('k', '9/h'), {
    message: 'no bucket',
  })
  logged() // it is away
  const closed = new FailClosed()
  const one = { granted: 1, limit: 1, remaining: 0, retryAfterMs: 0, resetAfterMs: 0, index: 0 }
  const limiter = alone({
    acquire: (key) => (key === 'one' ? one : closed.acquire()),
    refund: throwing('no bucket'),
  })
  assert.equal(await limiter.refund('one', 1), 0)
  const all = await limiter.batch('ALL', [{ key: 'one' }, { key: 'none' }])
  assert.deepEqual(
    all.map(({ granted }) => granted),
    [0, 0],
  )
  const told = "warn: floodgate: the fallback took no units of 'one' back: no bucket"
  assert.deepEqual(logged(), [told, told])
})

test('a logger: what it throws is a warning of Node', async () => {
  const throws = { info: throwing('disk full'), warn: throwing('disk full'), error: throwing('disk full') }
  const never = new Promise(() => {})
  let warnings = await warningsDuring(async () => {
    for (const send of [throwing('away'), () => never]) {
      const away = new Server(send, { timeoutMs: 20, logger: throws })
      assert.equal((await new Limiter(away).acquire('k', '9/h')).source, 'fallback')
      // The asker goes before it is found that the server is silent.
      const hasty = new Limiter(new Server(send, { timeoutMs: 20, logger: throws }))
      const gone = AbortSignal.timeout(5)
      await hasty.acquire('k', '9/h', { signal: gone }).catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })
  assert.equal(warnings.length, 4, warnings.join('\n'))
  for (const warning of warnings) {
    assert.match(String(warning), /floodgate: the logger failed: disk full\. It was told: .* is away/)
  }
  warnings = await warningsDuring(async () => {
    const told = new Server(operator, { ...PATIENT, logger: throws })
    const breaker = new Breaker(told, 'logged:api', '9')
    const options = { limiter: new Limiter(told), breaker, key: 'logged', limits: '9/h' }
    assert.equal(await guarded({ ...options, spend: throwing('free') }, () => 42)(), 42)
  })
  assert.equal(warnings.length, 1, warnings.join('\n'))
})
