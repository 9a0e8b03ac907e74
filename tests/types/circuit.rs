//! Circuits: what is stored comes back, effects arrive as they were sent, every
//! way leads to the same bytes, and nothing forged is believed.

use floodgate::core::breaker::{Force, Permit, Report, ReportOutcome, Reporter};
use floodgate::core::time::Micros;
use floodgate::server::keys::data_type::NativeType as _;
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::cbcircuit::encoding::VERSION;
use floodgate::types::cbcircuit::{CbCircuit, encoding, epochs, rules};
use floodgate::types::effect::breaker::{
    BreakerChange, BreakerEffect, BreakerTerms, Holds, PinBreaker, SetForce,
};
use floodgate::types::effect::header::is_circuit;
use floodgate::types::until::Until;
use proptest::prelude::*;

use crate::corruption::{forge, forgeries};

const BREAKERS: &[&str] = &[
    "3:open=1s:lease=2s:probes=3:ramp=4s",
    "3/16s:open=1s",
    "50%/60s:min=2:open=1s:slow=1s:probes=2",
    "50%/9calls:min=2:open=1s:backoff=2:idle=1h",
    "50%/60s:min=2:open=1s:slow=1s:probes=2:reporters=3",
    "2:open=1s:reporters=2",
];
const START: Micros = Micros(1_800_000_000_000_000);

#[derive(Clone, Copy, Debug)]
enum What {
    Acquire,
    Report,
    Settle,
    Force,
    Reset,
    Pin,
    Unpin,
    StepBack,
}

impl What {
    /// Calls and reports are most of it.
    fn of(number: u8) -> Self {
        match number % 20 {
            6..=13 => Self::Report,
            14 => Self::Settle,
            15 => Self::Force,
            16 => Self::Reset,
            17 => Self::Pin,
            18 => Self::Unpin,
            19 => Self::StepBack,
            _ => Self::Acquire,
        }
    }
}

/// What to ask, and of what; the number says how.
#[derive(Clone, Debug)]
struct Asked {
    what: What,
    breaker: usize,
    given: bool,
    number: u16,
    after_us: u64,
}

fn asked() -> impl Strategy<Value = Asked> {
    let after = prop_oneof![Just(0), 0..3_000_000_u64, Just(5_000_000_000)];
    (0..20u8, 0..BREAKERS.len(), any::<bool>(), any::<u16>(), after).prop_map(
        |(what, breaker, given, number, after_us)| Asked {
            what: What::of(what),
            breaker,
            given,
            number,
            after_us,
        },
    )
}

/// The effect, under the breaker that is the value's own or another one.
fn effect(main: MainThread, asked: &Asked, value: Option<&CbCircuit>, now: Micros) -> BreakerEffect<'static> {
    let rule = rules::find(main, BREAKERS[asked.breaker].as_bytes()).unwrap();
    let number = u64::from(asked.number);
    let until = |us: u64| if asked.given { Some(now.plus(us * 1000)) } else { None };
    let epoch = value.map_or(0, |value| value.circuit().epoch());
    let permit = match number % 4 {
        0 => None,
        1 => Some(Permit::Closed { epoch }),
        other => Some(Permit::Trial { epoch, trial: other - 1 }),
    };
    let outcome = [ReportOutcome::Ok, ReportOutcome::Fail, ReportOutcome::Fail, ReportOutcome::Ignore]
        [usize::from(asked.number / 4 % 4)];
    let change = match asked.what {
        What::Acquire => BreakerChange::Acquire,
        What::Report => BreakerChange::Report(Report {
            outcome,
            permit,
            duration_us: asked.given.then_some(number * 100),
            reporter: Reporter::named(&number.to_le_bytes()).filter(|_| number % 3 > 0).unwrap_or_default(),
        }),
        What::Settle => BreakerChange::Settle,
        What::Force => BreakerChange::Force(SetForce {
            force: [Force::Open, Force::Closed, Force::Auto][usize::from(asked.number % 3)],
            lasts_us: asked.given.then_some(number * 1000),
            reason: b"re\0ason",
        }),
        What::Reset => BreakerChange::Reset,
        What::Pin => BreakerChange::Pin(PinBreaker {
            rule: rule.clone(),
            until: until(number).map_or(Until::Forever, Until::At),
        }),
        What::Unpin => BreakerChange::Unpin,
        What::StepBack => BreakerChange::StepBack,
    };
    let begins = value.is_none_or(|value| value.is_forgotten(now));
    BreakerEffect {
        now,
        expires: asked.given,
        terms: BreakerTerms {
            begin: begins.then(|| epochs::next(main)),
            least_epoch: asked.number.is_multiple_of(11).then(|| epochs::next(main)),
            rule: (begins || asked.number.is_multiple_of(5)).then(|| rule.clone()),
            given: asked.number.is_multiple_of(3).then_some(rule),
            holds: if asked.after_us.is_multiple_of(2) { Holds::ForCall } else { Holds::FromNowOn },
            from_caller: asked.number.is_multiple_of(7),
        },
        change,
    }
}

fn encoded(effect: &BreakerEffect<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    effect.encode(&mut bytes);
    bytes
}

fn saved(main: MainThread, value: &CbCircuit) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.save(main, &mut bytes);
    bytes
}

fn apply(main: MainThread, value: &mut Option<CbCircuit>, effect: &BreakerEffect<'_>) -> Option<bool> {
    let applied = effect.apply(main, value.as_mut()).ok()?;
    let changed = applied.changed;
    if let Some(created) = applied.created {
        *value = Some(created);
    }
    Some(changed)
}

/// Uses a value in every way; what it becomes must come back from its bytes.
fn exercise(main: MainThread, value: CbCircuit, now: Micros) {
    let mut value = Some(value);
    for (step, what) in (0..40).enumerate() {
        let asked = Asked {
            what: What::of(what),
            breaker: step % BREAKERS.len(),
            given: step % 2 == 0,
            number: u16::try_from(step * 7).unwrap(),
            after_us: 0,
        };
        let now = now.plus(step as u64 * 700_000).min(Micros::MAX);
        let effect = effect(main, &asked, value.as_ref(), now);
        apply(main, &mut value, &effect);
        let held = value.as_ref().unwrap();
        held.view(None, now);
        held.lifetime(now);
        assert!(held.memory() < 4096);
        let bytes = saved(main, held);
        let again = encoding::load(main, VERSION, &bytes).expect("its own bytes");
        assert_eq!(saved(main, &again), bytes);
    }
}

/// The value that a history leaves.
fn lived(main: MainThread, history: &[Asked]) -> (Option<CbCircuit>, Micros) {
    let (mut value, mut now) = (None, START);
    for asked in history {
        now = now.plus(asked.after_us);
        let effect = effect(main, asked, value.as_ref(), now);
        apply(main, &mut value, &effect);
    }
    (value, now)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    /// A master that never stopped, a replica that got as bytes what changed
    /// something, saved and loaded before each: all the same.
    #[test]
    fn every_way_leads_to_the_same_bytes(history in prop::collection::vec(asked(), 1..40)) {
        let alone = StandIn::enter();
        let main = alone.main();
        let (mut kept, mut reloaded, mut now) = (None, None::<CbCircuit>, START);
        for asked in &history {
            now = now.plus(asked.after_us);
            let effect = effect(main, asked, kept.as_ref(), now);
            let bytes = encoded(&effect);
            prop_assert!(is_circuit(&bytes));
            let arrived = BreakerEffect::decode(main, &bytes).unwrap();
            prop_assert_eq!(&arrived, &effect);
            for end in 0..bytes.len() {
                prop_assert!(BreakerEffect::decode(main, &bytes[..end]).is_err());
            }
            let before = kept.as_ref().map(|value| saved(main, value));
            if apply(main, &mut kept, &effect).unwrap() {
                reloaded = reloaded.map(|value| encoding::load(main, VERSION, &saved(main, &value)).unwrap());
                prop_assert_eq!(apply(main, &mut reloaded, &arrived), Some(true));
            } else {
                prop_assert_eq!(kept.as_ref().map(|value| saved(main, value)), before);
            }
            let (kept, reloaded) = (kept.as_ref().unwrap(), reloaded.as_ref().unwrap());
            prop_assert_eq!(saved(main, kept), saved(main, reloaded));
            prop_assert_eq!(kept.lifetime(now), reloaded.lifetime(now));
            // As an AOF rewrite writes it.
            let mut payload = Vec::new();
            kept.rebuild(main, &mut payload);
            let mut rebuilt = None;
            prop_assert!(apply(main, &mut rebuilt, &BreakerEffect::decode(main, &payload).unwrap()).is_some());
            prop_assert_eq!(rebuilt.map(|value| saved(main, &value)), Some(saved(main, kept)));
            prop_assert_eq!(saved(main, &kept.duplicate(main)), saved(main, kept));
        }
    }

    #[test]
    fn forged_values_are_refused_or_work(
        history in prop::collection::vec(asked(), 1..20),
        forgeries in forgeries(),
    ) {
        let alone = StandIn::enter();
        let main = alone.main();
        let (value, now) = lived(main, &history);
        let mut bytes = saved(main, &value.unwrap());
        forge(&mut bytes, forgeries);
        if let Ok(value) = encoding::load(main, VERSION, &bytes) {
            exercise(main, value, now);
        }
    }

    #[test]
    fn forged_effects_are_refused_or_work(
        history in prop::collection::vec(asked(), 1..20),
        last in asked(),
        forgeries in forgeries(),
    ) {
        let alone = StandIn::enter();
        let main = alone.main();
        let (mut value, now) = lived(main, &history);
        let mut bytes = encoded(&effect(main, &last, value.as_ref(), now));
        forge(&mut bytes, forgeries);
        if let Ok(effect) = BreakerEffect::decode(main, &bytes) {
            apply(main, &mut value, &effect);
            exercise(main, value.unwrap(), now);
        }
    }

    #[test]
    fn random_bytes_are_refused_or_work(bytes in prop::collection::vec(any::<u8>(), 0..80), head in 0x20..0x29u8) {
        let alone = StandIn::enter();
        let main = alone.main();
        if let Ok(value) = encoding::load(main, VERSION, &bytes) {
            exercise(main, value, START);
        }
        let bytes: Vec<u8> = std::iter::once(head).chain(bytes).collect();
        if let Ok(effect) = BreakerEffect::decode(main, &bytes) {
            let mut value = None;
            apply(main, &mut value, &effect);
            value.into_iter().for_each(|value| exercise(main, value, START));
        }
    }
}

#[test]
fn each_broken_payload_has_its_reason() {
    let alone = StandIn::enter();
    let main = alone.main();
    let (value, _) =
        lived(main, &[Asked { what: What::Acquire, breaker: 0, given: false, number: 1, after_us: 0 }]);
    let bytes = saved(main, &value.unwrap());
    let reason = |version, bytes: &[u8]| encoding::load(main, version, bytes).err().map(|corrupt| corrupt.0);
    assert_eq!(reason(VERSION, &bytes), None);
    assert_eq!(reason(2, &bytes), Some("unknown encoding version"));
    assert_eq!(reason(VERSION, b""), Some("no circuit"));
    let with = |section: &[u8]| [bytes.as_slice(), section].concat();
    assert_eq!(reason(VERSION, &with(b"\x01\x00")), Some("sections out of order"));
    let before = |section: &[u8]| [section, bytes.as_slice()].concat();
    assert_eq!(reason(VERSION, &before(b"\x02\x03\x02xx")), Some("malformed breaker"));
    assert_eq!(reason(VERSION, &before(b"\x02\x03\x015!")), Some("bytes after the end"));
    assert_eq!(reason(VERSION, &before(b"\x02\x02\x015")), None);
    // As version 0.1 wrote it: the breaker, then a closed circuit without results.
    let first = b"\x01\x08\x015\x09\x09\x09\x00\x00\x00";
    assert_eq!(reason(VERSION, first), None);
    assert_eq!(reason(VERSION, &before(first)), Some("two circuits"));
    assert_eq!(reason(VERSION, b"\x04\x03\x015\x04"), Some("unknown marks of a circuit"));
    assert_eq!(reason(VERSION, &with(b"\x07\x00")), Some("unknown section"));
    // A later minor version may add sections.
    assert_eq!(reason(VERSION, &with(b"\x40\x02xy")), None);
}

/// A forged epoch far ahead does not wear out the epochs of other keys.
#[test]
fn a_forged_epoch_is_not_learnt_from() {
    let alone = StandIn::enter();
    let main = alone.main();
    epochs::learn(main, 1 << 53);
    assert!(epochs::next(main) <= Micros::MAX.0 + 1);
    let next = epochs::next(main).max(START.0);
    epochs::learn(main, next);
    assert_eq!(epochs::next(main), next + 1);
}
