// Clients put a prefix before the keys of commands that they know. They do not know Floodgate's commands,
// so this package puts it there.

import type { Command } from './client.js'

/** Puts the prefix before each key of the command. `key` is its first key, if it has one. */
export function prefixed(prefix: string, command: Command, key: string | undefined): Command {
  if (prefix === '') return command
  const [name, ...args] = command
  const places = new Set(placesOf(name, args, key))
  return [name, ...args.map((arg, place) => (places.has(place) ? prefix + arg : arg))]
}

/** The positions of the keys among the arguments. */
function placesOf(name: string, args: (string | number)[], key: string | undefined): number[] {
  const each = (first: number, step: number, count: unknown) =>
    Array.from({ length: Number(count) }, (_, i) => first + step * i)
  switch (name) {
    case 'RL.BATCH':
      return each(2, 3, args[1])
    case 'RL.RESERVE':
      return each(1, 2, args[0])
    case 'RL.COMMIT':
    case 'RL.RELEASE':
      return each(2, 1, args[1])
    case 'RL.RENEW':
      return each(4, 1, args[3])
    case 'UNLINK':
      return each(0, 1, args.length)
    case 'CB.ACQUIRE': {
      const limit = args.indexOf('LIMIT', 1)
      return limit < 0 ? [0] : [0, limit + 1]
    }
    default:
      return args[0] === key ? [0] : []
  }
}

/** Gives the pattern that matches this text alone. */
export function literal(text: string): string {
  return text.replace(/[\\*?[\]^]/g, '\\$&')
}
