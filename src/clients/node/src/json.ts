import { inspect, types } from 'node:util'

/**
 * The value as JSON. Throws TypeError where JSON cannot hold it: undefined, a function, and an object
 * of a class that does not say what it is as JSON (`toJSON`). Of a Map, a Response or a stream JSON
 * would make `{}`.
 */
export function jsonOf(value: unknown): string {
  const json = JSON.stringify(value, (_key, part: unknown) => {
    if (!hasJson(part)) throw refusal(part)
    return part
  }) as string | undefined
  if (json === undefined) throw refusal(value)
  return json
}

function refusal(value: unknown): TypeError {
  return new TypeError(`JSON cannot hold ${inspect(value, { depth: -1 })}`)
}

function hasJson(value: unknown): boolean {
  if (typeof value === 'function') return false
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return true
  if (types.isBoxedPrimitive(value)) return true
  // Of any realm: its prototype is none, or has none itself.
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}
