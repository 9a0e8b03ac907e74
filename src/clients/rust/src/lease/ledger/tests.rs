//! Leases of several processes beside a limit that remembers each grant.

use std::time::{Duration, Instant};

use super::{Block, Ledger};
use crate::decision::{Decision, Source};

const INTERVAL: u64 = 100;
const PERIOD: u64 = 1000;

struct Grant {
    at: u64,
    units: u64,
}

/// `count/1s`, sliding.
struct LeasedLimit {
    count: u64,
    grants: Vec<Grant>,
}

impl LeasedLimit {
    fn used(&self, now: u64) -> u64 {
        self.grants.iter().filter(|grant| grant.at + PERIOD > now).map(|grant| grant.units).sum()
    }

    /// The most that there is; the number of the grant.
    fn partial(&mut self, wanted: u64, now: u64) -> (Decision, usize) {
        let left = self.count - self.used(now);
        let granted = wanted.min(left);
        self.grants.push(Grant { at: now, units: granted });
        let [limit, remaining] = [self.count, left - granted].map(|units| i64::try_from(units).unwrap());
        let (retry_after_ms, reset_after_ms, index, source) = (0, 0, 0, Source::Redis);
        let decision = Decision { granted, limit, remaining, retry_after_ms, reset_after_ms, index, source };
        (decision, self.grants.len() - 1)
    }
}

/// A block as the model has it.
struct Held {
    grant: usize,
    left: u64,
    until: u64,
}

#[derive(Default)]
struct Model {
    blocks: Vec<Held>,
    asked: Vec<(u64, u64)>,
    remaining: u64,
}

impl Model {
    fn alive(&self, now: u64) -> u64 {
        self.blocks.iter().filter(|block| now < block.until).map(|block| block.left).sum()
    }

    fn spends(&mut self, mut cost: u64, now: u64) -> bool {
        if self.alive(now) < cost {
            return false;
        }
        for block in self.blocks.iter_mut().filter(|block| now < block.until) {
            let part = cost.min(block.left);
            block.left -= part;
            cost -= part;
        }
        true
    }
}

struct Use {
    step: usize,
    at: u64,
    units: u64,
}

/// Spent, taken and given back is what the model says; and in no period more is used than
/// the limit, and what was out on lease when it began.
#[test]
fn a_ledger_does_what_its_model_says() {
    let (mut leased, mut denied) = (0, 0);
    for seed in 0..100 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let count = [100, 1000, 5000][dice.usize(0..3)];
        let processes = dice.u32(1..=4);
        let start = Instant::now();
        let mut limit = LeasedLimit { count, grants: Vec::new() };
        let mut makers: Vec<_> = (0..processes)
            .map(|_| {
                let mut ledger = Ledger::new(Duration::from_millis(INTERVAL), start);
                ledger.processes = processes;
                (ledger, Model::default())
            })
            .collect();
        let (mut uses, mut out): (Vec<Use>, Vec<Use>) = (Vec::new(), Vec::new());
        // Answers that are not there yet: of whom, when, and what.
        let mut coming: Vec<(usize, u64, Block, Held)> = Vec::new();
        let mut now = 0;
        for step in 0..500 {
            now += if dice.u8(0..10) == 0 { dice.u64(0..150) } else { dice.u64(0..4) };
            for (who, _, block, held) in coming.extract_if(.., |answer| answer.1 <= now) {
                let (ledger, model) = &mut makers[who];
                model.remaining = u64::try_from(block.decision.remaining).unwrap();
                ledger.arrived(block);
                model.blocks.push(held);
            }
            let late = coming.iter().filter(|answer| now < answer.3.until).map(|answer| answer.3.left);
            let units = late.sum::<u64>() + makers.iter().map(|(_, model)| model.alive(now)).sum::<u64>();
            out.push(Use { step, at: now, units });

            let who = dice.usize(0..makers.len());
            let (ledger, model) = &mut makers[who];
            let at = start + Duration::from_millis(now);
            let most = if dice.u8(0..8) == 0 { 30 } else { 5 };
            let cost = dice.u64(1..=most);
            model.asked.push((now, cost));
            ledger.note(cost, at);
            let decision = ledger.spend(cost, at);
            assert_eq!(decision.is_some(), model.spends(cost, now), "seed {seed}, step {step}");
            for block in ledger.over(at) {
                let grant = block.id.parse::<usize>().unwrap();
                let held = model.blocks.iter().position(|held| held.grant == grant).unwrap();
                let held = model.blocks.remove(held);
                assert_eq!(block.used, limit.grants[grant].units - held.left, "seed {seed}, step {step}");
                assert!(held.left == 0 || now >= held.until);
                limit.grants[grant].units = block.used;
            }
            assert!(model.blocks.iter().all(|held| held.left > 0 && now < held.until), "all is settled");
            assert_eq!(ledger.left(at), model.alive(now), "seed {seed}, step {step}");
            if let Some(Decision { granted, .. }) = decision {
                assert_eq!(granted, cost);
                leased += 1;
            } else if limit.used(now) + cost <= count {
                let (one, _) = limit.partial(cost, now);
                ledger.remaining = one.remaining;
                model.remaining = u64::try_from(one.remaining).unwrap();
            } else {
                denied += 1;
                continue;
            }
            uses.push(Use { step, at: now, units: cost });
            if let Some(wanted) = ledger.wants(at) {
                let since = now.saturating_sub(2 * INTERVAL);
                let asked: u64 =
                    model.asked.iter().filter(|asked| asked.0 >= since).map(|asked| asked.1).sum();
                assert!(wanted >= 10 && wanted <= asked, "seed {seed}: {wanted} of {asked}");
                assert!(wanted <= model.remaining / (2 * u64::from(processes)), "seed {seed}: {wanted}");
                let (decision, grant) = limit.partial(wanted, now);
                let until = now + INTERVAL;
                let held = Held { grant, left: decision.granted, until };
                let block = Block::new(grant.to_string(), decision, start + Duration::from_millis(until));
                coming.push((who, now + dice.u64(0..3) * dice.u64(0..60), block, held));
            }
            assert!(limit.used(now) <= count);
        }
        for begin in &out {
            let spent: u64 = uses
                .iter()
                .filter(|one| one.step >= begin.step && one.at < begin.at + PERIOD)
                .map(|one| one.units)
                .sum();
            assert!(spent <= count + begin.units, "seed {seed}: {spent} of {count} + {}", begin.units);
        }
    }
    assert!(leased > 5000 && denied > 100, "{leased} leased, {denied} denied");
}
