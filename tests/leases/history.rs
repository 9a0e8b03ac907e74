//! Histories: when Envoys start, how many requests come, and what happens to reports.

use super::envoy::REPORT_MS;
use super::limit::Own;
use super::stream::Redis;
use proptest::prelude::*;

/// What happens at a report.
#[derive(Clone, Copy, Debug)]
pub enum ReportEvent {
    Fine,
    /// The shares of the longest time, in thousandths, that the report, the two trips to Redis and
    /// the answer take.
    Slow(u64, u64, u64),
    /// The stream ends, before the service gets the report (`heard` is false) or before the Envoy
    /// gets the answer.
    Cut {
        heard: bool,
    },
    Redis(Redis),
    /// Redis is away for all Envoys, for this many milliseconds.
    Outage(u64),
    /// The service ends, and all streams with it.
    Restart,
    /// The Envoy starts again after this many milliseconds.
    Killed(u64),
    Frozen(u64),
    /// The clock of Redis is set forward, in milliseconds.
    Forward(u64),
    Back(u64),
}

pub fn event() -> impl Strategy<Value = ReportEvent> {
    let part = || prop_oneof![Just(0u64), Just(1000), 0..1000u64];
    let time = || prop_oneof![0..2_000u64, 4_000..6_000u64, 9_000..30_000u64, Just(70_000)];
    prop_oneof![
        12 => Just(ReportEvent::Fine),
        6 => (part(), part(), part()).prop_map(|(there, between, back)| ReportEvent::Slow(there, between, back)),
        2 => any::<bool>().prop_map(|heard| ReportEvent::Cut { heard }),
        1 => Just(ReportEvent::Redis(Redis::Away)),
        1 => any::<bool>().prop_map(|done| ReportEvent::Redis(Redis::Lost { done })),
        1 => Just(ReportEvent::Redis(Redis::Overruled)),
        1 => time().prop_map(ReportEvent::Outage),
        1 => Just(ReportEvent::Restart),
        1 => time().prop_map(ReportEvent::Killed),
        2 => time().prop_map(ReportEvent::Frozen),
    ]
}

/// Only the events that are as early or as late as possible.
pub fn edge() -> impl Strategy<Value = ReportEvent> {
    prop_oneof![
        4 => Just(ReportEvent::Fine),
        4 => Just(ReportEvent::Slow(0, 0, 1000)),
        4 => Just(ReportEvent::Slow(1000, 0, 0)),
        3 => Just(ReportEvent::Redis(Redis::Away)),
        1 => Just(ReportEvent::Cut { heard: true }),
        1 => Just(ReportEvent::Killed(0)),
    ]
}

/// Fates in which the clock of Redis may be set back. Reservations that were over may then count
/// again. The service sees that, unless it happens between its two trips to Redis.
pub fn back() -> impl Strategy<Value = ReportEvent> {
    let event = event().prop_map(|event| match event {
        ReportEvent::Slow(there, _, back) => ReportEvent::Slow(there, 0, back),
        other => other,
    });
    prop_oneof![9 => event, 1 => (0..100_000u64).prop_map(ReportEvent::Back)]
}

/// Fates in which the clock of Redis may also be set forward.
pub fn steps() -> impl Strategy<Value = ReportEvent> {
    prop_oneof![9 => back(), 1 => (0..100_000u64).prop_map(ReportEvent::Forward)]
}

/// How many requests an Envoy gets until the load changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientLoad {
    /// No requests, for this many milliseconds.
    Silent(u64),
    /// One request in 4 s. So the Envoy keeps its bucket, and the bucket is full.
    Patient,
    /// As many requests as the bucket allows.
    Greedy,
    /// As many requests as the bucket allows, once. Then [`ClientLoad::Patient`].
    Burst,
}

fn load() -> impl Strategy<Value = ClientLoad> {
    prop_oneof![
        1 => prop_oneof![Just(1000u64), Just(40_000)].prop_map(ClientLoad::Silent),
        3 => Just(ClientLoad::Patient),
        3 => Just(ClientLoad::Greedy),
        3 => Just(ClientLoad::Burst),
    ]
}

/// One history.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub limit: &'static str,
    pub own: Own,
    pub count: u64,
    pub to_burst: u64,
    /// The moments at which the Envoys start.
    pub starts: Vec<u64>,
    pub events: Vec<ReportEvent>,
    pub loads: Vec<ClientLoad>,
    /// The moment until which all Envoys are patient. From then on they are greedy.
    pub attack: Option<u64>,
    /// The number of steps after which somebody else takes units, and the number of these units.
    pub others: Option<(u64, u64)>,
    /// The offset of the limit's windows.
    pub windows: u64,
    pub turn: u64,
}

fn limits() -> impl Strategy<Value = (&'static str, Own)> {
    prop::sample::select(vec![
        ("/500ms", Own::Apart),
        ("/s", Own::Apart),
        ("/2s", Own::Apart),
        ("/10s", Own::Apart),
        ("/m", Own::Apart),
        ("/61s", Own::Sliding),
        ("/2m", Own::Fixed),
        ("/2m", Own::Bucket),
        ("/3m", Own::Sliding),
    ])
}

pub fn scenario(event: impl Strategy<Value = ReportEvent> + 'static) -> impl Strategy<Value = Scenario> {
    let start = prop_oneof![Just(0u64), 0..20_000u64, 0..120_000u64];
    (
        limits(),
        prop_oneof![2..12u64, 12..80u64],
        prop::sample::select(vec![2u64, 3, 4, 10, 1000]),
        prop::collection::vec(start, 1..5),
        prop::collection::vec(event, 1..60),
        prop::collection::vec(load(), 1..60),
        prop::option::weighted(0.3, 0..200_000u64),
        prop::option::weighted(0.3, (1..300u64, 1..20u64)),
        0..200_000u64,
        prop_oneof![Just(0u64), 0..REPORT_MS],
    )
        .prop_map(
            |((limit, own), count, to_burst, starts, events, loads, attack, others, windows, turn)| {
                Scenario {
                    limit,
                    own,
                    count,
                    to_burst,
                    starts,
                    events,
                    loads,
                    attack,
                    // Somebody else may take a whole fixed window at its start, also the units that an
                    // Envoy gave back in the window before. Then not every unit that the Envoy uses has
                    // an owner.
                    others: others.filter(|_| own != Own::Fixed),
                    windows,
                    turn,
                }
            },
        )
}
