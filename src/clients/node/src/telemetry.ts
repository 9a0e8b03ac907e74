// Counters of OpenTelemetry, where its API is installed.

/** The part of the API that this package uses. */
interface MetricsApi {
  getMeterProvider(): object
  getMeter(name: string): {
    createCounter(name: string, options: { description: string }): Counter
  }
}

interface Counter {
  add(value: number, attributes: { outcome: string }): void
}

let metrics: MetricsApi | undefined
// Compilers and bundlers do not look for a name in a variable.
const api: string = '@opentelemetry/api'
import(api).then(
  (module: { metrics?: MetricsApi }) => (metrics = module.metrics),
  () => {},
)

/** Makes a function that counts outcomes. Where the API is not installed it does nothing. */
function counter(name: string, description: string): (outcome: string, times?: number) => void {
  let provider: object | undefined
  let counter: Counter | undefined
  return (outcome, times = 1) => {
    if (!metrics) return
    // The application may set its provider late, or set another one.
    const current = metrics.getMeterProvider()
    if (!counter || current !== provider) {
      provider = current
      counter = metrics.getMeter('floodgate-redis').createCounter(name, { description })
    }
    counter.add(times, { outcome })
  }
}

export const decisions = counter(
  'floodgate.decisions',
  'What limits answered: granted, denied, remembered, leased, fallback',
)
export const calls = counter(
  'floodgate.calls',
  'What came of calls behind a breaker: ok, fail, ignore, open, cached',
)
