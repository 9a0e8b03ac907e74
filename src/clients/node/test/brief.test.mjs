// Tests that take a moment each: one process loads the clients once for all of them.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { loadParts } from './parts.mjs'

await loadParts(
  './aborts.part.mjs',
  './arguments.part.mjs',
  './both.part.mjs',
  './denials.part.mjs',
  './faults.part.mjs',
  './fastify-suite.part.mjs',
  './limiter.part.mjs',
  './telemetry.part.mjs',
  './web.part.mjs',
)

test('each part belongs to a test', () => {
  const names = readdirSync(import.meta.dirname)
  const tests = names.filter((name) => name.endsWith('.test.mjs'))
  const loaded = tests.map((name) => readFileSync(new URL(name, import.meta.url), 'utf8')).join()
  const parts = names.filter((name) => name.endsWith('.part.mjs'))
  assert.deepEqual(
    parts.filter((name) => !loaded.includes(`'./${name}'`)),
    [],
  )
})
