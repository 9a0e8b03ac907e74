//! Asks Redis about one request, and decides by the answers.
//!
//! One RL.BATCH ALL takes the units of the limits that deny: of all of them, or of none. Most
//! requests need no other command. The exceptions are:
//!
//! | what | how |
//! |---|---|
//! | shadow limits | an RL.BATCH EACH in the same round trip |
//! | several limits in quota mode | an RL.BATCH EACH after the other limits have granted; if all in quota mode deny, the units of the others are given back |
//! | 0 hits | an RL.QUOTA first; if nothing is left, nothing is taken |
//! | negative hits | an RL.REFUND, and an RL.QUOTA for the figures, in the same round trip; both again if the key has other limits than those of the rule, such as a pin |
//!
//! If a request is denied before all of its limits were asked, an RL.QUOTA looks at the others, for
//! the figures of the answer.

pub mod figures;
mod round;

pub use figures::Figures;

use crate::config::{DenialEffect, DescriptorLimits};
use crate::link::{Link, LinkError};
use round::RoundTrip;
use std::sync::Arc;

/// The most units that one command takes.
pub const MOST_UNITS: u64 = 1_000_000_000_000;

/// What a descriptor does to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// Takes this many units, 1 or more.
    Take(u64),
    /// Looks whether one unit is left.
    Look,
    /// Gives this many units back, 1 or more.
    GiveBack(u64),
}

impl Hits {
    /// The meaning of the two fields of Envoy. A number above [`MOST_UNITS`] is lowered to it,
    /// which is more than any limit has.
    pub fn of(addend: u64, negative: bool) -> Self {
        match (addend.min(MOST_UNITS), negative) {
            (0, _) => Self::Look,
            (n, false) => Self::Take(n),
            (n, true) => Self::GiveBack(n),
        }
    }

    /// The number of units to take.
    pub const fn taken(self) -> u64 {
        match self {
            Self::Take(n) => n,
            Self::Look | Self::GiveBack(_) => 0,
        }
    }

    /// The number of units that a look asks for.
    const fn looked_for(self) -> u64 {
        match self {
            Self::Take(n) => n,
            Self::Look | Self::GiveBack(_) => 1,
        }
    }
}

/// A limit that a request meets.
#[derive(Debug)]
pub struct LimitCheck {
    pub key: String,
    pub rule: Arc<DescriptorLimits>,
    pub hits: Hits,
}

/// The decision on a request.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestDecision {
    /// The figures of each check.
    pub figures: Vec<Figures>,
    /// True if the whole request is denied.
    pub denied: bool,
}

/// The part that a limit has in the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LimitPart {
    /// Takes its units together with the others of this part, or none.
    Together,
    /// Takes its units alone, and never denies.
    Apart,
    /// Takes its units alone. It denies if all limits in quota mode deny.
    Quota,
    /// Looks whether units are left. A denial denies the request.
    Gate,
    /// Looks whether units are left. It denies as [`LimitPart::Quota`] does.
    QuotaLook,
    /// Looks at the figures, and never denies.
    View,
    /// Gives units back.
    Return,
}

/// The part of each check. A single limit in quota mode denies as any other limit does.
fn parts(checks: &[LimitCheck]) -> Vec<LimitPart> {
    let in_quota = |check: &&LimitCheck| {
        check.rule.mode == DenialEffect::Quota && !matches!(check.hits, Hits::GiveBack(_))
    };
    let quota_alone = checks.iter().filter(in_quota).count() == 1;
    checks
        .iter()
        .map(|check| match (check.hits, check.rule.mode) {
            (Hits::GiveBack(_), _) => LimitPart::Return,
            (Hits::Take(_), DenialEffect::Shadow) => LimitPart::Apart,
            (Hits::Look, DenialEffect::Shadow) => LimitPart::View,
            (Hits::Take(_), DenialEffect::Quota) if !quota_alone => LimitPart::Quota,
            (Hits::Look, DenialEffect::Quota) if !quota_alone => LimitPart::QuotaLook,
            (Hits::Take(_), DenialEffect::Enforced | DenialEffect::Quota) => LimitPart::Together,
            (Hits::Look, DenialEffect::Enforced | DenialEffect::Quota) => LimitPart::Gate,
        })
        .collect()
}

/// Decides about all limits that a request meets. All of them belong to one domain.
///
/// # Errors
/// [`LinkError`] if Redis does not answer, or answers with an error. Units that were taken before
/// stay taken.
pub async fn decide(link: &Link, checks: &[LimitCheck]) -> Result<RequestDecision, LinkError> {
    let mut all =
        PendingDecision { link, checks, parts: parts(checks), figures: vec![Figures::NONE; checks.len()] };
    let (together, quota) = (all.of(&[LimitPart::Together]), all.of(&[LimitPart::Quota]));
    let mut round = all.begin().await?;
    let mut denied = all.any_over(&all.of(&[LimitPart::Gate]));
    if denied {
        round.look_at(&together);
    } else {
        round.take_all(&together);
    }
    round.take_each(&all.of(&[LimitPart::Apart]));
    // If no other limits must grant first, those in quota mode are asked in the same round trip.
    let at_once = together.is_empty() && !denied;
    if at_once {
        round.take_each(&quota);
    }
    round.send(link, &mut all.figures).await?;
    all.give_back_overruled(&all.of(&[LimitPart::Return])).await?;
    denied |= all.any_over(&together);
    if !at_once && !quota.is_empty() {
        let mut round = RoundTrip::new(checks);
        if denied {
            round.look_at(&quota);
        } else {
            round.take_each(&quota);
        }
        round.send(link, &mut all.figures).await?;
    }
    if !denied && all.quota_is_over() {
        denied = true;
        all.give_back(&together).await?;
    }
    for at in all.of(&[LimitPart::Return]) {
        if let Some(figures) = all.figures.get_mut(at) {
            figures.over = false;
        }
    }
    Ok(RequestDecision { figures: all.figures, denied })
}

/// A request that is being decided.
struct PendingDecision<'d> {
    link: &'d Link,
    checks: &'d [LimitCheck],
    parts: Vec<LimitPart>,
    figures: Vec<Figures>,
}

impl<'d> PendingDecision<'d> {
    /// The positions of the asks that have one of these parts.
    fn of(&self, wanted: &[LimitPart]) -> Vec<usize> {
        let parts = self.parts.iter().enumerate();
        parts.filter(|(_, part)| wanted.contains(part)).map(|(at, _)| at).collect()
    }

    fn over(&self, at: usize) -> bool {
        self.figures.get(at).is_some_and(|figures| figures.over)
    }

    fn any_over(&self, which: &[usize]) -> bool {
        which.iter().any(|&at| self.over(at))
    }

    /// True if all limits in quota mode deny.
    fn quota_is_over(&self) -> bool {
        let quota = self.of(&[LimitPart::Quota, LimitPart::QuotaLook]);
        !quota.is_empty() && quota.iter().all(|&at| self.over(at))
    }

    /// Starts the decision: gives units back, and looks at the limits to be looked at. Returns the
    /// round for the other commands. It is a second one if they depend on the answers to the first.
    async fn begin(&mut self) -> Result<RoundTrip<'d>, LinkError> {
        let mut round = RoundTrip::new(self.checks);
        for at in self.of(&[LimitPart::Return]) {
            round.give_back(at);
        }
        round.look_at(&self.of(&[LimitPart::Gate, LimitPart::QuotaLook, LimitPart::View, LimitPart::Return]));
        if !self.parts.contains(&LimitPart::Gate) {
            return Ok(round);
        }
        round.send(self.link, &mut self.figures).await?;
        Ok(RoundTrip::new(self.checks))
    }

    /// Gives back the units that these asks took.
    async fn give_back(&mut self, which: &[usize]) -> Result<(), LinkError> {
        if which.is_empty() {
            return Ok(());
        }
        let mut round = RoundTrip::new(self.checks);
        for &at in which {
            round.give_back(at);
            round.view(at);
        }
        round.send(self.link, &mut self.figures).await?;
        self.give_back_overruled(which).await
    }

    /// Gives the units back once more if limits of the key's own had granted them. The first
    /// attempt named the limits of the rule, and so gave nothing back.
    async fn give_back_overruled(&mut self, which: &[usize]) -> Result<(), LinkError> {
        let mut round = RoundTrip::new(self.checks);
        for &at in which {
            if self.figures.get(at).is_some_and(|figures| figures.overruled) {
                round.give_back_last(at);
                round.view(at);
            }
        }
        round.send(self.link, &mut self.figures).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TimeUnit, UnitAlgorithm};

    fn check(mode: DenialEffect, hits: Hits) -> LimitCheck {
        let rule =
            DescriptorLimits { mode, ..DescriptorLimits::new(UnitAlgorithm::Fixed, 5, TimeUnit::Second) };
        LimitCheck { key: "k".into(), rule: Arc::new(rule), hits }
    }

    #[test]
    fn hits_of_both_fields() {
        assert_eq!(Hits::of(3, false), Hits::Take(3));
        assert_eq!(Hits::of(0, false), Hits::Look);
        assert_eq!(Hits::of(0, true), Hits::Look);
        assert_eq!(Hits::of(7, true), Hits::GiveBack(7));
        assert_eq!(Hits::of(u64::MAX, false), Hits::Take(MOST_UNITS));
    }

    #[test]
    fn one_quota_alone_is_taken_with_the_others() {
        use DenialEffect::{Enforced, Quota, Shadow};
        use Hits::{GiveBack, Look, Take};
        let of = |checks: &[(DenialEffect, Hits)]| {
            parts(&checks.iter().map(|&(mode, hits)| check(mode, hits)).collect::<Vec<_>>())
        };
        assert_eq!(of(&[(Enforced, Take(1)), (Quota, Take(1))]), [LimitPart::Together, LimitPart::Together]);
        assert_eq!(of(&[(Quota, Take(1)), (Quota, Take(1))]), [LimitPart::Quota, LimitPart::Quota]);
        assert_eq!(of(&[(Quota, Take(1)), (Quota, GiveBack(1))]), [LimitPart::Together, LimitPart::Return]);
        assert_eq!(of(&[(Quota, Look), (Quota, Take(1))]), [LimitPart::QuotaLook, LimitPart::Quota]);
        assert_eq!(
            of(&[(Quota, Look), (Shadow, Take(1)), (Shadow, Look)]),
            [LimitPart::Gate, LimitPart::Apart, LimitPart::View]
        );
    }
}
