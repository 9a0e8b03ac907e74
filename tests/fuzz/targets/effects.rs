//! Effects, forged or honest, on a key: refused and nothing changed, or the
//! master and a replica that restarts from its bytes at every step agree.

#![no_main]

use floodgate::core::time::Micros;
use floodgate::core::limits::{Limits, MAX_COUNT, Taken};
use floodgate::core::usage::{Decided, WorkOutcome, Spend};
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::effect::ratelimit::{AppliedRateLimit, ChargeUnits, GiveBack, LimitBlocks, RateLimitChange, RateLimitEffect, Renew, Reserve, SetBlock, SetPin, Settle, TakeUnits, put_block};
use floodgate::types::ratelimit::reservations::Settlement;
use floodgate::types::ratelimit::{Lifetime, RateLimit, encoding};
use floodgate::types::until::Until;
use floodgate_fuzz::{draw::{Draw, START}, values};
use libfuzzer_sys::fuzz_target;

const LIMITS: &[&str] = &[
    "10/s",
    "1000000000000/366d",
    "1/ms,100/h:name=a",
    "bucket:10/s:burst=50",
    "bucket:1000000000000/ms:burst=1",
    "fixed:1000/day:tz=Europe/Paris",
    "fixed:5/month,3/s:per=call",
    "fixed:5/2w:start=first:name=a",
    "fixed:9/ever:name=a,3/s",
    "concurrent:3,7/m:shadow",
    "concurrent:9:per=cost,concurrent:9:per=cost:shadow:name=a",
    "100/m:keep=33.33%,unlimited",
    "3/m:block=15m:grow=2:maxblock=1d,bucket:9/s:name=a:block=1h",
    "1/s,2/m,3/h,4/d,5/w,bucket:6/s,bucket:7/m,fixed:8/h",
];

/// A key, and the end that was last told of it.
#[derive(Default)]
struct Key {
    value: Option<RateLimit>,
    end: Option<Until>,
}

impl Key {
    fn apply(&mut self, main: MainThread, effect: &RateLimitEffect<'_>) -> bool {
        let lifetime = match effect.apply(main, self.value.as_mut()) {
            Ok(AppliedRateLimit::Nothing) => return true,
            Ok(AppliedRateLimit::InPlace(lifetime)) => lifetime,
            Ok(AppliedRateLimit::Created(created, lifetime)) => {
                (self.value, self.end) = (Some(created), None);
                lifetime
            }
            Err(_) => return false,
        };
        match lifetime {
            Lifetime::Over => *self = Self::default(),
            Lifetime::Until(until) | Lifetime::StillUntil(until) => self.end = Some(until),
            Lifetime::AsBefore(until) => assert_eq!(self.end, Some(until), "the end is as before"),
        }
        true
    }
}

/// Few, so that they meet again.
const IDS: &[&[u8]] = &[b"a", b"b", b"another"];

fn taken(draw: &mut Draw<'_>) -> Taken {
    let units: [u64; 8] = std::array::from_fn(|_| draw.number() % (1 << 48));
    Taken::new(units)
}

fn end(draw: &mut Draw<'_>, now: Micros) -> Micros {
    now.plus(draw.number() % (1 << 45)).min(Micros::MAX)
}

fn honest<'a>(draw: &mut Draw<'a>, blocks: &'a [Vec<u8>], now: Micros) -> RateLimitEffect<'a> {
    let limits = (draw.byte() % 2 == 0).then(|| draw.one_of(LIMITS));
    let until = if draw.byte() % 4 == 0 { Until::Forever } else { Until::At(end(draw, now)) };
    let change = match draw.byte() % 24 {
        0..=5 => RateLimitChange::Take(TakeUnits { limits, taken: taken(draw) }),
        6 => {
            let used = (draw.byte() % 2 == 0).then(|| draw.number() % MAX_COUNT);
            RateLimitChange::Charge(ChargeUnits { limits, taken: taken(draw), used })
        }
        7 => RateLimitChange::Touch(limits),
        8 | 9 => RateLimitChange::GiveBack(GiveBack {
            limits,
            units: draw.number(),
            calls: draw.number(),
        }),
        10 => RateLimitChange::Reset,
        11 => RateLimitChange::Pin(SetPin { text: draw.one_of(LIMITS), until }),
        12 => RateLimitChange::Unpin,
        13 => RateLimitChange::Block(SetBlock { until, reason: draw.bytes() }),
        14 => RateLimitChange::Unblock,
        16 | 17 => {
            let (taken, cost) = (taken(draw), draw.number() % MAX_COUNT);
            RateLimitChange::Reserve(Reserve { limits, taken, id: draw.one_of(IDS), cost, end: end(draw, now) })
        }
        18 => RateLimitChange::Settle(Settle { id: draw.one_of(IDS), how: Settlement::At(draw.number() % MAX_COUNT) }),
        19 => RateLimitChange::Settle(Settle { id: draw.one_of(IDS), how: Settlement::Release }),
        20 => RateLimitChange::Renew(Renew { id: draw.one_of(IDS), end: end(draw, now) }),
        21 => RateLimitChange::Count(Decided { granted: draw.number(), denied: draw.number() }),
        22 => RateLimitChange::Record(WorkOutcome {
            ok: draw.byte() % 2 == 0,
            cached: draw.byte() % 2 == 0,
            count: draw.number(),
            spend: Spend(draw.number().into()),
            duration_ms: (draw.byte() % 2 == 0).then(|| draw.number()),
        }),
        15 => RateLimitChange::Close(LimitBlocks(&blocks[draw.below(blocks.len())])),
        _ => RateLimitChange::Become(draw.bytes()),
    };
    RateLimitEffect { now, expires: draw.byte() % 2 == 0, change }
}

/// A block of each limit, shorter and longer ones.
fn blocks() -> Vec<Vec<u8>> {
    let closing = Limits::parse(b"1/s:block=90s:grow=2").expect("a limit");
    let closing = closing.as_slice()[0].closing().expect("it closes");
    let mut all = Vec::new();
    for (at, text) in LIMITS.iter().enumerate() {
        let limits = Limits::parse(text.as_bytes()).expect("limits");
        let block = closing.block(None, START.plus(at as u64 * 1_000_000), 1 + at as u64, at as u64 * 40_000_000);
        let mut encoded = Vec::new();
        limits.as_slice().iter().for_each(|limit| put_block(&mut encoded, limit, &block));
        all.push(encoded);
    }
    all
}

fuzz_target!(|input: &[u8]| {
    let mut draw = Draw(input);
    let stand_in = StandIn::enter();
    let main = stand_in.main();
    let mut now = START;
    let (mut master, mut replica) = (Key::default(), Key::default());
    let blocks = blocks();
    let mut steps = 0;
    while !draw.is_done() && steps < 100 {
        steps += 1;
        draw.step(&mut now);
        let mut payload = Vec::new();
        if draw.byte() % 4 == 0 {
            payload.extend_from_slice(draw.bytes());
        } else {
            honest(&mut draw, &blocks, now).encode(&mut payload);
        }
        let Ok(effect) = RateLimitEffect::decode(&payload) else { continue };
        let before = master.value.as_ref().map(|value| values::bytes_of(main, value));
        let done = master.apply(main, &effect);
        assert_eq!(replica.apply(main, &effect), done);
        let after = master.value.as_ref().map(|value| values::bytes_of(main, value));
        assert_eq!(replica.value.as_ref().map(|value| values::bytes_of(main, value)), after);
        if !done {
            assert_eq!(before, after, "a refused effect changes nothing");
        }
        if let Some(value) = &master.value {
            values::check(main, value, now, draw.number());
        }
        if let Some(bytes) = after.filter(|bytes| !bytes.is_empty()) {
            replica.value = Some(encoding::load(main, encoding::VERSION, &bytes).expect("what was saved loads"));
        }
    }
});
