// Take now, settle later: for the tokens of a language model, whose number is
// known afterwards. Copy it with floodgate.mjs.
//
//   await reserve(limiter, { [`llm:${user}`]: '100000/m,concurrent:5' }, { estimate: 1500 }, async (spending) => {
//     for await (const chunk of model.stream(prompt)) spending.add(chunk.tokens)
//   })

import { randomUUID } from 'node:crypto'
import { Away, Limiter, decision } from './floodgate.mjs'

/** @typedef {import('./floodgate.mjs').Decision} Decision */

/** Nothing was reserved. */
export class Denied extends Error {
  /** @param {Decision} decision */
  constructor(decision) {
    super(`denied, retry after ${decision.retryAfterMs} ms`)
    this.decision = decision
  }
}

/** What the work has cost so far; none when it was never said. */
export class Spending {
  /** @type {number | undefined} */
  units

  /** @param {number} units */
  add(units) {
    this.units = (this.units ?? 0) + units
  }
}

/**
 * Reserves the estimate on every key and does the work, or throws Denied. Keeps
 * it for as long as the work takes, however long that is, then commits what was
 * spent: also of work that failed half way. What fails before it spent anything
 * is released. Of a process that dies, places are free after `ttlMs`. Aborted by
 * the signal before it was reserved, the work is not done.
 * @template T
 * @param {Limiter} limiter
 * @param {Record<string, string>} limits
 * @param {{ estimate: number, ttlMs?: number, signal?: AbortSignal }} how
 * @param {(spending: Spending) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function reserve(limiter, limits, { estimate, ttlMs = 30_000, signal }, work) {
  const { server, fallback } = limiter
  const keys = Object.keys(limits)
  const id = randomUUID() // ours, so that asking twice reserves once
  const spending = new Spending()
  try {
    const options = ['COST', estimate, 'TTL', `${ttlMs}ms`, 'ID', id]
    const [taken, sixes] = await server.take(
      ['RL.RESERVE', keys.length, ...Object.entries(limits).flat(), ...options],
      ([reserved]) => (reserved === null ? undefined : ['RL.RELEASE', id, keys.length, ...keys]),
      signal,
    )
    if (taken === null) throw new Denied(longest(sixes.map(decision)))
  } catch (error) {
    if (!(error instanceof Away)) throw error
    const alone = fallback.acquire(keys[keys.length - 1], estimate)
    if (!alone.granted) throw new Denied(alone)
    return work(spending)
  }
  const renew = () => server.finish('RL.RENEW', id, 'TTL', `${ttlMs}ms`, keys.length, ...keys)
  const renewing = setInterval(renew, ttlMs / 3)
  let failed = true
  try {
    const result = await work(spending)
    failed = false
    return result
  } finally {
    clearInterval(renewing)
    if (spending.units !== undefined) {
      await server.finish('RL.COMMIT', id, keys.length, ...keys, 'COST', spending.units)
    } else {
      await server.finish(failed ? 'RL.RELEASE' : 'RL.COMMIT', id, keys.length, ...keys)
    }
  }
}

/** @param {Decision[]} decisions */
function longest(decisions) {
  const howLong = (/** @type {Decision} */ { retryAfterMs }) => (retryAfterMs < 0 ? Infinity : retryAfterMs)
  return decisions.reduce((a, b) => (howLong(b) > howLong(a) ? b : a))
}
