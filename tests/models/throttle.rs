//! redis-cell's arithmetic on an arrival time, in numbers that cannot wrap.
//!
//! It promises the five numbers of CL.THROTTLE: limited, limit, remaining, retry after and
//! reset after, both in seconds. Two differ from redis-cell on purpose: `remaining` is
//! whole units that are there, and who is denied is never told to come back at once.

/// `CL.THROTTLE key burst count period`.
#[derive(Clone, Copy, Debug)]
pub struct CellRate {
    pub burst: u64,
    pub count: u64,
    /// Seconds.
    pub period: u64,
}

impl CellRate {
    /// From one unit to the next.
    pub fn interval_ns(self) -> i128 {
        i128::from(self.period) * 1_000_000_000 / i128::from(self.count)
    }
}

/// What one key remembers: when it would be idle again, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CellKey {
    arrival_ns: Option<i128>,
}

impl CellKey {
    pub fn ask(&mut self, now_us: u64, rate: CellRate, quantity: u64) -> [i64; 5] {
        let now = i128::from(now_us) * 1000;
        let quantity = i128::from(quantity);
        let interval = rate.interval_ns();
        let limit = i128::from(rate.burst) + 1;
        let tolerance = interval * limit;
        let start = self.arrival_ns.unwrap_or(now).max(now);
        let arrival = start + interval * quantity;
        let limited = now < arrival - tolerance;
        let full_in = if limited { start } else { arrival } - now;
        if !limited {
            self.arrival_ns = Some(arrival);
        }
        let remaining = (tolerance - full_in).max(0) / interval;
        let comes = limited && interval * quantity <= tolerance;
        let retry = if comes { seconds(arrival - tolerance - now).max(1) } else { -1 };
        [i64::from(limited), clip(limit), clip(remaining), retry, seconds(full_in)]
    }
}

/// Whole seconds; a started one counts if a millisecond of it is there.
fn seconds(ns: i128) -> i64 {
    clip(ns / 1_000_000_000 + i128::from(ns % 1_000_000_000 / 1_000_000 > 0))
}

fn clip(n: i128) -> i64 {
    i64::try_from(n).unwrap()
}
