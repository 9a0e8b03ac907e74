// Stands for the plug-in in the tests that it brings along: its Redis is our store.

const rateLimit = require('@fastify/rate-limit')
const fp = require('fastify-plugin')
const { floodgateStore } = require('floodgate-redis/fastify')

module.exports = fp(async (app, { redis, nameSpace, ...options }) => {
  if (redis) options.store = floodgateStore({ client: redis, prefix: nameSpace })
  await app.register(rateLimit, options)
})
