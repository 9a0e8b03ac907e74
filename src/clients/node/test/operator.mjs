// What an operator sees of a server, by a client of ioredis.

/** Names and values in turn, as an object. */
export const fields = (flat) =>
  Object.fromEntries(flat.flatMap((name, i) => (i % 2 ? [] : [[name, flat[i + 1]]])))

/** How often a command was asked. */
export async function calls(operator, command) {
  const stats = String(await operator.info('commandstats'))
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`, 'i').exec(stats)?.[1] ?? 0)
}

/** The number of requests in the queue of a key. */
export const inLine = async (operator, key) => Number((await operator.call('RL.QUEUE', key))[0])

/** The number of reservations that a key holds. */
export const held = async (operator, key) => (await operator.call('RL.RESERVATIONS', key)).length

/** The units of the first limit of a key that are used. */
export async function used(operator, key, ...limits) {
  const [row] = await operator.call('RL.QUOTA', key, ...limits)
  return Number(Array.isArray(row) ? fields(row).used : row.used)
}
