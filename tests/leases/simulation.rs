//! Plays a history step by step. After each step it checks that what was used is covered.

use super::envoy::{Envoy, REPORT_MS};
use super::history::{ClientLoad, ReportEvent, Scenario};
use super::limit::{Limit, Own};
use super::stream::{Delays, Present, Redis, Stream};
use crate::config::DescriptorLimits;
use crate::lease::terms::{LATE_SECONDS, LeaseKind, LeaseTerms, SPAN_SECONDS};
use std::collections::VecDeque;
use std::time::Instant;

/// One Envoy and the clients that ask it.
#[derive(Debug)]
struct Slot {
    envoy: Envoy,
    stream: Option<Stream>,
    load: ClientLoad,
    silent_until: u64,
    away_until: u64,
    /// The moment at which the Envoy is frozen next, and for how long.
    freezes: Option<(u64, u64)>,
    used: VecDeque<(u64, u64)>,
}

#[derive(Debug, Default)]
pub struct MostUsed {
    /// The most that all Envoys used in one period.
    pub most: u64,
}

struct Simulation<'p> {
    scenario: &'p Scenario,
    terms: LeaseTerms,
    step: u64,
    begin: Instant,
    limit: Limit,
    present: Present,
    slots: Vec<Slot>,
    /// The streams whose Envoy is gone. Reports that it sent are still answered.
    cut: Vec<Stream>,
    streams: usize,
    events: usize,
    loads: usize,
    /// Nothing is checked until this moment, because Redis forgot use when its clock was set
    /// forward.
    forgotten_until: u64,
    redis_away_until: u64,
    result: MostUsed,
}

fn within(used: &mut VecDeque<(u64, u64)>, period: u64, now: u64) -> u64 {
    while used.front().is_some_and(|(at, _)| at + period < now) {
        used.pop_front();
    }
    used.iter().map(|(_, units)| units).sum()
}

impl<'p> Simulation<'p> {
    fn new(scenario: &'p Scenario) -> Self {
        let text = format!("{}{}", scenario.count, scenario.limit);
        let terms =
            LeaseTerms::of(&DescriptorLimits::written(&text).unwrap()).unwrap().with_burst(scenario.to_burst);
        let own = if terms.kind() == LeaseKind::Share { Own::Apart } else { scenario.own };
        let step = (terms.period_ms() / 100).clamp(10, 200);
        let slot = |start: &u64| Slot {
            envoy: Envoy::new(terms.fill_seconds() * 1000, scenario.turn / step * step),
            stream: None,
            load: ClientLoad::Patient,
            silent_until: 0,
            away_until: *start,
            freezes: None,
            used: VecDeque::new(),
        };
        Self {
            step,
            begin: Instant::now(),
            limit: Limit::new(own, &terms, scenario.windows),
            present: Present::new(),
            slots: scenario.starts.iter().map(slot).collect(),
            cut: Vec::new(),
            streams: 0,
            events: 0,
            loads: 0,
            forgotten_until: 0,
            redis_away_until: 0,
            result: MostUsed::default(),
            scenario,
            terms,
        }
    }

    fn event(&mut self) -> ReportEvent {
        self.events += 1;
        self.scenario
            .events
            .get(self.events % self.scenario.events.len().max(1))
            .copied()
            .unwrap_or(ReportEvent::Fine)
    }

    fn load(&mut self, now: u64) -> ClientLoad {
        if let Some(attack) = self.scenario.attack {
            return if now < attack { ClientLoad::Patient } else { ClientLoad::Greedy };
        }
        self.loads += 1;
        self.scenario
            .loads
            .get(self.loads % self.scenario.loads.len().max(1))
            .copied()
            .unwrap_or(ClientLoad::Greedy)
    }

    /// Sends the requests of the current load.
    fn ask(&mut self, at: usize, now: u64) {
        let slot = &mut self.slots[at];
        let times = match slot.load {
            ClientLoad::Silent(_) => 0,
            ClientLoad::Patient => u64::from(now % 4000 < self.step),
            ClientLoad::Greedy => 200,
            ClientLoad::Burst => {
                slot.load = ClientLoad::Patient;
                200
            }
        };
        let passed = slot.envoy.ask(times, now);
        if passed > 0 {
            slot.used.push_back((now, passed));
        }
    }

    fn change_load(&mut self, at: usize, now: u64) {
        if now >= self.slots[at].silent_until {
            let load = self.load(now);
            self.slots[at].load = load;
            if let ClientLoad::Silent(length) = load {
                self.slots[at].silent_until = now + length;
            }
        }
        self.ask(at, now);
    }

    fn cut(&mut self, at: usize, heard: bool) {
        if let Some(stream) = self.slots[at].stream.take() {
            if heard {
                self.cut.push(stream);
            } else {
                self.present.retain(|(id, _)| *id != stream.id);
            }
        }
    }

    fn report(&mut self, at: usize, now: u64) {
        let Some(usage) = self.slots[at].envoy.report(now) else { return };
        let event = self.event();
        let mut delays = Delays::default();
        let mut redis = Redis::Answers;
        match event {
            ReportEvent::Slow(there, between, back) => {
                // The three parts together stay below the longest time.
                let most = LATE_SECONDS * 1000 - self.step;
                let all = (there + between + back).max(1000);
                let part = |of: u64| of * most / all / self.step * self.step;
                delays = Delays { there: part(there), between: part(between), back: part(back) };
            }
            ReportEvent::Redis(what) => redis = what,
            ReportEvent::Outage(length) => self.redis_away_until = now + length,
            _ => {}
        }
        if now < self.redis_away_until {
            redis = Redis::Away;
        }
        if self.slots[at].stream.is_none() {
            self.streams += 1;
            self.slots[at].stream = Some(Stream::new(self.streams, at, self.terms.clone()));
        }
        if !matches!(event, ReportEvent::Cut { heard: false })
            && let Some(stream) = &mut self.slots[at].stream
        {
            stream.send(usage, redis, delays, now);
        }
        match event {
            ReportEvent::Cut { heard } => self.cut(at, heard),
            ReportEvent::Restart => (0..self.slots.len()).for_each(|one| self.cut(one, false)),
            ReportEvent::Killed(length) => {
                self.cut(at, true);
                let slot = &mut self.slots[at];
                slot.envoy = Envoy::new(self.terms.fill_seconds() * 1000, now);
                slot.away_until = now + length;
            }
            // An Envoy is not frozen while an answer is under way, because the answer would arrive
            // too late. It is frozen right before its next report.
            ReportEvent::Frozen(length) => {
                self.slots[at].freezes = Some((now + REPORT_MS - self.step, length));
            }
            ReportEvent::Forward(by) => {
                self.limit.step_forward(by);
                self.forgotten_until = now + SPAN_SECONDS * 1000 + self.terms.period_ms();
            }
            ReportEvent::Back(by) => self.limit.step_back(by, now),
            _ => {}
        }
    }

    fn step(&mut self, now: u64) {
        if let Some((every, units)) = self.scenario.others
            && (now / self.step).is_multiple_of(every)
        {
            self.limit.take(units, now);
        }
        for stream in self.cut.iter_mut().chain(self.slots.iter_mut().filter_map(|slot| slot.stream.as_mut()))
        {
            stream.go_on(self.begin, now, &mut self.limit, &mut self.present);
        }
        let (present, cut) = (&mut self.present, &mut self.cut);
        cut.retain_mut(|stream| {
            while stream.answer(now).is_some() {}
            let goes_on = stream.is_busy();
            if !goes_on {
                present.retain(|(id, _)| *id != stream.id);
            }
            goes_on
        });
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if let Some((_, length)) = slot.freezes.take_if(|(at, _)| *at <= now)
                && !slot.stream.as_ref().is_some_and(Stream::is_busy)
            {
                slot.away_until = now + length;
            }
            if now < slot.away_until {
                continue;
            }
            self.slots[at].envoy.expire(now);
            self.ask(at, now);
            while let Some(assignment) = self.slots[at].stream.as_mut().and_then(|stream| stream.answer(now))
            {
                // The load may change before and after an answer.
                self.change_load(at, now);
                self.slots[at].envoy.receive(assignment, now);
                self.change_load(at, now);
            }
            if (now / self.step).is_multiple_of(17) {
                self.change_load(at, now);
            }
            self.report(at, now);
        }
    }

    /// Checks that what was used is covered.
    fn check(&mut self, now: u64) -> Result<(), String> {
        let period = self.terms.period_ms();
        let mut all = 0;
        let exempt = now < self.forgotten_until;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let used = within(&mut slot.used, period, now);
            let held = self.limit.held_by(at, now);
            if used > held && !exempt {
                return Err(format!("Envoy {at} used {used}, and {held} are reserved, at {now} ms"));
            }
            all += used;
        }
        if all > self.terms.count && !exempt {
            return Err(format!("all used {all} of {} until {now} ms", self.terms.count));
        }
        self.result.most = self.result.most.max(all);
        Ok(())
    }
}

/// Plays a history to the end, or until more is used than is covered.
pub fn played(scenario: &Scenario) -> Result<MostUsed, String> {
    let mut simulation = Simulation::new(scenario);
    let end = 2 * simulation.terms.period_ms() + 100_000;
    for now in (0..end).step_by(simulation.step as usize) {
        simulation.step(now);
        simulation.check(now)?;
    }
    Ok(simulation.result)
}
