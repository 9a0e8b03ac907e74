// Waiting lines and reservations through ioredis' ordinary commands.
//
//   node waiting.mjs PORT
//
// Ends with "done"; anything unexpected is an AssertionError.

import assert from "node:assert/strict";
import Redis from "ioredis";

const port = Number(process.argv[2]);
const redis = new Redis(port);
const own = [];

/** A connection of its own: whoever waits keeps it. */
function connection() {
  const made = new Redis(port);
  own.push(made);
  return made;
}

async function until(holds, what) {
  const end = Date.now() + 20_000;
  while (!(await holds())) {
    assert(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const inLine = async (key) => (await redis.call("RL.QUEUE", key))[0];

async function waits() {
  assert.equal((await redis.call("RL.ACQUIRE", "w:1", "10/h", "COST", 10))[0], 10);
  const served = [];
  const waiting = [];
  for (const cost of [3, 1, 2]) {
    const wait = connection().call("RL.ACQUIRE", "w:1", "10/h", "COST", cost, "WAIT", "20s");
    waiting.push(wait.then((six) => served.push(six[0])));
    await until(async () => (await inLine("w:1")) === waiting.length, "it stands in line");
  }
  const denied = await redis.call("RL.ACQUIRE", "w:1", "10/h");
  assert.deepEqual([denied[0], denied[5]], [0, -2]);
  for (const [back, expected] of [[2, []], [1, [3]], [1, [3, 1]], [2, [3, 1, 2]]]) {
    await redis.call("RL.REFUND", "w:1", back);
    await until(() => served.length === expected.length, `${served} are served, not ${expected}`);
    assert.deepEqual(served, expected);
  }
  await Promise.all(waiting);
}

async function timeIsUp() {
  await redis.call("RL.ACQUIRE", "w:2", "1/h");
  const start = Date.now();
  // What is sent on the same connection is answered after the wait.
  const client = connection();
  const [six, pong] = await Promise.all([client.call("RL.ACQUIRE", "w:2", "1/h", "WAIT", "150ms"), client.ping()]);
  assert.deepEqual([six[0], six[5], pong], [0, 0, "PONG"]);
  assert(Date.now() - start >= 149);
}

async function noWaitInATransaction() {
  const replies = await redis
    .multi()
    .call("RL.ACQUIRE", "w:3", "1/h", "WAIT", "20s")
    .call("RL.ACQUIRE", "w:3", "1/h", "WAIT", "20s")
    .exec();
  assert.deepEqual(replies.map(([error, six]) => [error, six[0]]), [[null, 1], [null, 0]]);
}

async function unblocked() {
  await redis.call("RL.ACQUIRE", "w:4", "1/h");
  const client = connection();
  const id = await client.client("ID");
  const wait = client.call("RL.ACQUIRE", "w:4", "1/h", "WAIT", "20s");
  const refused = assert.rejects(wait, /^ReplyError: UNBLOCKED/);
  await until(async () => (await inLine("w:4")) === 1, "it stands in line");
  assert.equal(await redis.client("UNBLOCK", id, "ERROR"), 1);
  await refused;
  // One that hangs up leaves the line.
  const gone = connection();
  gone.call("RL.ACQUIRE", "w:4", "1/h", "WAIT", "20s").catch(() => {});
  await until(async () => (await inLine("w:4")) === 1, "it stands in line");
  gone.disconnect();
  await until(async () => (await inLine("w:4")) === 0, "it is gone");
}

async function reserves() {
  const limits = "100000/h,concurrent:1";
  const used = async () =>
    (await redis.call("RL.QUOTA", "llm", limits)).map((row) => row[row.indexOf("used") + 1]);
  const [id, [six]] = await redis.call("RL.RESERVE", 1, "llm", limits, "COST", 1500, "TTL", "1m");
  assert.equal(id.length, 32);
  assert.equal(six[0], 1500);
  const [none] = await redis.call("RL.RESERVE", 1, "llm", limits, "TTL", "1m");
  assert.equal(none, null);
  const wait = connection().call("RL.RESERVE", 1, "llm", limits, "TTL", "1m", "ID", "late", "WAIT", "20s");
  await until(async () => (await inLine("llm")) === 1, "it stands in line");
  assert.equal(await redis.call("RL.COMMIT", id, 1, "llm", "COST", 900), 1);
  assert.equal((await wait)[0], "late");
  assert.deepEqual(await used(), [901, 1]);
  assert.equal(await redis.call("RL.RENEW", "late", "TTL", "2m", 1, "llm"), 1);
  const [[listed, cost]] = await redis.call("RL.RESERVATIONS", "llm");
  assert.deepEqual([listed, cost], ["late", 1]);
  assert.equal(await redis.call("RL.RELEASE", "late", 1, "llm"), 1);
  assert.deepEqual(await used(), [900, 0]);
}

await waits();
await timeIsUp();
await noWaitInATransaction();
await unblocked();
await reserves();
[redis, ...own].forEach((client) => client.disconnect());
console.log("done");
