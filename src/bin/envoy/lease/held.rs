//! One bucket of one Envoy: what it was allowed, and what is reserved for that.

#[cfg(test)]
mod model;

use super::terms::{Before, FORGOTTEN_SECONDS, Footing, SPAN_SECONDS, Terms, Tokens};
use crate::decision::figures::{field, integer, is_text};
use crate::link::{Link, Unanswered};
use redis::{Cmd, Pipeline, Value};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

/// More Envoys than anybody has.
const ENVOYS: &str = "concurrent:1000000:name=envoys";
/// After so many reports without a request a bucket is let go.
const IDLE_REPORTS: u32 = 6;

/// What an Envoy says of a bucket, since its last report.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub allowed: u64,
    pub denied: u64,
    pub elapsed: Duration,
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Tokens(Tokens),
    DenyAll,
    /// Nobody asked for long: the bucket is forgotten on both sides.
    Abandon,
}

/// A reservation, by its id.
#[derive(Debug)]
struct Reservation {
    id: String,
    units: u64,
}

/// An assignment that the Envoy was told.
#[derive(Clone, Copy, Debug)]
struct Assigned {
    tokens: Tokens,
    /// Counts the buckets of Envoy that started full.
    bucket: u64,
    /// When another one was sent.
    replaced: Option<Instant>,
}

/// A bucket that an Envoy has subscribed to.
#[derive(Debug)]
pub struct Held {
    key: String,
    terms: Terms,
    /// The beginning of all ids.
    name: String,
    made: u64,
    /// It is one of the Envoys that share the limit.
    presence: Option<String>,
    reserved: Option<Reservation>,
    /// What the Envoy was told, as long as it counts.
    assigned: Vec<Assigned>,
    /// When it was told last.
    told: Option<Instant>,
    /// Counts its buckets that started full.
    bucket: u64,
    idle: u32,
}

impl Held {
    pub fn new(key: String, terms: Terms) -> Self {
        let mut random = RandomState::new().build_hasher();
        random.write_u32(std::process::id());
        let name = format!("rlqs-{:016x}", random.finish());
        Self {
            key,
            terms,
            name,
            made: 0,
            presence: None,
            reserved: None,
            assigned: Vec::new(),
            told: None,
            bucket: 0,
            idle: 0,
        }
    }

    /// It is of that limit.
    pub fn is_of(&self, key: &str, terms: &Terms) -> bool {
        self.key == key && self.terms == *terms
    }

    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    fn next_id(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }

    /// All that the Envoy may still use, or whose use still counts.
    fn before(&mut self, now: Instant) -> Before {
        let afterwards = Duration::from_millis(self.terms.afterwards_ms());
        self.assigned.retain(|one| {
            one.replaced.is_none_or(|replaced| now.saturating_duration_since(replaced) < afterwards)
        });
        let forgotten = Duration::from_secs(FORGOTTEN_SECONDS);
        let told = self.assigned.last().is_some_and(|last| last.replaced.is_none() && !last.tokens.is_none());
        let recent = self.told.is_some_and(|told| now.saturating_duration_since(told) < forgotten);
        if !(told && recent) {
            // Denied all, or its assignment has ended: the next bucket starts full.
            self.bucket += 1;
        }
        let mut before = Before::default();
        let mut of_one = Tokens::default();
        let mut which = 0;
        for one in &self.assigned {
            if one.bucket != which {
                before.gone = before.gone.saturating_add(of_one.most());
                (of_one, which) = (Tokens::default(), one.bucket);
            }
            of_one = of_one.or(one.tokens);
        }
        if which == self.bucket {
            before.going_on = of_one;
        } else {
            before.gone = before.gone.saturating_add(of_one.most());
        }
        before
    }

    /// The Envoy is told this now.
    fn tell(&mut self, tokens: Tokens, now: Instant) {
        self.told = Some(now);
        match self.assigned.last_mut() {
            Some(last) if last.replaced.is_none() && last.tokens == tokens && last.bucket == self.bucket => {}
            last => {
                if let Some(last) = last {
                    last.replaced.get_or_insert(now);
                }
                self.assigned.push(Assigned { tokens, bucket: self.bucket, replaced: None });
            }
        }
    }

    /// What is to be reserved now.
    fn next(&mut self, usage: Usage, look: &Look, now: Instant) -> Next {
        self.idle = if usage.allowed.saturating_add(usage.denied) == 0 { self.idle + 1 } else { 0 };
        let leaving = self.idle >= IDLE_REPORTS;
        let before = self.before(now);
        let wanted = if leaving || look.overruled {
            0
        } else {
            let unused = self.reserved.as_ref().map_or(0, |own| own.units.saturating_sub(usage.allowed));
            let free = look.remaining.saturating_add(unused);
            self.terms.wanted(look.envoys, free, self.demand(usage))
        };
        Next { leaving, wanted, before, cost: before.and(self.terms.tokens(wanted)) }
    }

    /// What the Envoy may do with what was granted of that.
    fn assign(&mut self, next: &Next, granted: u64, now: Instant) -> Told {
        let tokens = self.terms.covered(next.wanted, next.before, granted);
        self.tell(tokens, now);
        if tokens.is_none() { Told::DenyAll } else { Told::Tokens(tokens) }
    }

    /// Hears a report, reserves what comes next and says what the Envoy may do.
    ///
    /// # Errors
    /// When Redis does not answer. What was reserved runs out by itself, as the
    /// Envoy's assignment does.
    pub async fn report(&mut self, link: &Link, usage: Usage) -> Result<Told, Unanswered> {
        let look = self.look(link).await?;
        let next = self.next(usage, &look, Instant::now());
        if next.leaving && next.cost == 0 {
            self.settle(link, usage.allowed).await?;
            return Ok(Told::Abandon);
        }
        let granted = self.reserve(link, usage.allowed, next.cost).await?;
        Ok(self.assign(&next, granted, Instant::now()))
    }

    /// What it would use in an interval of its bucket.
    fn demand(&self, usage: Usage) -> u64 {
        let asked = u128::from(usage.allowed.saturating_add(usage.denied));
        let elapsed = usage.elapsed.as_millis().max(1000);
        let demand = asked.saturating_mul(u128::from(self.terms.fill_seconds()) * 1000) / elapsed;
        u64::try_from(demand).unwrap_or(u64::MAX)
    }

    /// Is there, and looks who else is, and what is left.
    async fn look(&mut self, link: &Link) -> Result<Look, Unanswered> {
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
        pipeline.cmd("RL.QUOTA").arg(&self.key).arg(self.terms.limits());
        count += 3;
        let mut values = link.ask(pipeline, count, &self.key).await?;
        for value in &values {
            value.clone().extract_error().map_err(|why| Unanswered::refused(&why))?;
        }
        let (left, envoys) = (values.pop(), values.pop());
        let (Some(left), Some(envoys)) = (left, envoys) else { return Err(Unanswered::unreadable()) };
        let (envoys, left) = (QuotaRows::read(&envoys)?, QuotaRows::read(&left)?);
        Ok(Look {
            envoys: envoys.used,
            remaining: left.remaining,
            overruled: envoys.overruled || left.overruled,
        })
    }

    /// Settles what was reserved and reserves anew, one right behind the other: what
    /// was its own and is not used cannot be taken by others in between.
    async fn reserve(&mut self, link: &Link, used: u64, cost: u64) -> Result<u64, Unanswered> {
        let mut pipeline = Pipeline::new();
        let mut count = 0;
        if let Some(old) = self.reserved.take() {
            pipeline.add_command(self.settling(&old.id, used));
            count += 1;
        }
        let id = self.next_id();
        if cost > 0 {
            pipeline.cmd("RL.RESERVE").arg(1).arg(&self.key).arg(self.terms.limits());
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
            last = value.extract_error().map_err(|why| Unanswered::refused(&why))?;
        }
        if cost == 0 {
            return Ok(0);
        }
        let granted = granted(&last).ok_or_else(Unanswered::unreadable)?;
        if granted > 0 {
            self.reserved = Some(Reservation { id, units: granted });
        }
        Ok(granted)
    }

    fn settling(&self, id: &str, used: u64) -> Cmd {
        match self.terms.footing() {
            Footing::Share => {
                let mut command = redis::cmd("RL.RELEASE");
                command.arg(id).arg(1).arg(&self.key);
                command
            }
            Footing::Units => {
                let mut command = redis::cmd("RL.COMMIT");
                command.arg(id).arg(1).arg(&self.key).arg("COST").arg(used);
                command
            }
        }
    }

    /// Gives back all that is surely not used any more.
    async fn settle(&mut self, link: &Link, used: u64) -> Result<(), Unanswered> {
        self.reserve(link, used, 0).await?;
        self.leave(link).await
    }

    /// Is none of the Envoys of this limit any more. What is reserved stays, for its
    /// Envoy may go on until its assignment ends.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn leave(&mut self, link: &Link) -> Result<(), Unanswered> {
        let Some(id) = self.presence.take() else { return Ok(()) };
        let mut command = redis::cmd("RL.RELEASE");
        command.arg(id).arg(1).arg(&self.key);
        link.ask_one(command, &self.key).await.map(drop)
    }
}

/// What a report leads to.
struct Next {
    leaving: bool,
    wanted: u64,
    before: Before,
    cost: u64,
}

/// What was found.
struct Look {
    envoys: u64,
    remaining: u64,
    /// The server has other limits for the key: a pin. What they promise is not
    /// known here.
    overruled: bool,
}

/// The rows of RL.QUOTA as one.
struct QuotaRows {
    used: u64,
    remaining: u64,
    overruled: bool,
}

impl QuotaRows {
    fn read(value: &Value) -> Result<Self, Unanswered> {
        let Value::Array(rows) = value else { return Err(Unanswered::unreadable()) };
        let mut all = Self { used: 0, remaining: u64::MAX, overruled: false };
        for row in rows {
            let Value::Array(row) = row else { return Err(Unanswered::unreadable()) };
            if field(row, "blocked").is_some() {
                continue;
            }
            let number = |name: &str| field(row, name).and_then(integer);
            let (Some(used), Some(remaining)) = (number("used"), number("remaining")) else {
                return Err(Unanswered::unreadable());
            };
            all.used = all.used.max(u64::try_from(used).unwrap_or(0));
            all.remaining = all.remaining.min(u64::try_from(remaining).unwrap_or(u64::MAX));
            all.overruled |= field(row, "source").is_some_and(|source| !is_text(source, "call"));
        }
        Ok(all)
    }
}

/// What RL.RESERVE … PARTIAL gave on its one key.
fn granted(value: &Value) -> Option<u64> {
    let Value::Array(parts) = value else { return None };
    let [_, Value::Array(replies)] = parts.as_slice() else { return None };
    let [Value::Array(six)] = replies.as_slice() else { return None };
    u64::try_from(integer(six.first()?)?).ok()
}
