// Units and trials that nobody uses any more are given back. Redis is asked even while it rests. What
// cannot be given back ends with its lease or its TTL.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from './client.js'
import { cannotDecide, isReply, messageOf } from './errors.js'
import type { Asker } from './exchange.js'
import { integer } from './reply.js'

/** Gives back what was granted too late. Redis has just answered. */
export async function giveBackLate({ adapter, warn }: Asker, command: Command, key: string): Promise<void> {
  try {
    await adapter.send(command, key, new AbortController().signal)
  } catch (error) {
    if (isReply(error) && !cannotDecide(error)) warn(`floodgate: ${command[0]} failed: ${messageOf(error)}`)
  }
}

/**
 * Gives back what a command took whose answer is lost. The command `undo` is sent twice where it found
 * nothing at first: the server may find later that the connection is closed, and grant the request in
 * between. A server that hangs runs it when it goes on.
 */
export async function giveBackLost(
  { adapter, timeoutMs }: Asker,
  undo: Command,
  key: string | undefined,
): Promise<void> {
  const never = new AbortController().signal
  try {
    if (integer(await adapter.send(undo, key, never)) > 0) return
    await sleep(timeoutMs)
    await adapter.send(undo, key, never)
  } catch {
    // Its TTL settles it.
  }
}
