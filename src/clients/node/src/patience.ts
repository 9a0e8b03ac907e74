/** How often a busy process may be given as long again. */
const MOST_ROUNDS = 10

/** A process that does something for more than this part of the time is busy. */
const BUSY = 0.5

/**
 * Calls `over` when there was no answer for `ms`. What lies there is read first. A process that was
 * busy meanwhile may not have come to send and to read, which is no evidence about Redis: it waits
 * `moreMs` once more, and again while `hears` says that answers came, ten times in all.
 *
 * Returns what ends it.
 */
export function patience(
  ms: number,
  over: () => void,
  hears: () => boolean = () => false,
  moreMs = ms,
): () => void {
  let immediate: NodeJS.Immediate | undefined
  let timer: NodeJS.Timeout
  let start: ReturnType<typeof performance.eventLoopUtilization>
  let round = 0
  const begin = (ms: number) => {
    round += 1
    start = performance.eventLoopUtilization()
    timer = setTimeout(() => (immediate = setImmediate(judge)), ms)
  }
  const judge = () => {
    const isBusy = performance.eventLoopUtilization(start).utilization > BUSY
    const heard = hears()
    if (isBusy && round < MOST_ROUNDS && (heard || round === 1)) begin(moreMs)
    else over()
  }
  begin(ms)
  return () => {
    clearTimeout(timer)
    clearImmediate(immediate)
  }
}
