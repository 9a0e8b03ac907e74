//! `block=` against a slow model: the same limit without it, and a list of all blocks
//! that is read again from its start at every step.

use crate::checked_limiter::{cases, gap, parse, refund};
use crate::models::closing::{BlockOptions, ClosingModel};
use crate::support::realign;
use floodgate::core::limits::{
    Decision, Limits, Request, State, UnlistedLimit, blocks, charge, decide, full_at, limit_quota, take,
    touch,
};
use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;
use proptest::prelude::*;

const MS: u64 = 1_000;
const START: u64 = 1_800_000_000_000_777;

/// Limits to which the options are added, and the units that they hold.
const LIMITS: &[(&str, u64)] = &[
    ("5/10ms", 5),
    ("70/10ms", 70),
    ("bucket:7/10ms", 7),
    ("bucket:3/10ms:burst=9", 9),
    ("fixed:6/20ms", 6),
    ("fixed:4/10ms:start=first", 4),
    ("4/10ms:per=call", 4),
    ("10/10ms:keep=50%", 10),
    ("5/10ms:name=login", 5),
    ("bucket:7/10ms:name=api", 7),
];

/// What becomes of a named limit: another count, or another period.
const CHANGES: &[(&str, &str)] = &[
    ("5/10ms:name=login", "9/10ms:name=login"),
    ("5/10ms:name=login", "3/40ms:name=login"),
    ("bucket:7/10ms:name=api", "bucket:7/40ms:name=api"),
    ("bucket:7/10ms:name=api", "bucket:4/10ms:name=api"),
];

fn options() -> impl Strategy<Value = BlockOptions> {
    let length = prop::sample::select(vec![1, 3, 10, 40]);
    let grow = prop::sample::select(vec![100, 150, 200, 333]);
    (length, grow, prop::sample::select(vec![1, 2, 9])).prop_map(|(ms, grow, times)| BlockOptions {
        length: ms * MS,
        grow,
        longest: ms * MS * times,
    })
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask { cost: u64, critical: bool, partial: bool, blocks: bool },
    Refund(u64),
    Charge(u64),
    Unblock,
    ClockBack(u64),
    Change(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let ask = (1u64..12, prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.8));
    prop_oneof![
        12 => ask.prop_map(|(cost, critical, partial, blocks)| Step::Ask { cost, critical, partial, blocks }),
        1 => (1u64..9).prop_map(Step::Refund),
        1 => (1u64..9).prop_map(Step::Charge),
        1 => Just(Step::Unblock),
        1 => (1..60 * MS).prop_map(Step::ClockBack),
        1 => any::<prop::sample::Index>().prop_map(Step::Change),
    ]
}

/// The limiter itself: the limit with `block=` and without, on one usage.
struct Key {
    options: BlockOptions,
    with: Limits,
    without: Limits,
    listed: Limits,
    states: Vec<State>,
}

impl Key {
    fn new(limit: &str, options: BlockOptions) -> Self {
        let (without, with) = (parse(limit), parse(&format!("{limit}{}", options.text())));
        assert!(with.as_slice()[0].same_identity(&without.as_slice()[0]));
        Self { options, listed: without.clone(), with, without, states: vec![State::Fresh] }
    }

    fn change(&mut self, limit: &str, now: u64) {
        let Self { with, without, .. } = Self::new(limit, self.options);
        (self.with, self.without) = (with, without);
        self.list(true, now);
    }

    fn list(&mut self, blocks: bool, now: u64) {
        let wanted = if blocks { self.with.clone() } else { self.without.clone() };
        let states = std::mem::take(&mut self.states);
        let moved = realign(
            self.listed.as_slice(),
            states,
            Vec::<UnlistedLimit>::new(),
            wanted.as_slice(),
            Micros(now),
        );
        self.states = moved.states;
        self.listed = wanted;
    }

    fn ask(&mut self, now: u64, request: &Request) -> (Decision, RetryAfter) {
        let limits = self.listed.as_slice();
        let decision = decide(limits, &self.states, Micros(now), request);
        if decision.is_granted() {
            take(limits, &mut self.states, Micros(now), &decision.taken);
        } else if !decision.closes.is_empty() {
            let begun: Vec<_> = blocks(limits, &self.states, Micros(now), request, decision.closes).collect();
            for (at, block) in begun {
                self.states[at].close(block);
            }
        }
        let after = if decision.is_granted() {
            RetryAfter::Now
        } else {
            decide(limits, &self.states, Micros(now), request).status.retry
        };
        (decision, after)
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn closes_as_the_model_does(
        (limit, capacity) in prop::sample::select(LIMITS),
        options in options(),
        steps in prop::collection::vec((gap(), prop::bool::ANY, step()), 1..40),
    ) {
        let mut key = Key::new(limit, options);
        let mut model = ClosingModel {
            plain: key.without.clone(),
            states: vec![State::Fresh],
            options,
            blocks: Vec::new(),
        };
        let mut now = START;
        for (gap, near, step) in steps {
            now += gap.of(if near { 10 * MS } else { 40 * MS });
            let plain = model.plain.clone();
            match step {
                Step::Ask { cost, critical, partial, blocks } => {
                    let request = Request { cost, calls: 1, partial, critical };
                    let (granted, retry, begins) = model.expect(now, &request, blocks);
                    key.list(blocks, now);
                    model.forget(now);
                    let seen = limit_quota(&key.listed.as_slice()[0], &key.states[0], Micros(now), cost);
                    let closed = model.closed_until(now);
                    if closed.is_some() {
                        prop_assert_eq!(seen.remaining, Some(0));
                    }
                    prop_assert!(seen.reset.micros().unwrap() >= closed.map_or(0, |end| end - now));
                    let (decision, after) = key.ask(now, &request);
                    prop_assert_eq!(decision.granted, granted);
                    prop_assert_eq!(!decision.closes.is_empty(), begins, "{:?}", model.blocks);
                    prop_assert_eq!(after, retry);
                    if begins {
                        model.begin(now, &request);
                    }
                    if granted > 0 {
                        take(plain.as_slice(), &mut model.states, Micros(now), &decision.taken);
                        model.granted(now);
                    } else if let RetryAfter::After(us) = after {
                        // What the reply says is what comes.
                        let again = |at: u64| decide(key.listed.as_slice(), &key.states, Micros(at), &request);
                        prop_assert!(again(now + us).is_granted());
                        prop_assert!(!again(now + us - 1).is_granted());
                    }
                }
                Step::Refund(units) => {
                    let given = refund(key.listed.as_slice(), &mut key.states, Micros(now), units);
                    prop_assert_eq!(given, refund(plain.as_slice(), &mut model.states, Micros(now), units));
                    model.note(now);
                }
                Step::Charge(units) => {
                    charge(&key.listed.as_slice()[0], &mut key.states[0], Micros(now), units);
                    charge(&plain.as_slice()[0], &mut model.states[0], Micros(now), units);
                    model.changed(now);
                }
                Step::ClockBack(us) => {
                    now -= us;
                    touch(key.listed.as_slice(), &mut key.states, Micros(now));
                    touch(plain.as_slice(), &mut model.states, Micros(now));
                    model.changed(now);
                }
                Step::Change(at) => {
                    let of_it: Vec<_> = CHANGES.iter().filter(|(from, _)| *from == limit).collect();
                    let Some((_, to)) = of_it.get(at.index(of_it.len().max(1))) else { continue };
                    key.change(to, now);
                    let states = std::mem::take(&mut model.states);
                    model.plain = parse(to);
                    model.states = realign(plain.as_slice(), states, Vec::new(), model.plain.as_slice(), Micros(now)).states;
                    model.changed(now);
                }
                Step::Unblock => {
                    key.states[0].reopen();
                    model.blocks.clear();
                }
            }
            let (now, plain) = (Micros(now), model.plain.clone());
            prop_assert_eq!(
                key.listed.as_slice()[0].rule().used(&key.states[0], now),
                plain.as_slice()[0].rule().used(&model.states[0], now)
            );
            prop_assert!(capacity > 0);
            let over = full_at(key.listed.as_slice(), &key.states, now);
            prop_assert_eq!(over.0, model.over_at(now.0));
            let mut then = key.states.clone();
            touch(key.listed.as_slice(), &mut then, over);
            prop_assert_eq!(&then[0], &State::Fresh);
        }
    }

    /// Of several limits, those close that would close alone.
    #[test]
    fn each_limit_closes_for_itself(
        picked in prop::sample::subsequence(LIMITS, 2..=4),
        steps in prop::collection::vec((gap(), 1u64..12, prop::bool::ANY), 1..24),
    ) {
        let texts: Vec<String> = picked
            .iter()
            .enumerate()
            .map(|(at, (limit, _))| if at % 3 == 2 { (*limit).to_owned() } else { format!("{limit}:block={}ms", 4 + 9 * at) })
            .collect();
        let all = parse(&texts.join(","));
        let limits = all.as_slice();
        let mut states = vec![State::Fresh; limits.len()];
        let mut now = START;
        for (gap, cost, critical) in steps {
            now += gap.of(10 * MS);
            let request = Request { critical, ..Request::of(cost) };
            let decision = decide(limits, &states, Micros(now), &request);
            for (at, (limit, state)) in limits.iter().zip(&states).enumerate() {
                let alone = decide(std::slice::from_ref(limit), std::slice::from_ref(state), Micros(now), &request);
                prop_assert_eq!(decision.closes.contains(at), !alone.closes.is_empty());
                prop_assert!(!decision.is_granted() || alone.is_granted());
            }
            take(limits, &mut states, Micros(now), &decision.taken);
            let begun: Vec<_> = blocks(limits, &states, Micros(now), &request, decision.closes).collect();
            prop_assert_eq!(begun.len() as u32, decision.closes.len());
            begun.into_iter().for_each(|(at, block)| states[at].close(block));
        }
    }

    /// C1: what began after now counts as begun now, and denies no longer than its length.
    #[test]
    fn a_clock_that_steps_back_holds_nobody_longer(
        steps in prop::collection::vec((-60_000i64..60_000, 1u64..6), 1..40),
        options in options(),
    ) {
        let limits = parse(&format!("5/10ms{}", options.text()));
        let limits = limits.as_slice();
        let mut states = vec![State::Fresh];
        let mut now = START as i64;
        for (step, cost) in steps {
            now += step;
            let at = Micros(now as u64);
            let request = Request::of(cost);
            let decision = decide(limits, &states, at, &request);
            let waits = |states: &[State]| match decide(limits, states, at, &request).status.retry {
                RetryAfter::After(us) => us,
                _ => 0,
            };
            prop_assert!(waits(&states) <= options.longest.max(10 * MS));
            let before = waits(&states);
            if decision.record_clock && !decision.is_granted() {
                touch(limits, &mut states, at);
                prop_assert_eq!(waits(&states), before, "recording changes no answer");
                prop_assert!(!decide(limits, &states, at, &request).record_clock);
            }
            take(limits, &mut states, at, &decision.taken);
            let begun: Vec<_> = blocks(limits, &states, at, &request, decision.closes).collect();
            begun.into_iter().for_each(|(at, block)| states[at].close(block));
            prop_assert!(!limits[0].rule().stepped_back(&states[0], at) || !decision.is_granted());
        }
    }
}

#[test]
fn a_named_limit_keeps_its_block_when_it_changes() {
    let (now, old) = (Micros(START), parse("1/m:name=login:block=1h"));
    let mut states = vec![State::Fresh];
    let granted = decide(old.as_slice(), &states, now, &Request::of(1));
    take(old.as_slice(), &mut states, now, &granted.taken);
    let denial = decide(old.as_slice(), &states, now, &Request::of(1));
    let begun: Vec<_> = blocks(old.as_slice(), &states, now, &Request::of(1), denial.closes).collect();
    begun.into_iter().for_each(|(at, block)| states[at].close(block));
    for text in ["9/h:name=login", "bucket:9/m:name=login", "fixed:9/day:name=login"] {
        let new = parse(text);
        let moved = realign(old.as_slice(), states.clone(), Vec::new(), new.as_slice(), now);
        let seen = limit_quota(&new.as_slice()[0], &moved.states[0], now, 1);
        assert_eq!((seen.remaining, seen.retry), (Some(0), RetryAfter::After(3_600_000_000)), "{text}");
    }
    // Set aside it is kept, too.
    let moved = realign(old.as_slice(), states.clone(), Vec::new(), parse("5/s").as_slice(), now);
    assert_eq!(moved.unlisted.len(), 1);
}

#[test]
fn what_never_comes_back_closes_nothing() {
    for (text, cost) in [("0/m:block=1m", 1), ("5/m:block=1m", 6), ("10/m:keep=50%:block=1m", 6)] {
        let limits = parse(text);
        let mut states = vec![State::Fresh];
        for cost in [cost, 5] {
            let decision = decide(limits.as_slice(), &states, Micros(START), &Request::of(cost));
            assert!(decision.closes.is_empty(), "{text}");
            take(limits.as_slice(), &mut states, Micros(START), &decision.taken);
        }
    }
}

#[test]
fn the_options_are_written_plainly() {
    for text in [
        "5/m:block=15m",
        "5/m:block=15m:grow=2",
        "5/m:block=15m:grow=1.5:maxblock=2h",
        "5/m:per=call:keep=10%:block=90s:name=login",
        "bucket:5/m:burst=9:block=2d:maxblock=3d",
        "fixed:5/d:from=09:00:block=1ms",
    ] {
        assert_eq!(parse(text).canonical(), text);
    }
    assert_eq!(parse("5/M:BLOCK=900s:GROW=2.00:MAXBLOCK=1D").canonical(), "5/m:block=15m:grow=2");
    assert_eq!(parse("5/m:block=2d:maxblock=48h:grow=1").canonical(), "5/m:block=2d");
    for (text, reason) in [
        ("5/m:block=0", "block= must be at least 1ms"),
        ("5/m:block=0s", "block= must be at least 1ms"),
        ("5/m:block=15", "block=15: needs a unit, such as 15s or 15ms"),
        ("5/m:block=", "block= needs a value"),
        ("5/m:block=1m:block=2m", "block is given twice"),
        ("5/m:block=1m:grow=0.99", "grow= must be 1 to 100"),
        ("5/m:block=1m:grow=100.01", "grow= must be 1 to 100"),
        ("5/m:block=1m:grow=x", "grow= 'x' is not a number"),
        ("5/m:block=1m:grow=1.234", "grow= has more than two decimals"),
        ("5/m:block=1m:grow=1.", "grow= has no decimals after the point"),
        ("5/m:block=1m:grow=1.x", "grow= has malformed decimals"),
        ("5/m:block=1m:maxblock=59s", "maxblock= is shorter than block="),
        ("5/m:block=367d", "block=367d: longer than 366 days"),
        ("5/m:grow=2", "grow= needs block=, as in block=15m:grow=2:maxblock=1d"),
        ("5/m:maxblock=1h", "maxblock= needs block=, as in block=15m:grow=2:maxblock=1d"),
        ("5/m:block=1m:shadow", "block= needs a limit that denies, shadow never does"),
        ("concurrent:5:block=1m", "block= is not for concurrent"),
        ("concurrent:5:grow=2", "grow= is not for concurrent"),
        ("unlimited:block=1m", "unlimited takes no options"),
    ] {
        let error = Limits::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid limit '{text}': {reason}"));
    }
}
