/** The number of times for which a busy process waits at most. */
const MOST_ROUNDS = 10

/** The part of the time: a process that works for more than this is busy. */
const BUSY = 0.5

/**
 * Calls `over` when there was no answer for `ms`. Answers that have arrived are read first. A process that
 * was busy meanwhile may not have had the time to send and to read, which says nothing of Redis. It waits
 * `moreMs` once more, and again while `hears` says that answers came, ten times in all.
 *
 * The function that it returns ends that.
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
