// What README shows is run: its examples, and the rights of each plug-in.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { Breaker, Lease, Limiter, reserve } from 'floodgate-redis'
import { ask, hosts } from './hosts.mjs'
import { ioredis, nodeRedis, patient } from './clients.mjs'
import { times } from './numbers.mjs'
import { held } from './operator.mjs'
import { startServer } from './servers.mjs'
import { eventually, HANGS_MS } from './waits.mjs'

const root = new URL('..', import.meta.url)
const readme = readFileSync(new URL('README.md', root), 'utf8')
const server = await startServer()
const { operator } = server

const examples = [
  ...readme.matchAll(/```js\n(\/\/ (\w+\.mjs): .*\n[^`]*(?:`(?!``)[^`]*)*)```\n\n```text\n([^`]*)```/g),
]

test('the examples run and print what stands there', async () => {
  assert.equal(examples.length, 3)
  for (const [, code, name, prints] of examples) {
    const ran = await runs(name, code)
    assert.equal(ran.stdout, prints, name + ran.stderr)
  }
})

/** Runs an example beside the package, where Node finds it by its name. */
async function runs(name, code) {
  const file = new URL(`example-${name}`, root)
  writeFileSync(file, code)
  try {
    const env = { ...process.env, REDIS_URL: server.url }
    const run = () => spawnSync(process.execPath, [file.pathname], { env, encoding: 'utf8' })
    let ran = run()
    // On a busy machine Redis may take longer than the 250 ms of an example.
    for (let more = 0; more < 20 && ran.stderr.includes('Redis is away'); more++) {
      await operator.call('FLUSHALL')
      ran = run()
    }
    return ran
  } finally {
    rmSync(file)
  }
}

test('the first one with the oldest ioredis, as the page says', async () => {
  const [[, code, , prints]] = examples
  const named = "import { Redis } from 'ioredis'"
  assert.ok(code.includes(named) && readme.includes("`import Redis from 'ioredis'`"))
  await operator.call('FLUSHALL')
  const ran = await runs('oldest.mjs', code.replace(named, "import Redis from 'ioredis-oldest'"))
  assert.equal(ran.stdout, prints, ran.stderr)
})

test('the service starts while Redis is away', async () => {
  const [, code] = examples.find(([, , name]) => name === 'web.mjs')
  const file = new URL('example-away.mjs', root)
  writeFileSync(file, code)
  try {
    const env = { ...process.env, REDIS_URL: 'redis://127.0.0.1:1' }
    const ran = spawnSync(process.execPath, [file.pathname], { env, encoding: 'utf8', timeout: HANGS_MS })
    assert.equal(ran.stdout, '200 null null\n'.repeat(3), ran.stderr)
    assert.match(ran.stderr, /^floodgate: Redis is away, the fallback decides: .*ECONNREFUSED/)
  } finally {
    rmSync(file)
  }
})

test('the lines that change are those that are tried', () => {
  const tried = readFileSync(new URL('hosts.mjs', import.meta.url), 'utf8')
  const types = readFileSync(new URL('types.ts', import.meta.url), 'utf8')
  const added = [...readme.matchAll(/^\+\s*(.*)$/gm)].map(([, line]) => line)
  assert.equal(added.length, 8)
  for (const line of added) {
    const [name] = /(?<=import \{ |new |store: )\w*[fF]loodgate\w*/.exec(line) ?? assert.fail(line)
    const [module] = /floodgate-redis\/\w+/.exec(line) ?? ['']
    assert.ok((tried + types).includes(name) && types.includes(module), line)
  }
})

/** The line of a user, set, and a client of each kind with these rights. */
async function user(name) {
  const [line] = new RegExp(`ACL SETUSER ${name} [^\`]*`).exec(readme) ?? assert.fail(name)
  await operator.call(...line.split(' '))
  const credentials = { username: name, password: 'secret' }
  const clients = [ioredis(server.port, credentials), await nodeRedis(server.port, credentials)]
  await assert.rejects(clients[0].get('k'), /NOPERM/)
  return clients
}

test('rights: the core', async () => {
  for (const client of await user('core')) {
    const limiter = new Limiter(patient(client))
    await limiter.server.check()
    assert.equal((await limiter.acquireWithHeaders('acl', '100/h')).decision.source, 'redis')
    await limiter.wait('acl', '100/h', 100)
    await limiter.batch('EACH', [{ key: 'acl', limits: '100/h' }])
    await limiter.refund('acl', 1)
    await limiter.charge('acl', '100/h', 1)
    assert.equal(await new Breaker(limiter.server, 'acl:b', '3').call(() => 42), 42)
    await reserve(
      limiter,
      { 'acl:r': 'concurrent:1' },
      { ttlMs: 300 },
      () => new Promise((end) => setTimeout(end, 250)),
    )
    assert.equal(await held(operator, 'acl:r'), 0)
    await assert.rejects(
      reserve(limiter, { 'acl:r': 'concurrent:1' }, {}, () => Promise.reject(new Error('failed'))),
    )
    assert.equal(await held(operator, 'acl:r'), 0)
    const lease = new Lease(limiter, 'acl:lease', '1000000/h')
    await eventually(
      'it leases',
      async () => (await times(20, () => lease.acquire())).at(-1).source === 'lease',
    )
    await lease.close()
    assert.equal(await held(operator, 'acl:lease'), 0)
    limiter.server.close()
  }
})

for (const host of ['express', 'hono']) {
  test(`rights: ${host}`, async () => {
    for (const client of await user(host)) {
      const theirs = { limit: 2, skipFailedRequests: true, keyGenerator: () => 'k' }
      const { port, store, close } = await hosts[host]({ client: patient(client) }, theirs)
      const answers = await times(5, (i) => ask(port, i < 2 ? '/?fail' : '/'))
      assert.deepEqual(
        answers.map(({ status }) => status),
        [500, 500, 200, 200, 429],
      )
      assert.equal((await store.get('k')).totalHits, 2)
      await store.resetKey('k')
      await ask(port)
      await store.resetAll()
      assert.equal(await store.get('k'), undefined)
      close()
    }
  })
}

test('rights: fastify', async () => {
  for (const client of await user('fastify')) {
    const { port, close } = await hosts.fastify({ client: patient(client) })
    assert.equal((await ask(port)).status, 200)
    assert.ok(JSON.parse((await ask(port, '/peek')).body).remaining < 10)
    close()
  }
})

test('rights: nestjs', async () => {
  for (const client of await user('nestjs')) {
    const { port, close } = await hosts.nestjs({ client: patient(client) })
    assert.equal((await ask(port)).status, 200)
    close()
  }
})
