// A service with Express: each caller has limits, and learns of them.

import express from 'express'

const LIMITS = '3/s,1000/h,10000/d'

/** Every response says how the caller stands; too many get 429. */
export function service(limiter) {
  const app = express()
  app.use(async (request, response, next) => {
    const caller = request.get('x-api-key') ?? request.ip
    const [decision, headers] = await limiter.acquireWithHeaders(`api:${caller}`, LIMITS)
    if (decision.granted) delete headers['Retry-After']
    response.set(headers)
    if (decision.granted) return next()
    response.status(429).json({ error: 'too many requests' })
  })
  app.get('/hello', (_, response) => response.json({ hello: 'world' }))
  return app
}
