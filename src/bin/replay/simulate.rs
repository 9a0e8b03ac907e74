//! Decides what a set of limits does to traffic. The decisions are those of the server, at the
//! times of the log.

use crate::read::{self, Traffic};
use floodgate::core::limits::{Decision, Limit, Limits, Request, State, blocks, decide, take};
use floodgate::core::time::Micros;
use indicatif::ProgressBar;

/// The most columns of the picture. Each is an equal share of the time.
pub const COLUMNS: u32 = 180;

/// A set of limits to be tried.
#[derive(Debug)]
pub struct Candidate {
    text: String,
    limits: Limits,
}

impl Candidate {
    /// A set of limits with its text.
    pub fn new(text: &str, limits: Limits) -> Self {
        Self { text: text.to_owned(), limits }
    }

    /// The limits as they were written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// The numbers of granted and denied requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The number of granted requests.
    pub granted: u64,
    /// The number of denied requests.
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

    /// The number of all requests.
    pub const fn requests(self) -> u64 {
        self.granted + self.denied
    }
}

/// What happened to one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyOutcome {
    /// The number of its requests.
    pub count: Count,
    /// The first and the last denial, in seconds since 1970. `None` without a denial.
    pub denied: Option<(u32, u32)>,
}

/// What one set of limits does to the traffic.
#[derive(Debug)]
pub struct Outcome<'o> {
    /// The limits.
    pub candidate: &'o Candidate,
    /// The requests of all keys.
    pub total: Count,
    /// What happened to each key, in the order of [`Traffic::keys`].
    pub by_key: Vec<KeyOutcome>,
    /// The number of denials by each limit, where it was the binding one. In the order of the
    /// limits.
    pub denied_by: Vec<u64>,
    /// The number of requests that shadow limits would have denied.
    pub shadow_denied: u64,
    /// The requests in each column of time.
    pub columns: Vec<Count>,
}

impl Outcome<'_> {
    /// The number of keys that were denied at least once.
    pub fn limited(&self) -> usize {
        self.by_key.iter().filter(|outcome| outcome.count.denied > 0).count()
    }

    /// The first and the last denial of any key, in seconds since 1970.
    pub fn denied(&self) -> Option<(u32, u32)> {
        self.by_key.iter().filter_map(|outcome| outcome.denied).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// The duration of a column of the picture, in seconds; at least 1.
pub fn column_seconds(traffic: &Traffic) -> u32 {
    let (first, last) = traffic.span();
    (last - first) / COLUMNS + 1
}

/// Replays all traffic. Each request asks for one unit.
pub fn simulate<'o>(traffic: &Traffic, candidate: &'o Candidate, bar: &ProgressBar) -> Outcome<'o> {
    /// The number of requests between two steps of the bar.
    const STRIDE: usize = 1 << 16;
    let limits = candidate.limits.as_slice();
    let (first, last) = traffic.span();
    let column_seconds = column_seconds(traffic);
    let columns = (last - first) / column_seconds + 1;
    let mut outcome = Outcome {
        candidate,
        total: Count::default(),
        by_key: vec![KeyOutcome::default(); traffic.keys.len()],
        denied_by: vec![0; limits.len()],
        shadow_denied: 0,
        columns: vec![Count::default(); columns as usize],
    };
    let mut states = vec![State::Fresh; traffic.keys.len() * limits.len()];
    for chunk in traffic.requests.chunks(STRIDE) {
        for request in chunk {
            let from = request.key as usize * limits.len();
            if let Some(states) = states.get_mut(from..from + limits.len()) {
                let decision = replay(limits, states, Micros(request.time));
                outcome.add(*request, ((request.second() - first) / column_seconds) as usize, &decision);
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    outcome
}

/// Decides one request at `now`. Takes the granted units, and closes limits that the request
/// exceeded.
fn replay(limits: &[Limit], states: &mut [State], now: Micros) -> Decision {
    let ask = Request::of(1);
    let decision = decide(limits, states, now, &ask);
    if decision.is_granted() {
        take(limits, states, now, &decision.taken);
    }
    if !decision.closes.is_empty() {
        let begun: Vec<_> = blocks(limits, states, now, &ask, decision.closes).collect();
        for (at, block) in begun {
            if let Some(state) = states.get_mut(at) {
                state.close(block);
            }
        }
    }
    decision
}

impl Outcome<'_> {
    /// Counts a decision on a request in the column at `column`.
    fn add(&mut self, request: read::LoggedRequest, column: usize, decision: &Decision) {
        let granted = decision.is_granted();
        let binding = decision.binding.filter(|_| !granted);
        if let Some(count) = binding.and_then(|at| self.denied_by.get_mut(at)) {
            *count += 1;
        }
        self.shadow_denied += u64::from(!decision.shadow_denied.is_empty());
        self.total.add(granted);
        if let Some(column) = self.columns.get_mut(column) {
            column.add(granted);
        }
        if let Some(outcome) = self.by_key.get_mut(request.key as usize) {
            outcome.count.add(granted);
            if !granted {
                let second = request.second();
                outcome.denied = Some((outcome.denied.map_or(second, |(since, _)| since), second));
            }
        }
    }
}
