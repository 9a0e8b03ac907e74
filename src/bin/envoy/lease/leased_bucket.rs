//! The reservations in Redis for one bucket of one Envoy.

use super::account::{Assignment, KeySnapshot, LeaseAccount, Plan, Usage};
use super::terms::{LeaseKind, LeaseTerms, SPAN_SECONDS};
use crate::decision::figures::{field, integer, is_text};
use crate::link::{Link, LinkError};
use redis::{Cmd, Pipeline, Value};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Instant;

/// A limit that counts the Envoys of a key. It has more places than anybody has Envoys.
const ENVOYS: &str = "concurrent:1000000:name=rlqs-envoys";

/// The count of a limit that never denies.
const UNLIMITED: i64 = -1;

/// A reservation of units.
#[derive(Debug)]
struct LeaseReservation {
    id: String,
    units: u64,
}

/// A bucket that an Envoy reports.
#[derive(Debug)]
pub struct LeasedBucket {
    key: String,
    account: LeaseAccount,
    /// The start of all IDs of this bucket.
    name: String,
    made: u64,
    /// The reservation of a place among the Envoys that share the limit.
    presence: Option<String>,
    reserved: Option<LeaseReservation>,
}

impl LeasedBucket {
    pub fn new(key: String, terms: LeaseTerms) -> Self {
        let mut random = RandomState::new().build_hasher();
        random.write_u32(std::process::id());
        let name = format!("rlqs-{:016x}", random.finish());
        Self { key, account: LeaseAccount::new(terms), name, made: 0, presence: None, reserved: None }
    }

    /// True if the bucket belongs to this limit.
    pub fn is_of(&self, key: &str, terms: &LeaseTerms) -> bool {
        self.key == key && self.account.terms() == terms
    }

    pub const fn terms(&self) -> &LeaseTerms {
        self.account.terms()
    }

    /// Counts the use in a report.
    pub fn add_report(&mut self, usage: Usage) {
        self.account.add_report(usage);
    }

    fn next_id(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }

    /// Reserves the next units after a report, and returns what the Envoy may do.
    ///
    /// # Errors
    /// [`LinkError`] if Redis does not answer. The old reservation expires by itself, as the
    /// Envoy's assignment does.
    pub async fn answer(&mut self, link: &Link) -> Result<Assignment, LinkError> {
        let snapshot = self.snapshot(link).await?;
        let held = self.reserved.as_ref().map_or(0, |own| own.units);
        match self.account.plan(held, &snapshot, Instant::now()) {
            Plan::Deny => Ok(self.account.deny(Instant::now())),
            Plan::Abandon => {
                self.reserve(link, 0).await?;
                self.leave(link).await?;
                Ok(Assignment::Abandon)
            }
            Plan::Reserve(reserve) => {
                let granted = self.reserve(link, reserve.cost).await?;
                Ok(self.account.assign(&reserve, granted, Instant::now()))
            }
        }
    }

    /// Renews the place among the Envoys. Reads how many Envoys there are, and how many units are
    /// left.
    async fn snapshot(&mut self, link: &Link) -> Result<KeySnapshot, LinkError> {
        let id = self.next_id();
        let mut pipeline = Pipeline::new();
        let mut count = 0;
        if let Some(old) = self.presence.replace(id.clone()) {
            pipeline.cmd("RL.RELEASE").arg(old).arg(1).arg(&self.key);
            count += 1;
        }
        pipeline.cmd("RL.RESERVE").arg(1).arg(&self.key).arg(ENVOYS);
        pipeline.arg("TTL").arg(format!("{SPAN_SECONDS}s")).arg("ID").arg(id);
        pipeline.cmd("RL.QUOTA").arg(&self.key).arg(ENVOYS);
        pipeline.cmd("RL.QUOTA").arg(&self.key).arg(self.account.terms().limits());
        count += 3;
        let mut values = link.ask(pipeline, count, &self.key).await?;
        for value in &values {
            value.clone().extract_error().map_err(|why| LinkError::refused(&why))?;
        }
        let (left, envoys) = (values.pop(), values.pop());
        let (Some(left), Some(envoys)) = (left, envoys) else { return Err(LinkError::unreadable()) };
        let (envoys, left) = (QuotaRows::read(&envoys)?, QuotaRows::read(&left)?);
        Ok(KeySnapshot {
            envoys: envoys.used,
            remaining: left.remaining,
            overruled: envoys.overruled || left.overruled,
            debt: left.debt,
        })
    }

    /// Settles the old reservation and makes a new one, in one transaction. So nobody else can take
    /// the units that go from one to the other.
    async fn reserve(&mut self, link: &Link, cost: u64) -> Result<u64, LinkError> {
        let mut pipeline = Pipeline::new();
        let mut count = 0;
        // The use counts as settled even without a reservation. Then the old one has not been
        // settled, and its whole cost counts until it expires.
        let used = self.account.take_unsettled();
        if let Some(old) = self.reserved.take() {
            pipeline.add_command(self.settling(&old.id, used));
            count += 1;
        }
        let id = self.next_id();
        if cost > 0 {
            pipeline.cmd("RL.RESERVE").arg(1).arg(&self.key).arg(self.account.terms().limits());
            pipeline.arg("COST").arg(cost).arg("PARTIAL");
            pipeline.arg("TTL").arg(format!("{SPAN_SECONDS}s")).arg("ID").arg(&id);
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        let values = link.ask_together(pipeline, count, &self.key).await?;
        let mut last = Value::Nil;
        for value in values {
            last = value.extract_error().map_err(|why| LinkError::refused(&why))?;
        }
        if cost == 0 {
            return Ok(0);
        }
        let granted = granted(&last).ok_or_else(LinkError::unreadable)?;
        if granted > 0 {
            self.reserved = Some(LeaseReservation { id, units: granted });
        }
        Ok(granted)
    }

    fn settling(&self, id: &str, used: u64) -> Cmd {
        match self.account.terms().kind() {
            LeaseKind::Share => {
                let mut command = redis::cmd("RL.RELEASE");
                command.arg(id).arg(1).arg(&self.key);
                command
            }
            LeaseKind::Units => {
                let mut command = redis::cmd("RL.COMMIT");
                command.arg(id).arg(1).arg(&self.key).arg("COST").arg(used);
                command
            }
        }
    }

    /// Gives up the place among the Envoys of the limit. The reservation of units stays, because
    /// the Envoy may use its assignment until that ends.
    ///
    /// # Errors
    /// [`LinkError`] if Redis does not answer.
    pub async fn leave(&mut self, link: &Link) -> Result<(), LinkError> {
        let Some(id) = self.presence.take() else { return Ok(()) };
        let mut command = redis::cmd("RL.RELEASE");
        command.arg(id).arg(1).arg(&self.key);
        link.ask_one(command, &self.key).await.map(drop)
    }
}

/// The rows of RL.QUOTA, combined.
struct QuotaRows {
    used: u64,
    remaining: u64,
    overruled: bool,
    /// True if more units are in use than a limit has.
    debt: bool,
}

impl QuotaRows {
    fn read(value: &Value) -> Result<Self, LinkError> {
        let Value::Array(rows) = value else { return Err(LinkError::unreadable()) };
        let mut all = Self { used: 0, remaining: u64::MAX, overruled: false, debt: false };
        for row in rows {
            let Value::Array(row) = row else { return Err(LinkError::unreadable()) };
            if field(row, "blocked").is_some() {
                all.overruled = true;
                continue;
            }
            all.overruled |= field(row, "source").is_some_and(|source| !is_text(source, "call"));
            let number = |name: &str| field(row, name).and_then(integer);
            // What never denies takes nothing away.
            if number("shadow") != Some(0) || number("limit") == Some(UNLIMITED) {
                continue;
            }
            let (Some(used), Some(remaining), Some(limit)) =
                (number("used"), number("remaining"), number("limit"))
            else {
                return Err(LinkError::unreadable());
            };
            all.debt |= used > limit;
            all.used = all.used.max(u64::try_from(used).unwrap_or(0));
            all.remaining = all.remaining.min(u64::try_from(remaining).unwrap_or(u64::MAX));
        }
        Ok(all)
    }
}

/// The units that RL.RESERVE … PARTIAL granted on its one key.
fn granted(value: &Value) -> Option<u64> {
    let Value::Array(parts) = value else { return None };
    let [_, Value::Array(replies)] = parts.as_slice() else { return None };
    let [Value::Array(six)] = replies.as_slice() else { return None };
    u64::try_from(integer(six.first()?)?).ok()
}
