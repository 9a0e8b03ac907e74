// The same package from CommonJS.

import ioredis = require('ioredis')
import floodgate = require('floodgate-redis')
import express = require('floodgate-redis/express')
import fastify = require('floodgate-redis/fastify')
import hono = require('floodgate-redis/hono')
import nestjs = require('floodgate-redis/nestjs')

const client = new ioredis.Redis()
export const limiter: floodgate.Limiter = new floodgate.Limiter(client)
export const stores = [
  new express.FloodgateStore({ client }),
  fastify.floodgateStore({ client }),
  new hono.FloodgateStore({ client }),
  new nestjs.FloodgateThrottlerStorage({ client }),
]
