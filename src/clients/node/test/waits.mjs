// How tests wait for what must come, and how they end when it does not.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

export { sleep }

/** Nothing that ends takes so long. What takes longer hangs. */
export const HANGS_MS = 30_000

/** Waits until it holds, and fails where it does not within `limitMs`. */
export async function eventually(what, holds, limitMs = 60_000) {
  const deadline = performance.now() + limitMs
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, what)
    await sleep(20)
  }
}

/** The answer. Fails where there is none in `HANGS_MS`. */
export async function ends(what, answer) {
  const over = new AbortController()
  const hangs = async () => {
    await sleep(HANGS_MS, undefined, { signal: over.signal }).catch(() => {})
    assert.ok(over.signal.aborted, `${what}: no answer in ${HANGS_MS} ms`)
  }
  try {
    return await Promise.race([answer, hangs()])
  } finally {
    over.abort()
  }
}
