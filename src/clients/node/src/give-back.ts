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

/** The pause after the first command that found nothing to give back. Each further pause is twice as long. */
const FIRST_PAUSE_MS = 10

/**
 * Gives back what a command took that waited in a queue and whose answer is lost. The server may find
 * late, or never, that the connection is closed, and grant the request meanwhile. So the command `undo`
 * is sent until it finds something, at least for `timeoutMs`, and until the server has ended the wait. A
 * grant is held for at most as long again as its asker had been gone. A server that hangs runs the command
 * when it goes on.
 *
 * @param endsBy the time by which the server has ended the wait, by `performance.now`
 */
export async function giveBackLost(
  { adapter, timeoutMs }: Asker,
  undo: Command,
  key: string | undefined,
  endsBy: number,
): Promise<void> {
  const never = new AbortController().signal
  const given = async () => integer(await adapter.send(undo, key, never)) > 0
  try {
    if (await given()) return
    const until = Math.max(endsBy, performance.now() + timeoutMs)
    for (let pauseMs = FIRST_PAUSE_MS, left; (left = until - performance.now()) > 0; pauseMs *= 2) {
      // A process need not stay for this.
      await sleep(Math.min(pauseMs, left), undefined, { ref: false })
      if (await given()) return
    }
  } catch {
    // Its TTL settles it.
  }
}
