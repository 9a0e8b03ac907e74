// The server without the module, or not ours to ask.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { Breaker, Cache, Limiter, Misconfigured, Server, reserve } from 'floodgate-redis'
import { asksAgain } from './asks-again.mjs'
import { ioredis, listener, patient } from './clients.mjs'
import { PATIENT } from './patience.mjs'
import { startServer } from './servers.mjs'
import { eventually, sleep } from './waits.mjs'

const server = await startServer()
const { port, operator } = server

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
