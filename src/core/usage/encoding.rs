//! Usage as bytes. Equal usage gives equal bytes, and bytes that no usage gives are refused.

use super::durations::Durations;
use super::series::{DAYS, HOURS, Series};
use super::spend::Spend;
use crate::core::time::Micros;
use crate::core::usage::series::{SeriesPeriod, UsageSeries};
use crate::core::usage::tally::UsageTally;
use crate::core::wire::{Corrupt, Reader, put_u64, put_u128};

impl UsageSeries {
    /// Appends the whole usage.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.since.0);
        put_u64(out, self.last.0);
        write_tally(out, &self.total);
        for series in [&self.hours, &self.days] {
            put_u64(out, series.0.len() as u64);
            for (number, tally) in &series.0 {
                put_u64(out, *number);
                write_tally(out, tally);
            }
        }
        for durations in [&self.durations, &self.today] {
            put_u64(out, durations.counts().len() as u64);
            for &(bucket, n) in durations.counts() {
                put_u64(out, bucket.into());
                put_u64(out, n);
            }
        }
    }

    /// Reads the bytes that [`UsageSeries::write`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes are cut, malformed or impossible.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Self::read_with(reader, read_tally)
    }

    /// Reads the bytes that version 0.1 wrote. They hold spend in nano-units and no used units. The
    /// granted units stand for those.
    ///
    /// # Errors
    /// The same as [`UsageSeries::read`].
    pub fn read_of_0_1(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Self::read_with(reader, read_tally_of_0_1)
    }

    fn read_with(reader: &mut Reader<'_>, tally: ReadTally) -> Result<Self, Corrupt> {
        let last_time = |reader: &mut Reader<'_>| reader.u64_to(Micros::MAX.0).map(Micros);
        let (since, last) = (last_time(reader)?, last_time(reader)?);
        if since > last {
            return Err(Corrupt("usage that ends before it begins"));
        }
        Ok(Self {
            since,
            last,
            total: tally(reader)?,
            hours: read_series(reader, tally, SeriesPeriod::Hour.of(last), HOURS)?,
            days: read_series(reader, tally, SeriesPeriod::Day.of(last), DAYS)?,
            durations: read_durations(reader)?,
            today: read_durations(reader)?,
        })
    }
}

type ReadTally = fn(&mut Reader<'_>) -> Result<UsageTally, Corrupt>;

fn write_tally(out: &mut Vec<u8>, tally: &UsageTally) {
    let UsageTally { requests, denied_requests, granted, denied, used, ok, fail, cached, spend } = *tally;
    for n in [requests, denied_requests, granted, denied, ok, fail, cached] {
        put_u64(out, n);
    }
    put_u128(out, spend.zigzag());
    // The same mapping as that of `Spend::zigzag`.
    put_u64(out, ((used << 1) ^ (used >> 63)).cast_unsigned());
}

fn read_tally(reader: &mut Reader<'_>) -> Result<UsageTally, Corrupt> {
    let counts = read_counts(reader)?;
    let spend = Spend::from_zigzag(reader.u128()?);
    let used = reader.u64()?;
    Ok(UsageTally { spend, used: (used >> 1).cast_signed() ^ -((used & 1).cast_signed()), ..counts })
}

fn read_tally_of_0_1(reader: &mut Reader<'_>) -> Result<UsageTally, Corrupt> {
    let counts = read_counts(reader)?;
    let used = i64::try_from(counts.granted).unwrap_or(i64::MAX);
    Ok(UsageTally { spend: Spend::from_nanos(reader.u128()?), used, ..counts })
}

fn read_counts(reader: &mut Reader<'_>) -> Result<UsageTally, Corrupt> {
    Ok(UsageTally {
        requests: reader.u64()?,
        denied_requests: reader.u64()?,
        granted: reader.u64()?,
        denied: reader.u64()?,
        ok: reader.u64()?,
        fail: reader.u64()?,
        cached: reader.u64()?,
        ..UsageTally::default()
    })
}

fn read_series(reader: &mut Reader<'_>, tally: ReadTally, now: u64, kept: u64) -> Result<Series, Corrupt> {
    let mut series = Vec::new();
    let mut least = now.saturating_add(1).saturating_sub(kept);
    for _ in 0..reader.u64_to(kept)? {
        let number = reader.u64_to(now)?;
        if number < least {
            return Err(Corrupt("usage out of order"));
        }
        least = number.saturating_add(1);
        series.push((number, tally(reader)?));
    }
    Ok(Series(series))
}

fn read_durations(reader: &mut Reader<'_>) -> Result<Durations, Corrupt> {
    let mut counts = Vec::new();
    for _ in 0..reader.u64_to(super::durations::BUCKETS.into())? {
        counts.push((reader.number_to(u16::MAX)?, reader.u64()?));
    }
    Durations::from_counts(counts).ok_or(Corrupt("impossible durations"))
}
