// Reads replies of RESP2 and RESP3, whatever a client makes of numbers, strings and maps.

/** Gives the reply as an array. It throws unless it is one. */
export function list(reply: unknown): unknown[] {
  if (!Array.isArray(reply))
    throw new TypeError(`the server replied ${typeof reply} where a list was expected`)
  return reply
}

/** Gives an integer, which may come as a number, a string of digits or a BigInt. */
export function integer(reply: unknown): number {
  const number = typeof reply === 'boolean' ? Number(reply) : Number(text(reply))
  if (!Number.isFinite(number))
    throw new TypeError(`the server replied '${text(reply)}' where a number was expected`)
  return number
}

/** Gives a string. Bytes are read as UTF-8. */
export function text(reply: unknown): string {
  return typeof reply === 'string' ? reply : String(reply)
}

/** Gives the pairs of a map, which may come as a Map, as an object, or as names and values in turn. */
export function pairs(reply: unknown): [name: string, value: unknown][] {
  if (reply instanceof Map) return [...reply].map(([name, value]) => [text(name), value])
  if (!Array.isArray(reply)) return Object.entries(reply as object)
  const found: [string, unknown][] = []
  for (let i = 0; i + 1 < reply.length; i += 2) found.push([text(reply[i]), reply[i + 1]])
  return found
}
