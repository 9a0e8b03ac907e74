// Makes limits of the server of the milliseconds and counts of hosts.

/** The most units that a limit counts. */
export const MAX_COUNT = 1_000_000_000_000
/** The longest time that the server knows: 366 days. */
export const MAX_WINDOW_MS = 366 * 24 * 60 * 60 * 1000

/** Gives the window as a period. The error of a wrong window has its name. */
export function periodOf(windowMs: number, name: string): string {
  const ms = Math.ceil(windowMs)
  if (!(ms >= 1 && ms <= MAX_WINDOW_MS)) {
    throw new RangeError(
      `${name} is ${windowMs}: Floodgate counts over 1 ms to 366 days (${MAX_WINDOW_MS} ms)`,
    )
  }
  return `${ms}ms`
}

/** Gives a limit of at most `count` in any window of that length. The count is at least 1. */
export function slidingLimit(count: number, windowMs: number, name: string): string {
  if (count === Infinity) return 'unlimited'
  if (!(count <= MAX_COUNT))
    throw new RangeError(`a limit of ${count} is none: Floodgate counts at most ${MAX_COUNT}`)
  return `${Math.floor(count)}/${periodOf(windowMs, name)}`
}

/**
 * Gives a limit that counts as INCR with PEXPIRE does, and denies nothing. A window begins with the first
 * hit after the last one ended.
 */
export function countingLimit(windowMs: number, name: string): string {
  return `fixed:${MAX_COUNT}/${periodOf(windowMs, name)}:start=first`
}
