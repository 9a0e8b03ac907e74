/** The user's own client: ioredis or node-redis, RESP2 or RESP3. */

/** As of ioredis: a single server, a cluster or sentinels. */
export interface Ioredis {
  call(command: string, ...words: (string | number)[]): Promise<unknown>
}

/** As of node-redis (the package `redis`), connected. */
export interface NodeRedis {
  sendCommand(words: string[]): Promise<unknown>
}

export type Client = Ioredis | NodeRedis

export interface ClientOptions {
  /** An ioredis or a connected node-redis client. */
  client: Client
  /** How long an answer may take, in milliseconds, before the request fails: 1000. The host says what holds then. */
  patienceMs?: number
}

/** Sends one command, and gives the reply. */
export type Send = (command: string, ...words: (string | number)[]) => Promise<unknown>

/** Clients differ in what their own timeouts bound: a server that hangs must not hang its callers. */
export function sender({ client, patienceMs = 1000 }: ClientOptions): Send {
  const call: Send =
    'call' in client && typeof client.call === 'function'
      ? (command, ...words) => client.call(command, ...words)
      : (command, ...words) => (client as NodeRedis).sendCommand([command, ...words.map(String)])
  return (command, ...words) =>
    new Promise((resolve, reject) => {
      const late = () => reject(new Error(`${command}: no answer within ${patienceMs} ms`))
      const timer = setTimeout(late, patienceMs)
      call(command, ...words).then(resolve, reject).finally(() => clearTimeout(timer))
    })
}

/** What RL.ACQUIRE answers. */
export interface Decision {
  granted: number
  limit: number
  remaining: number
  retryAfterMs: number
  resetAfterMs: number
}

export async function acquire(send: Send, key: string, limits: string): Promise<Decision> {
  const six = ((await send('RL.ACQUIRE', key, limits)) as unknown[]).map(Number)
  const [granted = 0, limit = 0, remaining = 0, retryAfterMs = -1, resetAfterMs = 0] = six
  return { granted, limit, remaining, retryAfterMs, resetAfterMs }
}

/** How a key stands with the limit that it is nearest to. */
export interface Standing {
  limit: number
  used: number
  remaining: number
  resetAfterMs: number
}

/** Looks without taking; nothing where the key has no limits. */
export async function look(send: Send, key: string, limits: string): Promise<Standing | undefined> {
  const rows = (await send('RL.QUOTA', key, limits)) as unknown[] | null
  const found = (rows ?? []).map(fields).filter((row) => 'name' in row)
  const standings = found.map((row) => ({
    limit: Number(row.limit),
    used: Number(row.used),
    remaining: Number(row.remaining),
    resetAfterMs: Number(row.reset_after_ms),
  }))
  standings.sort((a, b) => a.remaining - b.remaining)
  return standings[0]
}

/** Deletes the usage of all keys with a prefix, but not of those that an operator has pinned or blocked. */
export async function clear(send: Send, prefix: string): Promise<void> {
  const pattern = `${prefix.replace(/[\\*?[\]]/g, '\\$&')}*`
  let cursor = '0'
  do {
    const page = (await send('RL.CLEAR', cursor, 'MATCH', pattern, 'COUNT', 1000)) as unknown[]
    cursor = String(page[0])
  } while (cursor !== '0')
}

/** A reply that is a map: in RESP2 names and values in turn. */
function fields(reply: unknown): Record<string, unknown> {
  if (reply instanceof Map) return Object.fromEntries(reply)
  if (!Array.isArray(reply)) return reply as Record<string, unknown>
  const pairs: Record<string, unknown> = {}
  for (let i = 0; i + 1 < reply.length; i += 2) pairs[String(reply[i])] = reply[i + 1]
  return pairs
}

/** The most that Floodgate counts. */
export const MOST = 1_000_000_000_000

/** Counts as INCR and PEXPIRE do, for whoever decides on the count: a window that begins with the first. */
export const counting = (windowMs: number) => `fixed:${MOST}/${windowMs}ms:start=first`
