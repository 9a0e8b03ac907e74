import { eventually } from './waits.mjs'

/** Waits until Redis decides on requests of the limiter again. */
export const asksAgain = (limiter) =>
  eventually('it asks again', async () => (await limiter.acquire('asks', '100000/h')).source === 'redis')
