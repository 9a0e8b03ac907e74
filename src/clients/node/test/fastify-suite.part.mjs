// The tests of @fastify/rate-limit for its own Redis store, from its npm package,
// with ours in its place.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import Module, { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { Redis } from 'ioredis'
import { floodgateStore } from 'floodgate-redis/fastify'
import { patient } from './clients.mjs'
import { startServer } from './servers.mjs'

const { port } = await startServer()

const CHANGES_NOTHING =
  'a denied request moves no window, nor a block that has begun: the option is refused with the name of block='
/** What is not run, and the promise that contradicts it. */
const LEFT_OUT = {
  'Global rate limit > When continue exceeding is on (Redis)': CHANGES_NOTHING,
  'Global rate limit > Redis with continueExceeding should not always return the timeWindow as ttl':
    CHANGES_NOTHING,
  'Global rate limit > With redis store and exponential backoff': CHANGES_NOTHING,
  'Route rate limit > When continue exceeding is on (Redis)': CHANGES_NOTHING,
  'Route rate limit > Route-specific exponential backoff with redis store': CHANGES_NOTHING,
}

const require = createRequire(import.meta.url)
const plugin = require('@fastify/rate-limit')
const path = join(dirname(require.resolve('@fastify/rate-limit')), 'test', 'redis-rate-limit.test.js')

/** Its client, on the port of our server. */
class Client extends Redis {
  constructor(options) {
    super({ ...options, port })
  }
}

/** The plugin, with ours where its Redis store would be. */
const withOurs = Object.assign(
  (fastify, { redis, nameSpace, ...options }) =>
    plugin(fastify, { ...options, store: floodgateStore({ client: patient(redis), prefix: nameSpace }) }),
  { [Symbol.for('skip-override')]: true },
)

const seen = []
let suite = ''
const standIns = {
  ioredis: Client,
  '../index': withOurs,
  'node:test': {
    describe: (name, body) =>
      describe(name, () => {
        suite = name
        body()
      }),
    test(name, body) {
      const full = `${suite} > ${name}`
      seen.push(full)
      if (!(full in LEFT_OUT)) test(name, body)
    },
  },
}

const theirs = new Module(path)
theirs.filename = path
theirs.paths = Module._nodeModulePaths(dirname(path))
const requireOriginal = theirs.require.bind(theirs)
theirs.require = (name) => standIns[name] ?? requireOriginal(name)
theirs._compile(readFileSync(path, 'utf8'), path)

test('what is left out is there, and the rest was run', () => {
  for (const name of Object.keys(LEFT_OUT)) assert.ok(seen.includes(name), name)
  assert.equal(seen.length, 16)
  assert.equal(Object.keys(LEFT_OUT).length, 5)
})
