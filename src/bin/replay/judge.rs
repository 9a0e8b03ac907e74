//! What a set of limits does to traffic: the same decision as the server's, at
//! the times of the log.

use crate::read::Traffic;
use floodgate::core::limits::{Limits, Request, State, blocks, decide, take};
use floodgate::core::time::Micros;
use indicatif::ProgressBar;

/// How many columns the picture has; each is an equal share of the time.
pub const COLUMNS: u32 = 180;

/// A set of limits to be tried.
#[derive(Debug)]
pub struct Contender {
    text: String,
    limits: Limits,
}

impl Contender {
    /// Limits and how they were written.
    pub fn new(text: &str, limits: Limits) -> Self {
        Self { text: text.to_owned(), limits }
    }

    /// As they were written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Granted and denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests that pass.
    pub granted: u64,
    /// Requests that do not.
    pub denied: u64,
}

impl Count {
    const fn add(&mut self, granted: bool) {
        if granted {
            self.granted += 1;
        } else {
            self.denied += 1;
        }
    }

    /// All requests.
    pub const fn requests(self) -> u64 {
        self.granted + self.denied
    }
}

/// What one key met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// How often.
    pub count: Count,
    /// Seconds since 1970 of the first and the last denial.
    pub denied: Option<(u32, u32)>,
}

/// What one set of limits does.
#[derive(Debug)]
pub struct Outcome<'o> {
    /// The limits.
    pub contender: &'o Contender,
    /// Over all keys.
    pub total: Count,
    /// Each key's, as in [`Traffic::keys`].
    pub fates: Vec<Fate>,
    /// Denials by the limit that bound, in the order written.
    pub denied_by: Vec<u64>,
    /// What shadow limits would have denied.
    pub shadow_denied: u64,
    /// Over time.
    pub columns: Vec<Count>,
}

impl Outcome<'_> {
    /// How many keys were denied anything.
    pub fn limited(&self) -> usize {
        self.fates.iter().filter(|fate| fate.count.denied > 0).count()
    }

    /// Seconds since 1970 of the first and the last denial of anybody.
    pub fn denied(&self) -> Option<(u32, u32)> {
        self.fates.iter().filter_map(|fate| fate.denied).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// How long a column of the picture lasts, in seconds: at least 1.
pub fn column_seconds(traffic: &Traffic) -> u32 {
    let (first, last) = traffic.span();
    (last - first) / COLUMNS + 1
}

/// Replays all traffic, each request asking for one unit.
pub fn judge<'o>(traffic: &Traffic, contender: &'o Contender, bar: &ProgressBar) -> Outcome<'o> {
    /// How often the bar moves.
    const STRIDE: usize = 1 << 16;
    let limits = contender.limits.as_slice();
    let (first, last) = traffic.span();
    let column_seconds = column_seconds(traffic);
    let columns = (last - first) / column_seconds + 1;
    let mut outcome = Outcome {
        contender,
        total: Count::default(),
        fates: vec![Fate::default(); traffic.keys.len()],
        denied_by: vec![0; limits.len()],
        shadow_denied: 0,
        columns: vec![Count::default(); columns as usize],
    };
    let mut states = vec![State::Fresh; traffic.keys.len() * limits.len()];
    let ask = Request::of(1);
    for chunk in traffic.requests.chunks(STRIDE) {
        for request in chunk {
            let key = request.key as usize;
            let now = Micros(u64::from(request.time) * 1_000_000);
            let from = key * limits.len();
            let Some(states) = states.get_mut(from..from + limits.len()) else { continue };
            let decision = decide(limits, states, now, &ask);
            let granted = decision.is_granted();
            if granted {
                take(limits, states, now, &decision.taken);
            } else if let Some(count) = decision.binding.and_then(|at| outcome.denied_by.get_mut(at)) {
                *count += 1;
            }
            if !decision.closes.is_empty() {
                let begun: Vec<_> = blocks(limits, states, now, &ask, decision.closes).collect();
                for (at, block) in begun {
                    if let Some(state) = states.get_mut(at) {
                        state.close(block);
                    }
                }
            }
            outcome.shadow_denied += u64::from(decision.shadow_denied.len());
            outcome.total.add(granted);
            if let Some(column) = outcome.columns.get_mut(((request.time - first) / column_seconds) as usize)
            {
                column.add(granted);
            }
            if let Some(fate) = outcome.fates.get_mut(key) {
                fate.count.add(granted);
                if !granted {
                    let since = fate.denied.map_or(request.time, |(since, _)| since);
                    fate.denied = Some((since, request.time));
                }
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    outcome
}
