import { randomUUID } from 'node:crypto'
import {
  MAX_MS,
  checkAsker,
  checkFunction,
  checkMs,
  checkObject,
  checkText,
  checkUnits,
  checkWait,
} from './checks.js'
import type { Command } from './client.js'
import { decisionOf, longestDenial, type Decision } from './decision.js'
import { Away } from './errors.js'
import type { Limiter, Limits } from './limiter.js'
import { list } from './reply.js'
import { MAX_WINDOW_MS } from './window.js'

/** The error of a request that was denied: nothing was reserved. */
export class Denied extends Error {
  override readonly name = 'Denied'

  constructor(readonly decision: Decision) {
    const { retryAfterMs } = decision
    super(retryAfterMs < 0 ? 'denied: it will never fit' : `denied, retry after ${retryAfterMs} ms`)
  }
}

/** The units that the work has cost so far. */
export class Spending {
  #units: number | undefined

  /** The units of which `add` was told. They are undefined before it was. */
  get units(): number | undefined {
    return this.#units
  }

  /** Adds units to what the work costs. It throws where they are no whole number, or too many in all. */
  add(units: number): void {
    checkUnits('units', units, 0)
    const all = (this.#units ?? 0) + units
    checkUnits('the sum of units', all, 0)
    this.#units = all
  }
}

/** The options of `reserve`. */
export interface ReserveOptions {
  /** The number of units to reserve on every key. The default is 1. */
  estimate?: number | undefined
  /**
   * The time after which the places of a process that died are free, in milliseconds. Work that goes on
   * renews its reservation. The default is 30,000.
   */
  ttlMs?: number | undefined
  /**
   * The time for which the request waits in the queue, in milliseconds: at most the server's setting
   * `wait-max` (30 s), and with one key only. The default is 0.
   */
  waitMs?: number | undefined
  /** Whether the request may use the part that `keep=` keeps. */
  critical?: boolean | undefined
  /** A signal that ends the request for the reservation. The work sees it only if you pass it on. */
  signal?: AbortSignal | undefined
}

/**
 * Reserves the estimate on every key and does the work, or throws Denied. It keeps the reservation for as
 * long as the work takes. Then it commits the units that were spent, also where the work failed half way.
 * Where the work fails before it spent anything, the reservation is released.
 *
 * While Redis is away the limiter's fallback decides, by the last key.
 */
export async function reserve<T>(
  limiter: Limiter,
  limits: Record<string, Limits>,
  options: ReserveOptions | undefined,
  work: (spending: Spending) => T | Promise<T>,
): Promise<T> {
  checkAsker('limiter', limiter, 'a Limiter')
  checkLimits(limits)
  checkFunction('work', work)
  const { server } = limiter
  const { estimate = 1, ttlMs = 30_000, waitMs = 0 } = options ?? {}
  checkUnits('estimate', estimate)
  checkMs('ttlMs', ttlMs, 1, MAX_WINDOW_MS)
  checkWait(waitMs)
  const keys = Object.keys(limits)
  const id = randomUUID() // made here, so that asking twice reserves once, and a late reservation can be released
  const spending = new Spending()
  const ttl = `${Math.ceil(ttlMs)}ms`
  const settle = async (command: string, ...words: (string | number)[]) => {
    const isRefused = await server.finish([command, id, keys.length, ...keys, ...words], keys[0]!)
    for (const key of keys) limiter.forget(key)
    return isRefused
  }

  if (!(await isReserved(limiter, limits, { ...options, estimate }, id, ttl))) return work(spending)
  const renewing = setInterval(
    () => void server.finish(['RL.RENEW', id, 'TTL', ttl, keys.length, ...keys], keys[0]!),
    Math.min(ttlMs / 3, MAX_MS),
  ).unref()
  let failed = true
  try {
    const result = await work(spending)
    failed = false
    return result
  } finally {
    clearInterval(renewing)
    if (spending.units === undefined && failed) await settle('RL.RELEASE')
    else {
      const spent = spending.units === undefined ? [] : ['COST', spending.units]
      // Units that are not charged must not stay reserved.
      if (await settle('RL.COMMIT', ...spent)) await settle('RL.RELEASE')
    }
  }
}

function checkLimits(limits: Record<string, Limits>): void {
  checkObject('limits', limits, "an object of each key's limits")
  const entries = Object.entries(limits)
  if (entries.length === 0) throw new TypeError('limits is empty: name at least one key with its limits')
  for (const [key, text] of entries) checkText(`limits['${key}']`, text)
}

/**
 * Asks for the reservation, and tells whether the server holds it. The server does not where Redis is away
 * and the fallback grants the request.
 */
async function isReserved(
  limiter: Limiter,
  limits: Record<string, Limits>,
  { waitMs, critical, signal, estimate }: ReserveOptions & { estimate: number },
  id: string,
  ttl: string,
): Promise<boolean> {
  const { server } = limiter
  const keys = Object.keys(limits)
  const command: Command = [
    'RL.RESERVE',
    keys.length,
    ...Object.entries(limits).flat(),
    ...['COST', estimate, 'TTL', ttl, 'ID', id],
    ...(critical ? ['CRITICAL'] : []),
  ]
  const release: Command = ['RL.RELEASE', id, keys.length, ...keys]
  const late = () => void server.giveBackLate(release, keys[0]!)
  const undo = { command: release, took: isTaken }
  const question = { key: keys[0]!, late, undo, signal }
  let reply
  try {
    reply = waitMs ? await server.wait(command, waitMs, question) : await server.ask(command, question)
  } catch (error) {
    if (!(error instanceof Away)) throw error
    const alone = limiter.decideAlone(keys[keys.length - 1]!, { cost: estimate })
    if (!alone.granted) throw new Denied(alone)
    return false
  }
  if (isTaken(reply)) return true
  throw new Denied(longestDenial(list(list(reply)[1]).map((six) => decisionOf(six)))!)
}

/** Whether this reply of RL.RESERVE says that the reservation is made. */
function isTaken(reply: unknown): boolean {
  const [id] = list(reply)
  return id !== null && id !== undefined
}
