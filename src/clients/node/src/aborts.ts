/** The functions to call when one signal is aborted, and the listener that calls them. */
interface Told {
  readonly all: Set<() => void>
  readonly listener: () => void
}

const known = new WeakMap<AbortSignal, Told>()

/**
 * Calls `told` when the signal is aborted. The function that it returns ends that. Without a signal it does
 * nothing.
 *
 * Many requests may share one signal, and Node warns of a leak where a signal has more than ten
 * listeners. So each signal gets one listener of this package.
 */
export function whenAborted(signal: AbortSignal | undefined, told: () => void): () => void {
  if (!signal) return () => {}
  const { all, listener } = known.get(signal) ?? listenTo(signal)
  // Two requests may pass the same function.
  const entry = () => told()
  all.add(entry)
  return () => {
    all.delete(entry)
    if (all.size > 0 || known.get(signal)?.all !== all) return
    known.delete(signal)
    signal.removeEventListener('abort', listener)
  }
}

function listenTo(signal: AbortSignal): Told {
  const all = new Set<() => void>()
  const listener = () => {
    known.delete(signal)
    for (const told of [...all]) told()
  }
  const entry = { all, listener }
  known.set(signal, entry)
  signal.addEventListener('abort', listener, { once: true })
  return entry
}
