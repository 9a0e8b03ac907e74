import { inspect, types } from 'node:util'

/**
 * Gives the value as JSON. It throws TypeError where JSON cannot hold the value: undefined, a function, and
 * an object of a class without `toJSON`. JSON would make `{}` of a Map, a Response or a stream.
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
  // A plain object of any realm has no prototype, or one that has none itself.
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}
