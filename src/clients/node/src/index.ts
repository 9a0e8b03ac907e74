// Limits, reservations and circuit breakers that all processes share.

export { Breaker, CircuitOpen, type BreakerOptions, type CallOutcome } from './breaker.js'
export { Cache, type CacheOptions, type KeepOptions } from './cache.js'
export type { Command, RedisClient, SendCommand } from './client.js'
export { retryAfterSeconds, type Decision } from './decision.js'
export { DenialMemory } from './denials.js'
export { Away, Closed, Misconfigured } from './errors.js'
export { FailClosed, FailOpen, LocalBucket, type Fallback } from './fallback.js'
export { guarded, type GuardOptions } from './guarded.js'
export { Lease, type LeaseCounters, type LeaseOptions } from './lease.js'
export {
  Limiter,
  type AcquireOptions,
  type BatchItem,
  type ChargeOptions,
  type Counters,
  type LimiterOptions,
  type LimitStatus,
  type Limits,
  type Quota,
} from './limiter.js'
export type { Logger } from './logger.js'
export { networkOf } from './network.js'
export { Denied, Spending, reserve, type ReserveOptions } from './reservation.js'
export { Server, type ServerOptions } from './server.js'
