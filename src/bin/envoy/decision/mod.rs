//! What is asked of Redis for one request, and what the answers come to.
//!
//! The limits that deny are taken by one RL.BATCH ALL: all of them or none. That
//! is the only command of a request without anything of the following.
//!
//! | what | how |
//! |---|---|
//! | shadow limits | an RL.BATCH EACH beside it, in the same round trip |
//! | several limits in quota mode | an RL.BATCH EACH once the others have granted; when none of them grants, the others are given back |
//! | 0 hits | an RL.QUOTA first; when it finds nothing left, nothing is taken |
//! | negative hits | an RL.REFUND, and an RL.QUOTA for the figures, in the same round trip; both once more where the key has other limits than the rule's: a pin |
//!
//! The limits of a request that is denied before they are asked are looked at
//! with RL.QUOTA, for the figures of the answer.

pub mod figures;
mod round;

pub use figures::Figures;

use crate::config::{Mode, Rule};
use crate::link::{Link, Unanswered};
use round::Round;
use std::sync::Arc;

/// The most that a command takes.
pub const MOST_UNITS: u64 = 1_000_000_000_000;

/// What a descriptor does to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// So many are taken, from 1 on.
    Take(u64),
    /// Is there anything left?
    Look,
    /// So many are given back, from 1 on.
    GiveBack(u64),
}

impl Hits {
    /// What Envoy's two fields mean. More than a command takes is more than any
    /// limit has.
    pub fn of(addend: u64, negative: bool) -> Self {
        match (addend.min(MOST_UNITS), negative) {
            (0, _) => Self::Look,
            (n, false) => Self::Take(n),
            (n, true) => Self::GiveBack(n),
        }
    }

    /// How many are taken.
    pub const fn taken(self) -> u64 {
        match self {
            Self::Take(n) => n,
            Self::Look | Self::GiveBack(_) => 0,
        }
    }

    /// For how many it is looked whether they are there.
    const fn looked_for(self) -> u64 {
        match self {
            Self::Take(n) => n,
            Self::Look | Self::GiveBack(_) => 1,
        }
    }
}

/// A limit that a request meets.
#[derive(Debug)]
pub struct Ask {
    pub key: String,
    pub rule: Arc<Rule>,
    pub hits: Hits,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// For each ask.
    pub figures: Vec<Figures>,
    /// The whole request.
    pub denied: bool,
}

/// How a limit takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All or nothing with the others of this part.
    Together,
    /// For itself, and never denying.
    Apart,
    /// For itself, denying when all of this part do.
    Quota,
    /// Looked at; a denial denies the request.
    Gate,
    /// Looked at; denying as those of quota mode do.
    QuotaLook,
    /// Looked at, and never denying.
    View,
    /// Given back.
    Return,
}

/// The part of each. One limit alone in quota mode denies as any other.
fn parts(asks: &[Ask]) -> Vec<Part> {
    let in_quota = |ask: &&Ask| ask.rule.mode == Mode::Quota && !matches!(ask.hits, Hits::GiveBack(_));
    let quota_alone = asks.iter().filter(in_quota).count() == 1;
    asks.iter()
        .map(|ask| match (ask.hits, ask.rule.mode) {
            (Hits::GiveBack(_), _) => Part::Return,
            (Hits::Take(_), Mode::Shadow) => Part::Apart,
            (Hits::Look, Mode::Shadow) => Part::View,
            (Hits::Take(_), Mode::Quota) if !quota_alone => Part::Quota,
            (Hits::Look, Mode::Quota) if !quota_alone => Part::QuotaLook,
            (Hits::Take(_), Mode::Enforced | Mode::Quota) => Part::Together,
            (Hits::Look, Mode::Enforced | Mode::Quota) => Part::Gate,
        })
        .collect()
}

/// Decides about all limits that a request meets; they are of one domain.
///
/// # Errors
/// When Redis does not answer, or answers with an error. What was taken until
/// then stays taken.
pub async fn decide(link: &Link, asks: &[Ask]) -> Result<Decision, Unanswered> {
    let parts = parts(asks);
    let all = |wanted: &[Part]| -> Vec<usize> {
        parts.iter().enumerate().filter(|(_, part)| wanted.contains(part)).map(|(at, _)| at).collect()
    };
    let mut figures = vec![Figures::NONE; asks.len()];
    let over = |figures: &[Figures], at: usize| figures.get(at).is_some_and(|figures| figures.over);

    let together = all(&[Part::Together]);
    let gates = all(&[Part::Gate]);
    let quota_takes = all(&[Part::Quota]);
    let quota_looks = all(&[Part::QuotaLook]);
    let returns = all(&[Part::Return]);

    let mut round = Round::new(asks);
    for &at in &returns {
        round.give_back(at);
    }
    round.look_at(&all(&[Part::Gate, Part::QuotaLook, Part::View, Part::Return]));
    if !gates.is_empty() {
        round.send(link, &mut figures).await?;
        round = Round::new(asks);
    }
    let mut denied = gates.iter().any(|&at| over(&figures, at));
    if denied {
        round.look_at(&together);
    } else {
        round.take_all(&together);
    }
    round.take_each(&all(&[Part::Apart]));
    // Without others before them, those of quota mode need not wait.
    let at_once = together.is_empty() && !denied;
    if at_once {
        round.take_each(&quota_takes);
    }
    round.send(link, &mut figures).await?;
    give_back_overruled(link, asks, &returns, &mut figures).await?;
    denied |= together.iter().any(|&at| over(&figures, at));

    if !at_once && !quota_takes.is_empty() {
        let mut round = Round::new(asks);
        if denied {
            round.look_at(&quota_takes);
        } else {
            round.take_each(&quota_takes);
        }
        round.send(link, &mut figures).await?;
    }
    let in_quota = quota_takes.len() + quota_looks.len();
    let over_quota = quota_takes.iter().chain(&quota_looks).filter(|&&at| over(&figures, at)).count();
    if !denied && in_quota > 0 && over_quota == in_quota {
        denied = true;
        if !together.is_empty() {
            let mut round = Round::new(asks);
            for &at in &together {
                round.give_back(at);
                round.view(at);
            }
            round.send(link, &mut figures).await?;
            give_back_overruled(link, asks, &together, &mut figures).await?;
        }
    }
    for (at, part) in parts.iter().enumerate() {
        if *part == Part::Return
            && let Some(figures) = figures.get_mut(at)
        {
            figures.over = false;
        }
    }
    Ok(Decision { figures, denied })
}

/// Gives back once more where the key's own limits had granted, and not those of
/// the rule: what was named then gave nothing back.
async fn give_back_overruled(
    link: &Link,
    asks: &[Ask],
    which: &[usize],
    figures: &mut [Figures],
) -> Result<(), Unanswered> {
    let mut round = Round::new(asks);
    for &at in which {
        if figures.get(at).is_some_and(|figures| figures.overruled) {
            round.give_back_last(at);
            round.view(at);
        }
    }
    round.send(link, figures).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Algorithm, Unit};

    fn ask(mode: Mode, hits: Hits) -> Ask {
        let rule = Rule { mode, ..Rule::new(Algorithm::Fixed, 5, Unit::Second) };
        Ask { key: "k".into(), rule: Arc::new(rule), hits }
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
        use Hits::{GiveBack, Look, Take};
        use Mode::{Enforced, Quota, Shadow};
        let of = |asks: &[(Mode, Hits)]| {
            parts(&asks.iter().map(|&(mode, hits)| ask(mode, hits)).collect::<Vec<_>>())
        };
        assert_eq!(of(&[(Enforced, Take(1)), (Quota, Take(1))]), [Part::Together, Part::Together]);
        assert_eq!(of(&[(Quota, Take(1)), (Quota, Take(1))]), [Part::Quota, Part::Quota]);
        assert_eq!(of(&[(Quota, Take(1)), (Quota, GiveBack(1))]), [Part::Together, Part::Return]);
        assert_eq!(of(&[(Quota, Look), (Quota, Take(1))]), [Part::QuotaLook, Part::Quota]);
        assert_eq!(
            of(&[(Quota, Look), (Shadow, Take(1)), (Shadow, Look)]),
            [Part::Gate, Part::Apart, Part::View]
        );
    }
}
