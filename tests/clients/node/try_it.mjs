// Tries the recipes on a real server: node try_it.mjs PORT
//
// Prints `down` when the server is to be killed and `up` when it is to be
// started again, and goes on when a line comes in.

import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Away, Breaker, CircuitOpen, Limiter, connect } from './floodgate.mjs'
import { service } from './service.mjs'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const please = async (what) => {
  console.log(what)
  await lines.next()
}

const redis = connect(`redis://127.0.0.1:${process.argv[2]}`)
await new Promise((ready) => redis.once('ready', ready))
const limiters = Object.values(Away).map((away) => new Limiter(redis, away, 5))
const limiter = limiters[2]
const times = async (n, f) => {
  const all = []
  for (let i = 0; i < n; i++) all.push(await f())
  return all
}

// A limit by key.
const one = await times(4, () => limiter.acquire('user:1', '3/h'))
assert.deepEqual(one.map((d) => d.granted), [1, 1, 1, 0])
assert.ok(one[3].retryAfterMs > 0 && one[3].fromRedis)
await assert.rejects(limiter.acquire('user:1', '3/'), /invalid limit '3\/'/)

// Three limits at once: the tightest binds, and a denial takes from none.
const three = await times(3, () => limiter.acquire('user:3', '100/s,5/h,1000/d', 2))
assert.deepEqual(three.map((d) => d.granted), [2, 2, 0])
assert.equal(three[2].index, 1)
assert.equal((await limiter.acquire('user:3', '100/s,5/h,1000/d')).remaining, 0)

// A breaker round a call.
const breaker = new Breaker(redis, 'payments', '2:open=1h')
assert.equal(await breaker.call(async () => 42), 42)
for (let i = 0; i < 2; i++) {
  await assert.rejects(breaker.call(async () => { throw new Error('no answer') }), /no answer/)
}
await assert.rejects(breaker.call(async () => 42), CircuitOpen)

// The service.
const server = service(limiter).listen(0, '127.0.0.1')
await new Promise((ready) => server.once('listening', ready))
const get = (who) => fetch(`http://127.0.0.1:${server.address().port}/hello`, { headers: { 'x-api-key': who } })
const responses = await times(4, () => get('joe'))
assert.deepEqual(responses.map((r) => r.status), [200, 200, 200, 429])
assert.ok(responses[0].headers.get('RateLimit-Policy').startsWith('"3/s";q=3;w=1, '))
assert.equal(responses[0].headers.get('X-RateLimit-Remaining'), '2')
assert.equal(responses[2].headers.get('Retry-After'), null)
assert.equal(responses[3].headers.get('Retry-After'), '1')

await please('down')
for (const [at, least, most] of [[0, 20, 20], [1, 0, 0], [2, 5, 8]]) {
  const decisions = await times(20, () => limiters[at].acquire('user:1', '3/h'))
  const granted = decisions.reduce((sum, d) => sum + d.granted, 0)
  assert.ok(least <= granted && granted <= most, `${limiters[at].away}: ${granted}`)
  assert.ok(decisions.every((d) => !d.fromRedis))
}
assert.equal(await breaker.call(async () => 42), 42)
assert.deepEqual((await times(3, () => get('ann'))).map((r) => r.status), [200, 200, 200])

await please('up')
for (let i = 0; !(await limiter.acquire('user:9', '1000/h')).fromRedis; i++) {
  assert.ok(i < 200, 'it never asks again')
  await sleep(50)
}
console.log('done')
process.exit(0)
