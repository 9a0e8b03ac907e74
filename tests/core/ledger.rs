//! The ledger of one limit, against a row of units.

use floodgate::core::reservations::{Ledger, LedgerPosition};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Grant(u64),
    Stake(u64),
    Settle(prop::sample::Index, u64),
    Trim(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..9u64).prop_map(Op::Grant),
        3 => (1..9u64).prop_map(Op::Stake),
        2 => (any::<prop::sample::Index>(), 0..9u64).prop_map(|(which, back)| Op::Settle(which, back)),
        1 => (0..40u64).prop_map(Op::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Compares the ledger with a row of units, each with its owner.
    #[test]
    fn it_tells_what_a_row_of_units_tells(ops in prop::collection::vec(op(), 0..120)) {
        let (mut ledger, mut row) = (Ledger::default(), Vec::<Option<u64>>::new());
        let mut open: Vec<u64> = Vec::new();
        for (serial, op) in (0..).zip(ops) {
            match op {
                Op::Grant(n) => {
                    ledger.grant(n);
                    row.extend((0..n).map(|_| None));
                }
                Op::Stake(n) => {
                    ledger.stake(serial, n);
                    row.extend((0..n).map(|_| Some(serial)));
                    open.push(serial);
                }
                Op::Settle(which, back) if !open.is_empty() => {
                    let serial = open.remove(which.index(open.len()));
                    let mut back = back.min(ledger.position(serial).own);
                    ledger.settle(serial, back);
                    row.retain(|owner| {
                        let gone = back > 0 && *owner == Some(serial);
                        back -= u64::from(gone);
                        !gone
                    });
                    row.iter_mut().filter(|owner| **owner == Some(serial)).for_each(|owner| *owner = None);
                }
                Op::Settle(..) => {}
                Op::Trim(n) => {
                    ledger.trim(n);
                    row.truncate(row.len().saturating_sub(usize::try_from(n).unwrap()));
                }
            }
            for &serial in &open {
                let own = row.iter().filter(|owner| **owner == Some(serial)).count() as u64;
                let last = row.iter().rposition(|owner| *owner == Some(serial));
                let above = last.map_or(0, |last| row.len() - last - 1) as u64;
                prop_assert_eq!(ledger.position(serial), LedgerPosition { above, own });
            }
            let any = row.iter().any(Option::is_some);
            prop_assert_eq!(ledger.is_empty(), !any);
        }
    }
}
