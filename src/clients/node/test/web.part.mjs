// The example examples/web.mjs, as a process of its own.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import { after, test } from 'node:test'
import { times } from './numbers.mjs'
import { held, inLine as inLineOf, used as usedOf } from './operator.mjs'
import { startServer } from './servers.mjs'
import { eventually } from './waits.mjs'

const server = await startServer()
const { operator } = server
const web = spawn(process.execPath, ['examples/web.mjs'], {
  cwd: new URL('..', import.meta.url),
  env: { ...process.env, REDIS_URL: server.url, REDIS_PATIENCE_MS: '20000', PORT: '0' },
  stdio: ['ignore', 'pipe', 'inherit'],
})
after(() => web.kill())
const [said] = await once(web.stdout, 'data')
const port = Number(String(said).trim().split(':').pop())

/** From one of the machine's own addresses, 127.0.0.0/8. */
async function send(request, localAddress) {
  const [method, path] = request.split(' ')
  const sent = http.request({ host: '127.0.0.1', port, method, path, localAddress, agent: false }).end()
  const [response] = await once(sent, 'response')
  return response
}

async function ask(request, localAddress = '127.0.0.1') {
  const response = await send(request, localAddress)
  let body = ''
  for await (const chunk of response) body += chunk
  return { status: response.statusCode, headers: response.headers, body }
}

const statuses = (answers) => answers.map(({ status }) => status)
const used = (key) => usedOf(operator, key)
const isSettled = (key) => eventually('it is settled', async () => (await held(operator, key)) === 0)
/** How requests that stood in line ended. */
const ended = async (how) => {
  const [, times] = new RegExp(`waiting_${how}:(\\d+)`).exec(await operator.info('floodgate'))
  return Number(times)
}
const inLine = (key) => inLineOf(operator, key)

test('every request is limited, and says how its caller stands', async () => {
  const first = await ask('GET /hello', '127.0.0.2')
  assert.deepEqual([first.status, first.body], [200, '{"hello":"world"}'])
  const policies = '"10/s";q=10;w=1, "1000/h";q=1000;w=3600, "10000/d";q=10000;w=86400'
  assert.equal(first.headers['ratelimit-policy'], policies)
  assert.match(first.headers.ratelimit, /^"10\/s";r=9;t=1, "1000\/h";r=999;t=/)
  // However slow the machine is: the second does not end.
  await operator.call('RL.PIN', 'api:127.0.0.3', '3/h')
  const answers = await times(4, () => ask('GET /hello', '127.0.0.3'))
  assert.deepEqual(statuses(answers), [200, 200, 200, 429])
  assert.equal(answers[0].headers['retry-after'], undefined)
  const seconds = Number(answers[3].headers['retry-after'])
  assert.ok(3500 <= seconds && seconds <= 3600, String(seconds))
  assert.equal(answers[3].body, '{"error":"too many requests"}')
  assert.equal((await ask('GET /hello', '127.0.0.4')).status, 200)
})

test('a limit by key, a waiting line and a breaker', async () => {
  const logins = await times(6, () => ask('POST /login/joe', '127.0.0.5'))
  assert.deepEqual(statuses(logins), [200, 200, 200, 200, 200, 429])
  assert.ok(Number(logins[5].headers['retry-after']) > 0)

  const start = performance.now()
  const reports = await times(3, () => ask('GET /report', '127.0.0.6'))
  assert.ok(reports.every(({ status }) => status === 200) && performance.now() - start > 500)

  const paid = []
  for (const cents of [7, 13, 13, 13, 7]) paid.push(await ask(`POST /pay/${cents}`, '127.0.0.7'))
  assert.deepEqual(statuses(paid), [200, 502, 502, 502, 503])
  const seconds = Number(paid[4].headers['retry-after'])
  assert.ok(10 <= seconds && seconds <= 30, String(seconds))

  // Who hangs up in line leaves it, before the wait is over.
  await operator.call('RL.PIN', 'report', '1/h')
  await operator.call('RL.ACQUIRE', 'report')
  const slow = http.request({ host: '127.0.0.1', port, path: '/report', agent: false }).end()
  slow.on('error', () => {})
  await eventually('it stands in line', async () => (await inLine('report')) === 1)
  slow.destroy()
  await eventually('it left the line', async () => (await inLine('report')) === 0)
  assert.deepEqual([await ended('left'), await ended('timed_out')], [1, 0])
})

test('a stream is charged for what was sent', async () => {
  const answer = await ask('POST /ask/20')
  assert.deepEqual([answer.status, answer.body], [200, 'word '.repeat(20)])
  assert.equal(await used('llm'), 20)

  // Who hangs up half way is charged for half.
  const response = await send('POST /ask/100000', '127.0.0.1')
  await once(response, 'data')
  response.destroy()
  await isSettled('llm')
  const charged = await used('llm')
  assert.ok(21 <= charged && charged < 1020, String(charged))

  // An estimate that never fits: no Retry-After.
  await operator.call('RL.PIN', 'llm', '1000/m')
  const never = await ask('POST /ask/20')
  assert.deepEqual([never.status, never.headers['retry-after']], [429, undefined])
  await operator.call('RL.UNPIN', 'llm')

  // Denied before the first byte.
  for (const id of ['a', 'b', 'c', 'd', 'e']) {
    await operator.call('RL.RESERVE', 1, 'llm', '100000/m,concurrent:5', 'TTL', '30s', 'ID', id)
  }
  const denied = await ask('POST /ask/20')
  assert.ok(denied.status === 429 && Number(denied.headers['retry-after']) > 0)
})

test('while Redis is away its fallbacks hold', async () => {
  await server.kill()
  const hello = await ask('GET /hello', '127.0.0.8')
  assert.deepEqual([hello.status, hello.headers.ratelimit], [200, undefined])
  assert.equal((await ask('POST /login/ann', '127.0.0.8')).status, 429)
  assert.equal((await ask('POST /pay/7', '127.0.0.8')).status, 200)
  assert.equal((await ask('POST /ask/3', '127.0.0.8')).body, 'word word word ')
})
