//! A model of Envoys that use all they can at the worst moments. Its limit knows the owner of each
//! unit.
//!
//! Two things hold at every moment, for each number of Envoys and each burst:
//!
//! - In the last period, each Envoy has used at most what is reserved for it.
//! - In any interval of one period, ends included, all Envoys together have used at most the limit.
//!
//! | file | idea |
//! |---|---|
//! | [`history`] | what happens: when Envoys start, and what goes wrong |
//! | [`simulation`] | plays a history, and checks what must hold |
//! | [`envoy`] | one bucket of an Envoy, as Envoy keeps it |
//! | [`stream`] | the service, which answers reports with the arithmetic under test |
//! | [`limit`] | Redis, with the owner of each unit |
//!
//! The model assumes what README says: a report and its answer take less than 5 s together, and an
//! Envoy that was frozen looks at its clock before it continues.

#![allow(clippy::cast_possible_truncation, reason = "a model with small numbers")]

mod envoy;
mod history;
mod limit;
mod simulation;
mod stream;

use history::{ClientLoad, ReportEvent, Scenario, back, edge, event, scenario, steps};
use limit::Own;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use simulation::played;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 3000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/proptest-regressions/lease.txt",
        ))),
        ..ProptestConfig::default()
    }
}

/// Plays a history. Fails with the history and the moment if more is used than is reserved.
fn is_covered(scenario: &Scenario) -> Result<(), TestCaseError> {
    played(scenario).map(drop).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_used_is_reserved_for_it(scenario in scenario(event())) {
        is_covered(&scenario)?;
    }

    #[test]
    fn at_the_edges_too(scenario in scenario(edge())) {
        is_covered(&scenario)?;
    }

    #[test]
    fn a_clock_that_is_set_back_lends_nothing_twice(scenario in scenario(back())) {
        is_covered(&scenario)?;
    }

    #[test]
    fn a_clock_that_is_set_forward_lends_what_is_over_once_more(scenario in scenario(steps())) {
        is_covered(&scenario)?;
    }
}

#[test]
fn an_envoy_can_use_all_that_is_reserved_for_it() {
    for (limit, attack) in [("/s", 22_000), ("/10s", 42_000), ("/m", 82_000)] {
        for to_burst in [2, 4, 10] {
            let scenario = Scenario {
                limit,
                own: Own::Apart,
                count: 60,
                to_burst,
                starts: vec![0],
                events: vec![ReportEvent::Fine],
                loads: vec![ClientLoad::Greedy],
                attack: Some(attack),
                others: None,
                windows: 0,
                turn: 0,
            };
            assert_eq!(played(&scenario).map(|seen| seen.most), Ok(60), "{scenario:?}");
        }
    }
}

/// The report is sent before the denial arrives, and tells nothing of what is used
/// in between; it is handled when the denial has surely arrived.
#[test]
fn a_late_report_does_not_say_what_was_used_since() {
    let scenario = Scenario {
        limit: "/61s",
        own: Own::Sliding,
        count: 15,
        to_burst: 2,
        starts: vec![1],
        events: vec![
            ReportEvent::Fine,
            ReportEvent::Slow(1000, 0, 0),
            ReportEvent::Slow(0, 0, 1000),
            ReportEvent::Slow(1000, 0, 0),
        ],
        loads: vec![
            ClientLoad::Greedy,
            ClientLoad::Patient,
            ClientLoad::Silent(1000),
            ClientLoad::Silent(1000),
            ClientLoad::Patient,
        ],
        attack: None,
        others: None,
        windows: 0,
        turn: 0,
    };
    assert_eq!(played(&scenario).map(drop), Ok(()));
}
