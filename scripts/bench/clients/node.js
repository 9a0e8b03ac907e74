// Run by peers.py: decides on the keys that it reads, as a program that uses
// the library would, and says `granted` or `denied` for each.
const readline = require("readline");
const { createRequire } = require("module");

const [port, , folder] = process.argv.slice(2);
const installed = createRequire(folder + "/package.json");
const Redis = installed("ioredis");
const { RateLimiterRedis } = installed("rate-limiter-flexible");

const limiter = new RateLimiterRedis({ storeClient: new Redis(Number(port)), points: 100, duration: 60 });

async function decide(key) {
    try {
        await limiter.consume(key);
        return "granted";
    } catch (denied) {
        if (denied instanceof Error) throw denied;
        return "denied";
    }
}

(async () => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        console.log(await decide(line.trim()));
    }
    process.exit(0);
})();
