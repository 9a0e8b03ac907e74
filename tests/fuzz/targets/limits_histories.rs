//! Random requests on one limit of any numbers: never more is granted than it
//! promises, and what it says it does.

#![no_main]

use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;
use floodgate::core::limits::{Limits, Request, State, blocks, charge_all, charges, decide, give_back, take};
use floodgate_fuzz::draw::{Draw, START};
use libfuzzer_sys::fuzz_target;

const MAX_COUNT: u64 = 1_000_000_000_000;
const LONGEST_MS: u64 = 366 * 86_400_000;

/// What was granted, and when.
struct Log(Vec<(Micros, u64)>);

impl Log {
    fn since(&self, start: Micros) -> u128 {
        self.0.iter().filter(|(at, _)| *at >= start).map(|(_, units)| u128::from(*units)).sum()
    }
}

enum Kind {
    Sliding,
    Bucket { burst: u64 },
    Fixed,
    Credit,
}

fuzz_target!(|input: &[u8]| {
    let mut draw = Draw(input);
    let count = draw.number() % MAX_COUNT + 1;
    let period_ms = draw.number() % LONGEST_MS + 1;
    let period = period_ms * 1000;
    let keep = draw.one_of(&["", "", ":keep=25%", ":block=15m:grow=2", ":block=1ms:keep=25%"]);
    let (text, kind) = match draw.byte() {
        240.. => (format!("fixed:{count}/ever{keep}"), Kind::Credit),
        sliding if sliding % 3 == 0 => (format!("{count}/{period_ms}ms{keep}"), Kind::Sliding),
        bucket if bucket % 3 == 1 => {
            let burst = draw.number() % MAX_COUNT + 1;
            (format!("bucket:{count}/{period_ms}ms:burst={burst}{keep}"), Kind::Bucket { burst })
        }
        _ => (format!("fixed:{count}/{period_ms}ms{keep}"), Kind::Fixed),
    };
    let limits = Limits::parse(text.as_bytes()).expect("a limit");
    let limits = limits.as_slice();
    let mut states = [State::default()];
    let mut now = START;
    let mut log = Log(Vec::new());
    let mut refunded = false;
    let mut steps = 0;
    while !draw.is_done() && steps < 200 {
        steps += 1;
        draw.forward(&mut now);
        // At the end of time waits are cut short.
        if now.0 > Micros::MAX.0 - 2 * LONGEST_MS * 1000 {
            return;
        }
        if draw.byte() % 32 == 0 {
            let (above, units) = (draw.number(), draw.number());
            for (limit, state) in limits.iter().zip(&mut states) {
                let before = limit.rule().used(state, now);
                let given = give_back(limit, state, now, above, units);
                assert!(given <= units.min(before.saturating_sub(above)));
            }
            refunded = true;
            continue;
        }
        if draw.byte() % 32 == 0 {
            // Charged whatever is left: grants keep their promise, and replies tell the truth.
            let charged = charges(limits, &states, now, draw.number() % MAX_COUNT + 1);
            charge_all(limits, &mut states, now, &charged);
            let (capacity, used) = (limits[0].capacity(), limits[0].rule().used(&states[0], now));
            assert!(capacity.is_some_and(|capacity| used <= capacity * 2), "{text}");
            continue;
        }
        let request = Request {
            cost: draw.number() % MAX_COUNT + 1,
            calls: 1,
            partial: draw.byte() % 4 == 0,
            critical: draw.byte() % 4 == 0,
        };
        let decision = decide(limits, &states, now, &request);
        say_what_they_do(limits, &states, now, &request);
        if decision.granted == 0 {
            let begun: Vec<_> = blocks(limits, &states, now, &request, decision.closes).collect();
            begun.into_iter().for_each(|(at, block)| states[at].close(block));
            say_what_they_do(limits, &states, now, &request);
            continue;
        }
        take(limits, &mut states, now, &decision.taken);
        log.0.push((now, decision.granted));
        if refunded {
            continue;
        }
        match kind {
            // The half-open interval that ends with this grant.
            Kind::Sliding => assert!(log.since(Micros(now.0 - period + 1)) <= u128::from(count), "{text}"),
            Kind::Fixed => {
                assert!(log.since(Micros(now.0 - now.0 % period)) <= u128::from(count), "{text}");
            }
            Kind::Credit => assert!(log.since(Micros(0)) <= u128::from(count), "{text}"),
            Kind::Bucket { burst } => {
                for &(start, _) in &log.0 {
                    let refill = u128::from(count) * u128::from(now.since(start)) / u128::from(period);
                    // Between two moments at most a full bucket and what ran in,
                    // whose first unit may have been all but there.
                    let most = u128::from(burst) + refill + u128::from(start != log.0[0].0);
                    assert!(log.since(start) <= most, "{text}");
                }
            }
        }
    }
});

/// `remaining` would be granted and one more not; at the time it names the same
/// request is granted, and not 2 ms earlier.
fn say_what_they_do(limits: &[floodgate::core::limits::Limit], states: &[State], now: Micros, request: &Request) {
    let decision = decide(limits, states, now, request);
    let plain = Request { partial: false, ..*request };
    let mut after = states.to_vec();
    if decision.granted > 0 {
        take(limits, &mut after, now, &decision.taken);
    }
    if let Some(remaining) = decision.status.remaining {
        let granted = |cost| decide(limits, &after, now, &Request { cost, ..plain }).granted;
        if remaining > 0 {
            assert_eq!(granted(remaining), remaining);
        }
        assert_eq!(granted(remaining + 1), 0);
    }
    match decision.status.retry {
        RetryAfter::Now => assert!(decision.granted > 0),
        // Beyond the end of time a wait is only known to be long.
        RetryAfter::After(us) if now.plus(us) > Micros::MAX => {}
        RetryAfter::After(us) => {
            let at = |us| decide(limits, states, now.plus(us), request).granted > 0;
            assert!(at(us), "not granted when it said: {request:?} of {limits:?} at {now:?}, {states:?}, {decision:?}");
            assert!(us <= 2000 || !at(us - 2000), "granted 2 ms earlier than it said: {request:?} of {limits:?} at {now:?}, {states:?}");
        }
        RetryAfter::Never => {
            let year = now.plus(LONGEST_MS * 1000);
            // What comes back has come back by then.
            let comes_back = limits.iter().all(floodgate::core::limits::Limit::comes_back);
            let then = if comes_back { vec![State::default()] } else { states.to_vec() };
            assert_eq!(decide(limits, &then, year, request).granted, 0);
        }
    }
}
