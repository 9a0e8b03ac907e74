//! Effects and values as they come about, and as they never should.

use floodgate::core::limits::{Limits, MAX_COUNT, MAX_UNITS, Taken};
use floodgate::core::time::Micros;
use floodgate::core::usage::{Decided, Spend, WorkOutcome};
use floodgate::server::keys::data_type::NativeType as _;
use floodgate::server::main_thread::MainThread;
use floodgate::types::effect::ratelimit::{
    AppliedRateLimit, ChargeUnits, GiveBack, LimitBlocks, RateLimitChange, RateLimitEffect, Renew, Reserve,
    SetBlock, SetPin, Settle, TakeUnits, put_block,
};
use floodgate::types::ratelimit::reservations::Settlement;
use floodgate::types::ratelimit::{Lifetime, RateLimit, encoding};
use floodgate::types::until::Until;
use proptest::prelude::*;

/// Limits of every algorithm and option.
pub const LIMITS: &[&str] = &[
    "1/1ms",
    "5/s",
    "64/m",
    "65/m",
    "1000000000000/366d",
    "bucket:5/s",
    "bucket:1000000000000/1ms:burst=1000000000000",
    "bucket:1/366d:burst=1000000000000",
    "fixed:7/m",
    "fixed:7/w",
    "fixed:7/month",
    "fixed:7/d:tz=America/New_York",
    "fixed:7/h:start=first",
    "fixed:7/ever",
    "fixed:9/ever:name=a,5/m",
    "concurrent:3",
    "concurrent:30:per=cost,concurrent:4,9/m:shadow",
    "throttle:4/1/60",
    "throttle:9223372036854775807/1/9223372036854775807",
    "unlimited",
    "5/s,1000/h,bucket:10/s:burst=50",
    "1000/h,20/s",
    "9/m:name=a,bucket:4/h:name=b:shadow,fixed:3/h:per=call:keep=10%",
    "bucket:9/m:name=a,70/h:name=b",
    "90/5m:name=a",
    "3/m:block=15m:grow=2:maxblock=1d,bucket:9/s:name=b:block=1h",
    "1/s,2/m,3/h,4/d,bucket:1/s,bucket:2/m,fixed:3/h,fixed:4/d",
];

/// An effect that owns its texts.
#[derive(Clone, Debug)]
pub enum Made {
    Take(Option<&'static str>, Vec<u64>),
    Charge(Option<&'static str>, Vec<u64>, Option<u64>),
    Touch(Option<&'static str>),
    GiveBack(Option<&'static str>, u64, u64),
    Reset,
    Pin(&'static str, Until),
    Unpin,
    Block(Until, Vec<u8>),
    Unblock,
    Close(Vec<u8>),
    Reserve { limits: Option<&'static str>, units: Vec<u64>, id: Vec<u8>, cost: u64, end: Micros },
    Settle(Vec<u8>, Settlement),
    Renew(Vec<u8>, Micros),
    Count(Decided),
    Record(WorkOutcome),
}

impl Made {
    /// The effect at a time.
    pub fn at(&self, now: Micros) -> RateLimitEffect<'_> {
        let change = match self {
            Self::Take(limits, units) => {
                RateLimitChange::Take(TakeUnits { limits: *limits, taken: Taken::new(units.iter().copied()) })
            }
            Self::Charge(limits, units, used) => {
                let taken = Taken::new(units.iter().copied());
                RateLimitChange::Charge(ChargeUnits { limits: *limits, taken, used: *used })
            }
            Self::Touch(limits) => RateLimitChange::Touch(*limits),
            Self::GiveBack(limits, units, calls) => {
                RateLimitChange::GiveBack(GiveBack { limits: *limits, units: *units, calls: *calls })
            }
            Self::Reset => RateLimitChange::Reset,
            Self::Pin(text, until) => RateLimitChange::Pin(SetPin { text, until: *until }),
            Self::Unpin => RateLimitChange::Unpin,
            Self::Block(until, reason) => RateLimitChange::Block(SetBlock { until: *until, reason }),
            Self::Unblock => RateLimitChange::Unblock,
            Self::Close(blocks) => RateLimitChange::Close(LimitBlocks(blocks)),
            Self::Reserve { limits, units, id, cost, end } => RateLimitChange::Reserve(Reserve {
                limits: *limits,
                taken: Taken::new(units.iter().copied()),
                id,
                cost: *cost,
                end: *end,
            }),
            Self::Settle(id, how) => RateLimitChange::Settle(Settle { id, how: *how }),
            Self::Renew(id, end) => RateLimitChange::Renew(Renew { id, end: *end }),
            Self::Count(decided) => RateLimitChange::Count(*decided),
            Self::Record(outcome) => RateLimitChange::Record(*outcome),
        };
        RateLimitEffect { now, expires: now.0.is_multiple_of(2), change }
    }
}

fn limits() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![1 => Just(None), 3 => prop::sample::select(LIMITS).prop_map(Some)]
}

fn until() -> impl Strategy<Value = Until> {
    prop_oneof![Just(Until::Forever), time().prop_map(|at| Until::At(Micros(at.0.max(1))))]
}

/// Any time at all, mostly of this century.
pub fn time() -> impl Strategy<Value = Micros> {
    const NOW: u64 = 1_772_366_400_000_000;
    prop_oneof![
        6 => NOW..NOW + 200_000_000,
        3 => NOW..NOW + 40_000_000_000_000,
        1 => 0..=Micros::MAX.0,
        1 => Just(0),
        1 => Just(Micros::MAX.0),
    ]
    .prop_map(Micros)
}

fn units() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..8u64, 2 => 0..2_000u64, 1 => 0..=MAX_UNITS]
}

/// One of few ids, so that they meet again.
fn id() -> impl Strategy<Value = Vec<u8>> {
    (1..=4usize).prop_map(|length| vec![b'r'; length])
}

/// As a caller may ask for.
fn cost() -> impl Strategy<Value = u64> {
    units().prop_map(|units| units.min(MAX_COUNT))
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![Just(Settlement::Release), cost().prop_map(Settlement::At)]
}

fn outcome() -> impl Strategy<Value = WorkOutcome> {
    let spend = any::<i128>().prop_map(Spend);
    let count = prop_oneof![Just(1), any::<u64>()];
    (any::<bool>(), any::<bool>(), count, spend, any::<Option<u64>>()).prop_map(
        |(ok, cached, count, spend, duration_ms)| WorkOutcome { ok, cached, count, spend, duration_ms },
    )
}

fn reservation() -> impl Strategy<Value = Made> {
    (limits(), prop::collection::vec(units(), 0..=8), id(), cost(), time())
        .prop_map(|(limits, units, id, cost, end)| Made::Reserve { limits, units, id, cost, end })
}

/// Blocks of any limits, those that never close among them.
fn closed(blocks: &[(&str, prop::sample::Index, Micros, u64)]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let closing = Limits::parse(b"1/s:block=90s:grow=2").unwrap();
    for (text, at, began, units_after) in blocks {
        let limits = Limits::parse_stored(text.as_bytes()).unwrap();
        let block =
            closing.as_slice()[0].closing().unwrap().block(None, *began, units_after % 99, *units_after);
        put_block(&mut encoded, &limits.as_slice()[at.index(limits.as_slice().len())], &block);
    }
    encoded
}

/// Any effect but a whole payload.
pub fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        8 => (limits(), prop::collection::vec(units(), 0..=8)).prop_map(|(l, u)| Made::Take(l, u)),
        2 => (limits(), prop::collection::vec(units(), 0..=8), prop::option::of(cost()))
            .prop_map(|(limits, units, used)| Made::Charge(limits, units, used)),
        2 => limits().prop_map(Made::Touch),
        2 => (limits(), prop_oneof![units(), any::<u64>()], prop_oneof![Just(1), units()])
            .prop_map(|(limits, units, calls)| Made::GiveBack(limits, units, calls)),
        1 => Just(Made::Reset),
        1 => (prop::sample::select(&["5/s", "10/m,7/h", "@gold", "@gold,5/s"][..]), until())
            .prop_map(|(text, until)| Made::Pin(text, until)),
        1 => Just(Made::Unpin),
        1 => (until(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(u, r)| Made::Block(u, r)),
        1 => Just(Made::Unblock),
        2 => prop::collection::vec((prop::sample::select(LIMITS), any::<prop::sample::Index>(), time(), units()), 1..=8)
            .prop_map(|blocks| Made::Close(closed(&blocks))),
        4 => reservation(),
        2 => (id(), settlement()).prop_map(|(id, how)| Made::Settle(id, how)),
        1 => (id(), time()).prop_map(|(id, end)| Made::Renew(id, end)),
        1 => (units(), units()).prop_map(|(granted, denied)| Made::Count(Decided { granted, denied })),
        1 => outcome().prop_map(Made::Record),
    ]
}

/// A history of effects.
pub fn history() -> impl Strategy<Value = Vec<(Made, Micros)>> {
    prop::collection::vec((made(), time()), 1..20)
}

/// Applies an effect to what a key holds; false when it was refused.
pub fn apply(main: MainThread, value: &mut Option<RateLimit>, effect: &RateLimitEffect<'_>) -> bool {
    match effect.apply(main, value.as_mut()) {
        // As the commands do: what equals a fresh key is no key.
        Ok(AppliedRateLimit::InPlace(Lifetime::Over)) => *value = None,
        Ok(
            AppliedRateLimit::Created(_, Lifetime::Over)
            | AppliedRateLimit::InPlace(_)
            | AppliedRateLimit::Nothing,
        ) => {}
        Ok(AppliedRateLimit::Created(created, _)) => *value = Some(created),
        Err(_) => return false,
    }
    true
}

/// The bytes of a value.
pub fn saved(main: MainThread, value: &RateLimit) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoding::save(value, main, &mut bytes);
    bytes
}

/// Whatever can be asked of a value, to see that nothing breaks.
pub fn exercise(main: MainThread, value: &mut Option<RateLimit>, now: Micros) {
    let Some(held) = value else { return };
    let bytes = saved(main, held);
    if !bytes.is_empty() {
        encoding::load(main, encoding::VERSION, &bytes).expect("what was saved loads");
    }
    let copy = held.duplicate(main);
    assert_eq!(saved(main, &copy), saved(main, held), "a copy is equal");
    held.lifetime(main, now);
    held.pin(now);
    held.block(now);
    assert!(held.memory() >= 16 && held.free_effort() >= 1);
    if let Some(limits) = held.limits() {
        let set = limits.get(main);
        held.with_states(|states| {
            assert_eq!(states.len(), set.limits().len());
            for cost in [1, 1000, 1_000_000_000_000] {
                for (limit, state) in set.limits().iter().zip(states) {
                    floodgate::core::limits::limit_quota(limit, state, now, cost);
                }
                let request = floodgate::core::limits::Request::of(cost);
                floodgate::core::limits::decide(set.limits(), states, now, &request);
            }
        });
    }
    for text in LIMITS {
        let taken = Taken::new([1, 2, 3]);
        let effect = RateLimitEffect {
            now,
            expires: true,
            change: RateLimitChange::Take(TakeUnits { limits: Some(text), taken }),
        };
        assert!(apply(main, value, &effect), "{text}");
        assert!(apply(main, value, &Made::GiveBack(None, 2, 1).at(now)));
    }
}
