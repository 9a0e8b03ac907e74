import { createHash } from 'node:crypto'
import { admissionOf, CircuitOpen, type Breaker, type CallOutcome } from './breaker.js'
import type { Cache } from './cache.js'
import { checkAsker, checkFunction, checkMs, checkObject, checkText, checkUnits } from './checks.js'
import type { Command } from './client.js'
import { decisionOf } from './decision.js'
import { Away, messageOf } from './errors.js'
import type { Limiter, Limits } from './limiter.js'
import { Denied } from './reservation.js'
import type { Server } from './server.js'
import { calls, decisions } from './telemetry.js'

/** The options of `guarded`. */
export interface GuardOptions<A extends unknown[], T> {
  limiter: Limiter
  breaker: Breaker
  /** The key whose limits the call takes from, and whose usage it is. */
  key: string | ((...args: A) => string)
  /** The limits. By default those that the server has for the key hold. */
  limits?: Limits | undefined
  /** The number of units that the call takes. The default is 1. */
  cost?: number | ((...args: A) => number) | undefined
  cache?: Cache | undefined
  /** The time for which answers are cached, in milliseconds. By default they are cached for ever. */
  ttlMs?: number | undefined
  /**
   * Names the key under which an answer is cached. By default it is the function's name and a hash of
   * all its arguments.
   */
  cachedAs?: ((...args: A) => string) | undefined
  /**
   * Tells from an answer what the call cost, in money. Where the function throws, the logger is told, and
   * the call is recorded without a cost.
   */
  spend?: ((answer: T) => number | string | undefined) | undefined
}

/**
 * Guards a function that calls what costs money:
 *
 * 1. With a cache, an answer that it has takes no quota. When several callers miss the same answer, one
 *    makes the call and the others wait for its answer.
 * 2. Breaker and limit are asked in one step. The function throws CircuitOpen, which uses up no quota, or
 *    Denied, which changes nothing of the breaker.
 * 3. The call is made. Its result is reported to the breaker, and as usage of `key` (RL.STATS, RL.USAGE),
 *    with the time that it took and the money that it cost.
 * 4. The answer is cached, if JSON can hold it and the server keeps it. JSON cannot hold a stream, a Map or
 *    a Response: then each caller makes the call.
 *
 * On a cluster `key` and the breaker's key belong in one slot. While Redis is away the
 * limiter's fallback decides, and each process caches by itself.
 */
export function guarded<A extends unknown[], T, S = unknown>(
  options: GuardOptions<A, T>,
  call: (this: S, ...args: A) => T | Promise<T>,
): (this: S, ...args: A) => Promise<T> {
  checkObject('options', options)
  checkFunction('call', call)
  const { limiter, breaker, cache, key, cost = 1, ttlMs } = options
  checkAsker('limiter', limiter, 'a Limiter')
  checkAsker('breaker', breaker, 'a Breaker')
  if (cache !== undefined) checkAsker('cache', cache, 'a Cache')
  if (typeof key !== 'function') checkText('key', key)
  if (ttlMs !== undefined) checkMs('ttlMs', ttlMs, 0, Infinity)
  if (options.limits !== undefined) checkText('limits', options.limits)
  const cachedAs = options.cachedAs ?? (cache && answersOf(call))
  return async function (...args) {
    const name = typeof key === 'function' ? key(...args) : key
    const units = typeof cost === 'function' ? cost(...args) : cost
    checkText('key', name)
    checkUnits('cost', units)
    const paid = () => paidCall(options, name, units, () => call.apply(this, args))
    if (!cache || !cachedAs) return paid()
    const answer = cachedAs(...args)
    checkText('cachedAs', answer)
    return cache.either<T>(
      answer,
      async (known) => {
        calls('cached')
        await limiter.server.finish(['RL.RECORD', name, 'OK', 'CACHED'], name)
        return known as T
      },
      async () => {
        const value = await paid()
        await cache.keep(answer, value, { ttlMs })
        return value
      },
    )
  }
}

async function paidCall<A extends unknown[], T>(
  { limiter, breaker, limits = '*', spend }: GuardOptions<A, T>,
  name: string,
  units: number,
  call: () => T | Promise<T>,
): Promise<T> {
  const { server } = limiter
  const token = await admitted(limiter, breaker, name, limits, units)
  const start = performance.now()
  let outcome: CallOutcome = 'FAIL'
  let spent: number | string | undefined
  try {
    const value = await call()
    outcome = 'OK'
    try {
      spent = spend?.(value)
    } catch (error) {
      server.warn(`floodgate: what a call of '${name}' cost is not recorded: ${messageOf(error)}`)
    }
    return value
  } catch (error) {
    if (outcome === 'FAIL') outcome = breaker.outcomeOf(error)
    throw error
  } finally {
    calls(outcome.toLowerCase())
    const took = ['DUR', `${Math.round(performance.now() - start)}ms`]
    const told: Promise<unknown>[] = []
    if (token !== undefined) {
      told.push(server.finish(['CB.REPORT', breaker.key, outcome, 'TOKEN', token, ...took], breaker.key))
    }
    if (outcome !== 'IGNORE') {
      told.push(recorded(server, ['RL.RECORD', name, outcome, ...took], name, spent))
    }
    await Promise.all(told)
  }
}

/** Records an outcome. Where the server refuses the money, the outcome is recorded without it. */
async function recorded(
  server: Server,
  command: Command,
  key: string,
  spent: number | string | undefined,
): Promise<void> {
  if (spent !== undefined && !(await server.finish([...command, 'SPEND', String(spent)], key))) return
  await server.finish(command, key)
}

/** Asks for a permit, and gives its token. There is none while Redis is away. */
async function admitted(
  limiter: Limiter,
  { key, rule }: Breaker,
  name: string,
  limits: Limits,
  units: number,
): Promise<string | undefined> {
  const { server } = limiter
  const command: Command = [
    'CB.ACQUIRE',
    key,
    ...(rule === undefined ? [] : [rule]),
    ...['LIMIT', name, limits, 'COST', units],
  ]
  // The permit came too late. The call is not made, and its trial and its units are given back. The units
  // go back on the limits of this call: others may have taken from the key by other limits since.
  const late = (answer: unknown) => {
    const { token } = admissionOf(answer)
    if (token === undefined) return
    void Promise.all([
      server.giveBackLate(['CB.REPORT', key, 'IGNORE', 'TOKEN', token], key),
      server.giveBackLate(['RL.REFUND', name, units, limits], name),
    ])
  }
  let answer
  try {
    answer = admissionOf(await server.ask(command, { key, late }))
  } catch (error) {
    if (!(error instanceof Away)) throw error
    const alone = limiter.decideAlone(name, { cost: units })
    if (!alone.granted) throw new Denied(alone)
    return undefined
  }
  if (answer.allowed) {
    decisions('granted')
    return answer.token
  }
  const decision = answer.six && decisionOf(answer.six)
  if (!decision || decision.granted) {
    calls('open')
    throw new CircuitOpen(key, answer.retryAfterMs)
  }
  decisions('denied')
  throw new Denied(decision)
}

function answersOf(call: { name: string }): (...args: unknown[]) => string {
  if (!call.name) throw new TypeError('a function without a name needs cachedAs')
  return (...args) => `${call.name}:${createHash('sha256').update(JSON.stringify(args)).digest('hex')}`
}
