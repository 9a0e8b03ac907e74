// The table "From rate-limiter-flexible": the library and Floodgate side by
// side on one server, the same requests at the same times: from_flexible.mjs PORT
//
// Prints each row that it has compared: its first cell and its token.

import assert from "node:assert/strict";
import Redis from "ioredis";
import { BurstyRateLimiter, RateLimiterRedis, RateLimiterRes, RateLimiterUnion } from "rate-limiter-flexible";

const redis = new Redis({ port: Number(process.argv[2]) });
const tried = (there, token = "") => console.log(`${there}\t${token}`);

let serial = 0;
const limiter = (options) =>
  new RateLimiterRedis({ storeClient: redis, keyPrefix: `there:${(serial += 1)}`, ...options });

/** Time goes on for the module and for what Redis is to expire; nobody waits. */
async function advance(seconds) {
  const passed = seconds * 1000;
  for (const key of await redis.keys("*")) {
    const left = await redis.pttl(key);
    if (left > passed) await redis.pexpire(key, left - passed);
    else if (left >= 0) await redis.del(key);
  }
  await redis.call("RL.DEBUG", "CLOCK", "ADVANCE", passed * 1000);
}

/** Whether the library grants. */
const there = (of, key, points = 1) =>
  of.consume(key, points).then(
    () => true,
    (refused) => {
      // A union refuses with an object of refusals.
      if (refused instanceof Error) throw refused;
      return false;
    },
  );

const acquire = (key, limits, cost = 1) => redis.call("RL.ACQUIRE", key, limits, "COST", cost);
const here = async (key, limits, cost = 1) => (await acquire(key, limits, cost))[0] > 0;

/** How many of so many requests each of them grants. */
async function both(times, of, key, limits, cost = 1) {
  const granted = { there: 0, here: 0 };
  for (let n = 0; n < times; n += 1) {
    granted.there += await there(of, key, cost);
    granted.here += await here(key, limits, cost);
  }
  return granted;
}
const equal = (n) => ({ there: n, here: n });

await redis.flushall();
await redis.call("RL.DEBUG", "CLOCK", "SET", Date.now() * 1000);

{
  const six = limiter({ points: 6, duration: 60 });
  const limits = "fixed:6/m:start=first";
  let granted = 0;
  // Multiples of 7 s, which 60 is none of: no request meets an edge.
  for (let n = 0; n < 300; n += 1) {
    const [one, other] = [await there(six, "a"), await here("a", limits)];
    assert.equal(other, one, `request ${n}`);
    granted += other;
    if (n % 3 !== 0) await advance(7);
  }
  assert.ok(granted > 60 && granted < 240, `${granted} of 300 show nothing`);
  // What is denied counts there, and not here.
  assert.deepEqual(await both(2, six, "b", limits, 4), equal(1));
  assert.deepEqual(await both(2, six, "b", limits), { there: 0, here: 2 });
  tried("`{points: 6, duration: 60}`", limits);
}

{
  // Five late in a window and five early in the next.
  const five = limiter({ points: 5, duration: 3600 });
  const limits = "5/h";
  assert.deepEqual(await both(1, five, "c", limits), equal(1));
  await advance(3500);
  assert.deepEqual(await both(5, five, "c", limits), equal(4));
  await advance(200);
  assert.deepEqual(await both(5, five, "c", limits), { there: 5, here: 1 });
  tried("`{points: 5, duration: 3600}`, but never more than 5 within an hour", limits);
}

{
  const bursty = new BurstyRateLimiter(
    limiter({ points: 2, duration: 60 }),
    limiter({ points: 5, duration: 600 }),
  );
  const limits = "bucket:2/m:burst=7";
  assert.deepEqual(await both(10, bursty, "d", limits), equal(7));
  // The rate is the same; only here is it not given in twos, at the start of windows.
  for (let minute = 0; minute < 9; minute += 1) {
    await advance(61);
    assert.deepEqual(await both(4, bursty, "d", limits), equal(2));
  }
  // The burst is back there ten minutes after it began, here when so much was left unused.
  await advance(120);
  assert.deepEqual(await both(10, bursty, "d", limits), { there: 7, here: 4 });
  tried("`BurstyRateLimiter` of 2 a minute with 5 more in 10 minutes", limits);
}

{
  const union = new RateLimiterUnion(limiter({ points: 1, duration: 10 }), limiter({ points: 5, duration: 60 }));
  const limits = "fixed:1/10s:start=first,fixed:5/m:start=first";
  for (let n = 0; n < 30; n += 1) {
    assert.deepEqual(await both(1, union, "e", limits), equal(n % 6 === 5 ? 0 : 1), `request ${n}`);
    await advance(11);
  }
  // What one limit denies, the other has counted there; here it has not.
  await advance(120);
  assert.deepEqual(await both(5, union, "e", limits), equal(1));
  await advance(11);
  assert.deepEqual(await both(1, union, "e", limits), { there: 0, here: 1 });
  tried("`RateLimiterUnion` of 1 in 10 s and 5 a minute", limits);
}

{
  const blocking = limiter({ points: 6, duration: 60, blockDuration: 600 });
  const limits = "fixed:6/m:start=first:block=10m";
  assert.deepEqual(await both(7, blocking, "f", limits), equal(6));
  for (const seconds of [61, 300, 230]) {
    await advance(seconds);
    assert.deepEqual(await both(1, blocking, "f", limits), equal(0));
  }
  await advance(15);
  assert.deepEqual(await both(7, blocking, "f", limits), equal(6));
  tried("`{points: 6, duration: 60, blockDuration: 600}`", limits);
}

{
  const six = limiter({ points: 6, duration: 60 });
  const limits = "fixed:6/m:start=first";
  const left = async () => [
    (await six.get("g")).remainingPoints,
    new Map(pairs((await redis.call("RL.QUOTA", "g", limits))[0])).get("remaining"),
  ];
  assert.deepEqual(await both(1, six, "g", limits, 2), equal(1));
  assert.deepEqual(await left(), [4, 4]);
  tried("`consume(key, 2)`");
  tried("`get(key)`");
  assert.deepEqual(await both(1, six, "g", limits, 4), equal(1));
  await six.reward("g", 2);
  await redis.call("RL.REFUND", "g", 2);
  assert.deepEqual(await left(), [2, 2]);
  assert.deepEqual(await both(3, six, "g", limits), equal(2));
  // Never beyond full here; there a reward makes room that no limit has.
  await six.delete("g");
  await redis.call("RL.RESET", "g");
  assert.deepEqual(await both(1, six, "g", limits), equal(1));
  await six.reward("g", 5);
  await redis.call("RL.REFUND", "g", 5);
  assert.deepEqual(await both(12, six, "g", limits), { there: 10, here: 6 });
  tried("`reward(key, 2)`");
  await six.delete("g");
  await redis.call("RL.RESET", "g");
  assert.deepEqual(await both(7, six, "g", limits), equal(6));
  tried("`delete(key)`");
}

/** A map of RESP2, which is a flat list, as pairs. */
function pairs(flat) {
  return flat.flatMap((name, at) => (at % 2 === 0 ? [[name, flat[at + 1]]] : []));
}

await redis.quit();
