//! Whose units are whose, against rows of units that each know their owner.

use floodgate::core::limits::{Limits, Request, State, Taken, decide};
use floodgate::core::reservations::Stage;
use floodgate::core::time::Micros;
use floodgate::server::keys::data_type::NativeType as _;
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::effect::ratelimit::{AppliedRateLimit, RateLimitChange, RateLimitEffect};
use floodgate::types::ratelimit::reservations::Settlement;
use floodgate::types::ratelimit::{Lifetime, RateLimit};
use proptest::prelude::*;
use proptest::sample::Index;

const START: u64 = 1_800_000_000_000_000;
const PERIOD: u64 = 1_000_000;
/// Longer than anything is remembered, so that nothing ends by itself here.
const TTL: u64 = 3_600_000_000;

/// A key that only effects change.
struct Key {
    main: MainThread,
    value: Option<RateLimit>,
}

impl Key {
    const fn new(main: MainThread) -> Self {
        Self { main, value: None }
    }

    fn apply(&mut self, now: u64, change: RateLimitChange<'_>) {
        let effect = RateLimitEffect { now: Micros(now), expires: true, change };
        match effect.apply(self.main, self.value.as_mut()).expect("it fits") {
            AppliedRateLimit::InPlace(Lifetime::Over) | AppliedRateLimit::Created(_, Lifetime::Over) => {
                self.value = None;
            }
            AppliedRateLimit::Created(value, _) => self.value = Some(value),
            AppliedRateLimit::InPlace(_) | AppliedRateLimit::Nothing => {}
        }
    }

    fn state(&self, limits: &Limits, now: u64) -> State {
        match &self.value {
            Some(value) => value.realigned(self.main, limits.as_slice(), Micros(now)).0.remove(0),
            None => State::default(),
        }
    }

    fn used(&self, limits: &Limits, now: u64) -> u64 {
        limits.as_slice()[0].rule().used(&self.state(limits, now), Micros(now))
    }

    fn take(&mut self, now: u64, text: &str, units: u64) {
        self.apply(now, RateLimitChange::Take { limits: Some(text), taken: Taken::new([units]) });
    }

    fn reserve(&mut self, now: u64, text: &str, id: u8, cost: u64) {
        let (taken, end) = (Taken::new([cost]), Micros(now + TTL));
        self.apply(now, RateLimitChange::Reserve { limits: Some(text), taken, id: &[id], cost, end });
    }

    fn settle(&mut self, now: u64, id: u8, actual: u64) {
        let how = if actual == 0 { Settlement::Release } else { Settlement::At(actual) };
        self.apply(now, RateLimitChange::Settle { id: &[id], how });
    }

    fn refund(&mut self, now: u64, units: u64) {
        self.apply(now, RateLimitChange::GiveBack { limits: None, units, calls: 1 });
    }

    fn is_open(&self, id: u8, now: u64) -> bool {
        let stage = || self.value.as_ref()?.book()?.get(&[id])?.stage_at(Micros(now));
        stage() == Some(Stage::Open)
    }

    /// As after a restart.
    fn reload(&mut self) {
        if let Some(value) = &self.value {
            let mut saved = Vec::new();
            value.save(self.main, &mut saved);
            let loaded = RateLimit::load(self.main, RateLimit::ENCODING, &saved).expect("what was saved");
            let mut again = Vec::new();
            loaded.save(self.main, &mut again);
            assert_eq!(again, saved);
            self.value = Some(loaded);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Acquire { cost: u64, count: u64 },
    Reserve { id: u8, cost: u64, count: u64 },
    Settle { id: u8, actual: u64 },
    Refund(u64),
    Advance(u64),
    Reload,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let count = || prop::sample::select(vec![20u64, 30, 30, 30, 10]);
    let time = prop_oneof![
        3 => (1..6u64).prop_map(|n| n * 250_000),
        3 => 1..600_000u64,
        1 => Just(PERIOD - 1),
        1 => Just(2 * PERIOD),
    ];
    let op = prop_oneof![
        4 => (1..12u64, count()).prop_map(|(cost, count)| Op::Acquire { cost, count }),
        4 => (0..6u8, 1..12u64, count()).prop_map(|(id, cost, count)| Op::Reserve { id, cost, count }),
        4 => (0..6u8, prop_oneof![2 => Just(0), 2 => 1..12u64, 1 => 12..50u64])
            .prop_map(|(id, actual)| Op::Settle { id, actual }),
        1 => (1..14u64).prop_map(Op::Refund),
        4 => time.prop_map(Op::Advance),
        1 => Just(Op::Reload),
    ];
    prop::collection::vec(op, 1..60)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Algorithm {
    Sliding,
    Bucket,
    Fixed,
    Credit,
}

impl Algorithm {
    fn text(self, count: u64) -> String {
        match self {
            Self::Sliding => format!("{count}/s"),
            Self::Bucket => format!("bucket:{count}/s"),
            Self::Fixed => format!("fixed:{count}/s"),
            Self::Credit => format!("fixed:{count}/ever"),
        }
    }
}

/// A unit that is in use.
#[derive(Clone, Debug)]
struct Token {
    owner: Option<u8>,
    at: u64,
    /// What of it has not come back to its bucket: `PERIOD` and less.
    left: u64,
}

#[derive(Clone)]
struct Row {
    algorithm: Algorithm,
    count: u64,
    now: u64,
    tokens: Vec<Token>,
}

impl Row {
    fn advance(&mut self, us: u64) {
        self.now += us;
        match self.algorithm {
            Algorithm::Sliding => {
                let now = self.now;
                self.tokens.retain(|token| token.at + PERIOD > now);
            }
            Algorithm::Fixed => {
                let window = self.now / PERIOD;
                self.tokens.retain(|token| token.at / PERIOD == window);
            }
            Algorithm::Credit => {}
            Algorithm::Bucket => {
                let mut back = us * self.count;
                for token in &mut self.tokens {
                    let gone = back.min(token.left);
                    token.left -= gone;
                    back -= gone;
                }
                self.tokens.retain(|token| token.left > 0);
            }
        }
    }

    fn used(&self) -> u64 {
        self.tokens.iter().map(|token| token.left).sum::<u64>().div_ceil(PERIOD)
    }

    fn grant(&mut self, owner: Option<u8>, units: u64) {
        let token = Token { owner, at: self.now, left: PERIOD };
        self.tokens.extend(std::iter::repeat_n(token, units as usize));
    }

    /// Takes so many units back of those that `of` says, newest first.
    fn take_back(&mut self, units: u64, of: impl Fn(&Token) -> bool) {
        let mut left = units * PERIOD;
        for token in self.tokens.iter_mut().rev().filter(|token| of(token)) {
            let gone = left.min(token.left);
            token.left -= gone;
            left -= gone;
        }
        self.tokens.retain(|token| token.left > 0);
    }

    fn settle(&mut self, id: u8, cost: u64, actual: u64) {
        if actual > cost {
            let most = (2 * self.count).saturating_sub(self.used());
            self.grant(None, (actual - cost).min(most));
        } else {
            // In a bucket the oldest of its own have come back first: what is given
            // back is the rest of them.
            self.take_back(cost - actual, |token| token.owner == Some(id));
        }
        for token in self.tokens.iter_mut().filter(|token| token.owner == Some(id)) {
            token.owner = None;
        }
    }
}

/// A token that is partly back lies in the middle only where its owner settled: then
/// a row of units cannot be told from what a bucket keeps, so the row is made even.
fn even(row: &mut Row) {
    let mut missing: u64 = row.tokens.iter().map(|token| token.left).sum();
    for token in row.tokens.iter_mut().rev() {
        token.left = missing.min(PERIOD);
        missing -= token.left;
    }
    assert_eq!(missing, 0);
    row.tokens.retain(|token| token.left > 0);
}

fn history(algorithm: Algorithm, ops: &[Op]) {
    let stand_in = StandIn::enter();
    let mut key = Key::new(stand_in.main());
    let mut row = Row { algorithm, count: 30, now: START, tokens: Vec::new() };
    let mut open: Vec<(u8, u64)> = Vec::new();
    for (step, op) in ops.iter().enumerate() {
        let now = row.now;
        let fits = |key: &Key, row: &Row, cost: u64, count: u64| {
            let limits = crate::world::parse(&algorithm.text(count));
            let state = key.state(&limits, now);
            let decision = decide(limits.as_slice(), &[state], Micros(now), &Request::of(cost));
            assert_eq!(decision.is_granted(), row.used() + cost <= count, "step {step}");
            decision.is_granted()
        };
        match *op {
            Op::Advance(us) => row.advance(us),
            Op::Reload => key.reload(),
            Op::Acquire { cost, count } => {
                if fits(&key, &row, cost, count) {
                    key.take(now, &algorithm.text(count), cost);
                    row.count = count;
                    row.grant(None, cost);
                }
            }
            Op::Reserve { id, cost, count } => {
                if !open.iter().any(|(other, _)| *other == id) && fits(&key, &row, cost, count) {
                    key.reserve(now, &algorithm.text(count), id, cost);
                    row.count = count;
                    row.grant(Some(id), cost);
                    open.push((id, cost));
                }
            }
            Op::Settle { id, actual } => {
                let known = open.iter().position(|(other, _)| *other == id);
                assert_eq!(key.is_open(id, now), known.is_some());
                if let Some(known) = known {
                    let (_, cost) = open.swap_remove(known);
                    key.settle(now, id, actual);
                    row.settle(id, cost, actual);
                    even(&mut row);
                }
            }
            Op::Refund(units) => {
                key.refund(now, units);
                row.take_back(units, |_| true);
            }
        }
        let limits = crate::world::parse(&algorithm.text(row.count));
        for later in [0, 1, PERIOD / 7, PERIOD / 2, PERIOD - 1] {
            let mut then = row.clone();
            then.advance(later);
            assert_eq!(key.used(&limits, then.now), then.used(), "step {step}, {later} later");
        }
    }
}

proptest! {
    #![proptest_config(crate::world::cases())]

    #[test]
    fn sliding_gives_back_what_the_row_gives_back(ops in ops()) {
        history(Algorithm::Sliding, &ops);
    }

    #[test]
    fn a_bucket_gives_back_what_the_row_gives_back(ops in ops()) {
        history(Algorithm::Bucket, &ops);
    }

    #[test]
    fn a_window_gives_back_what_the_row_gives_back(ops in ops()) {
        history(Algorithm::Fixed, &ops);
    }

    #[test]
    fn a_credit_gives_back_what_the_row_gives_back(ops in ops()) {
        history(Algorithm::Credit, &ops);
    }
}

/// One name under every algorithm, period and count.
const TEXTS: &[&str] = &[
    "30/s:name=x",
    "20/s:name=x",
    "30/2s:name=x",
    "60/5s:name=x",
    "bucket:30/s:name=x",
    "bucket:10/s:burst=30:name=x",
    "bucket:20/3s:name=x",
    "fixed:30/s:name=x",
    "fixed:50/2s:name=x",
    "fixed:40/ever:name=x",
    "fixed:30/s:start=first:name=x",
];

#[derive(Clone, Debug)]
enum Odd {
    Take { text: Index, units: u64 },
    Reserve { text: Index, id: u8, units: u64 },
    Release(u8),
    Refund(u64),
    Other,
    Reload,
}

fn odd() -> impl Strategy<Value = Vec<(Odd, u64)>> {
    let text = any::<Index>;
    let op = prop_oneof![
        4 => (text(), 0..12u64).prop_map(|(text, units)| Odd::Take { text, units }),
        4 => (text(), 0..6u8, 1..12u64).prop_map(|(text, id, units)| Odd::Reserve { text, id, units }),
        4 => (0..6u8).prop_map(Odd::Release),
        1 => (1..14u64).prop_map(Odd::Refund),
        1 => Just(Odd::Other),
        1 => Just(Odd::Reload),
    ];
    let gap = prop_oneof![3 => Just(0), 3 => 0..700_000u64, 1 => Just(PERIOD), 1 => 0..9 * PERIOD];
    prop::collection::vec((op, gap), 1..50)
}

proptest! {
    #![proptest_config(crate::world::cases())]

    /// Whatever limits come and go under a name: with reservations among them that
    /// give everything back, no more is possible for the others than without.
    #[test]
    fn the_others_get_no_more_than_alone(ops in odd(), sticky in any::<Option<Index>>()) {
        let stand_in = StandIn::enter();
        let (mut both, mut alone) = (Key::new(stand_in.main()), Key::new(stand_in.main()));
        let mut now = START;
        let mut last = TEXTS[0];
        // But for the last: the first grant opens its window, whoever it is for.
        let text = |at: &Index| TEXTS[sticky.as_ref().unwrap_or(at).index(TEXTS.len() - 1)];
        for (op, gap) in &ops {
            now += gap;
            match op {
                Odd::Take { text: at, units } => {
                    last = text(at);
                    both.take(now, last, *units);
                    alone.take(now, last, *units);
                }
                Odd::Reserve { text: at, id, units } if !both.is_open(*id, now) => {
                    last = text(at);
                    both.reserve(now, last, *id, *units);
                    alone.take(now, last, 0);
                }
                Odd::Release(id) => {
                    both.settle(now, *id, 0);
                    // What has expired is forgotten there.
                    let limits = Some(last);
                    alone.apply(now, RateLimitChange::GiveBack { limits, units: 0, calls: 0 });
                }
                Odd::Refund(units) => {
                    both.refund(now, *units);
                    alone.refund(now, *units);
                }
                // The limit is set aside.
                Odd::Other => {
                    both.take(now, "7/3s", 1);
                    alone.take(now, "7/3s", 1);
                    continue;
                }
                Odd::Reload => both.reload(),
                Odd::Reserve { .. } => {}
            }
            let limits = crate::world::parse(last);
            for later in [0, PERIOD / 3, PERIOD, 3 * PERIOD] {
                prop_assert!(both.used(&limits, now + later) >= alone.used(&limits, now + later));
            }
        }
    }

    /// With a clock that jumps too: a settlement never gives back more than the
    /// reservation took, nor anything that was granted after it.
    #[test]
    fn a_settlement_leaves_what_came_later(ops in odd(), jumps in prop::collection::vec(any::<Index>(), 50)) {
        let stand_in = StandIn::enter();
        let mut key = Key::new(stand_in.main());
        let mut now = START;
        let mut last = TEXTS[0];
        // Every unit that was granted and not taken back, by its owner.
        let mut granted: Vec<Option<u8>> = Vec::new();
        for ((op, gap), jump) in ops.iter().zip(&jumps) {
            now = match jump.index(8) {
                0 => now - 3 * gap,
                1 => now + 20 * gap,
                _ => now + gap,
            };
            let used = |key: &Key, text: &str| key.used(&crate::world::parse(text), now);
            let before = used(&key, last);
            match op {
                Odd::Take { text, units } => {
                    last = TEXTS[text.index(TEXTS.len())];
                    key.take(now, last, *units);
                    granted.extend((0..*units).map(|_| None));
                }
                Odd::Reserve { text, id, units } if !granted.contains(&Some(*id)) => {
                    last = TEXTS[text.index(TEXTS.len())];
                    key.settle(now, *id, 0);
                    key.reserve(now, last, *id, *units);
                    granted.extend((0..*units).map(|_| Some(*id)));
                }
                Odd::Release(id) => {
                    let own = granted.iter().filter(|owner| **owner == Some(*id)).count() as u64;
                    let top = granted.iter().rposition(|owner| *owner == Some(*id));
                    let above = top.map_or(0, |top| granted.len() - top - 1) as u64;
                    key.settle(now, *id, 0);
                    let after = used(&key, last);
                    prop_assert!(after >= before.min(above), "{before} {after}, {above} came later");
                    prop_assert!(after + own >= before, "{before} {after} of {own}");
                    // What is not given back is nobody's from now on.
                    let mut given = before.saturating_sub(after);
                    for at in (0..granted.len()).rev().filter(|&at| granted[at] == Some(*id)).collect::<Vec<_>>() {
                        if given > 0 {
                            granted.remove(at);
                            given -= 1;
                        } else {
                            granted[at] = None;
                        }
                    }
                }
                Odd::Refund(units) => {
                    key.refund(now, *units);
                    let gone = before - used(&key, last);
                    granted.truncate(granted.len().saturating_sub(gone as usize));
                }
                Odd::Other => key.take(now, last, 0),
                Odd::Reload => key.reload(),
                Odd::Reserve { .. } => {}
            }
        }
    }
}
