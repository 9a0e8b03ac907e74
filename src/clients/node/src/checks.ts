// The arguments of callers are checked before Redis is asked. A mistake in them is no outage.

import { inspect, types } from 'node:util'
import { MAX_COUNT } from './window.js'

/** Eleven days. A timer of Node that is set to more than 24 days fires at once; twice this time is less. */
export const MAX_MS = 1_000_000_000

function shown(value: unknown): string {
  return inspect(value, { depth: 0, maxStringLength: 40, breakLength: Infinity })
}

/** Throws TypeError unless the value is a string. */
export function checkText(name: string, value: unknown): void {
  if (typeof value !== 'string') throw new TypeError(`${name} is ${shown(value)}: it must be a string`)
}

/** Throws TypeError unless the value is a function whose work is done when its result is there. */
export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw new TypeError(`${name} is ${shown(value)}: it must be a function`)
  if (!types.isGeneratorFunction(value)) return
  throw new TypeError(`${name} is ${shown(value)}: it must be no generator, which works after its call`)
}

/** Throws TypeError unless the value is an object. */
export function checkObject(name: string, value: unknown, must = 'an object'): void {
  if (typeof value === 'object' && value !== null) return
  throw new TypeError(`${name} is ${shown(value)}: it must be ${must}`)
}

/** Throws TypeError unless the value is an array. */
export function checkList(name: string, value: unknown): void {
  if (!Array.isArray(value)) throw new TypeError(`${name} is ${shown(value)}: it must be an array`)
}

/** Throws TypeError unless the value has a server, as a Limiter, a Breaker and a Cache have. */
export function checkAsker(name: string, value: unknown, must: string): void {
  checkObject(name, value, must)
  if (!('server' in (value as object))) throw new TypeError(`${name} is ${shown(value)}: it must be ${must}`)
}

/** Throws TypeError unless the value is a number, and RangeError unless `isRight` accepts the number. */
function checkNumber(name: string, value: unknown, must: string, isRight: (value: number) => boolean): void {
  const message = `${name} is ${shown(value)}: it must be ${must}`
  if (typeof value !== 'number') throw new TypeError(message)
  if (!isRight(value)) throw new RangeError(message)
}

/** Throws unless the value is a number of units that a limit counts. */
export function checkUnits(name: string, value: unknown, least = 1): void {
  checkWhole(name, value, least, MAX_COUNT)
}

/** Throws unless the value is a whole number. Where `most` is Infinity, that is accepted, too. */
export function checkWhole(name: string, value: unknown, least: number, most: number): void {
  const must =
    most === Infinity ? `a whole number of at least ${least}` : `a whole number from ${least} to ${most}`
  checkNumber(name, value, must, (number) => {
    return least <= number && number <= most && (Number.isInteger(number) || number === most)
  })
}

/** Throws unless the value is a time in milliseconds, of at most `most`. */
export function checkMs(name: string, value: unknown, least = 0, most = MAX_MS): void {
  const must = most === Infinity ? `at least ${least} ms` : `${least} to ${most} ms`
  checkNumber(name, value, must, (ms) => least <= ms && ms <= most)
}

/** Throws unless the value is a time for which a request can wait. */
export function checkWait(value: unknown): void {
  const must = `0 to ${MAX_MS} ms, and at most the server's setting wait-max (30 s unless told)`
  checkNumber('waitMs', value, must, (ms) => 0 <= ms && ms <= MAX_MS)
}

/** Throws unless the value is a number above 0. It need not be whole. */
export function checkPositive(name: string, value: unknown): void {
  checkNumber(name, value, 'a number above 0', (number) => number > 0 && number < Infinity)
}
