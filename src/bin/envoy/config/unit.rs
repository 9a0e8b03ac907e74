//! The units of time of the rate limit protocol.

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit as Shown;
use envoy_types::pb::envoy::r#type::v3::RateLimitUnit;

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 3 600 s.
    Hour,
    /// 24 h.
    Day,
    /// 7 days. A week starts on a Thursday, because the epoch was one.
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
}

impl TimeUnit {
    /// All units, the shortest first.
    pub const ALL: [Self; 7] =
        [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The unit with this name in a configuration, in letters of any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.word().eq_ignore_ascii_case(text))
    }

    /// The name of the unit in configurations.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The length of the unit, as limits write it. Weeks, months and years are written in days,
    /// because a window must start at a multiple of its length since the epoch.
    pub const fn period(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Year => "365d",
        }
    }

    /// The length of the unit in seconds.
    pub const fn seconds(self) -> u64 {
        const DAY: u64 = 24 * 3600;
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
            Self::Year => 365 * DAY,
        }
    }

    /// The unit of this length in microseconds, if there is one.
    pub fn of_micros(us: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.seconds().checked_mul(1_000_000) == Some(us))
    }

    /// The unit as answers show it.
    pub const fn shown(self) -> Shown {
        match self {
            Self::Second => Shown::Second,
            Self::Minute => Shown::Minute,
            Self::Hour => Shown::Hour,
            Self::Day => Shown::Day,
            Self::Week => Shown::Week,
            Self::Month => Shown::Month,
            Self::Year => Shown::Year,
        }
    }

    /// The unit that a request asked for. `None` if it is unknown.
    pub fn requested(unit: RateLimitUnit) -> Option<Self> {
        match unit {
            RateLimitUnit::Unknown => None,
            RateLimitUnit::Second => Some(Self::Second),
            RateLimitUnit::Minute => Some(Self::Minute),
            RateLimitUnit::Hour => Some(Self::Hour),
            RateLimitUnit::Day => Some(Self::Day),
            RateLimitUnit::Month => Some(Self::Month),
            RateLimitUnit::Year => Some(Self::Year),
        }
    }
}
