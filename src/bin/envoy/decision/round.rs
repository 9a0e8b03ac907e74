//! Commands that are sent in one round trip, and where their answers belong.

use super::figures::{self, Figures};
use super::{Hits, LimitCheck};
use crate::link::{Link, LinkError};
use redis::{Cmd, Pipeline, Value};

/// The asks to which an answer belongs.
enum Answer {
    /// The answer to a refund, which belongs to none.
    Nothing,
    /// Six integers for each of these asks, in order.
    Batch(Vec<usize>),
    /// The maps of RL.QUOTA for one ask.
    Look(usize),
    /// The same as `Look`, for the figures alone: they do not say that the limit is over.
    View(usize),
}

/// The commands of one round trip.
pub struct RoundTrip<'a> {
    checks: &'a [LimitCheck],
    pipeline: Pipeline,
    answers: Vec<Answer>,
}

impl<'a> RoundTrip<'a> {
    pub fn new(checks: &'a [LimitCheck]) -> Self {
        Self { checks, pipeline: Pipeline::new(), answers: Vec::new() }
    }

    fn add(&mut self, command: Cmd, answer: Answer) {
        self.pipeline.add_command(command);
        self.answers.push(answer);
    }

    /// Adds the command that takes the units of all of these asks, or of none.
    pub fn take_all(&mut self, which: &[usize]) {
        self.batch("ALL", which);
    }

    /// Adds the command that takes the units of each of these asks that is granted.
    pub fn take_each(&mut self, which: &[usize]) {
        self.batch("EACH", which);
    }

    fn batch(&mut self, how: &str, which: &[usize]) {
        if which.is_empty() {
            return;
        }
        let mut command = redis::cmd("RL.BATCH");
        command.arg(how).arg(which.len());
        for check in which.iter().filter_map(|&at| self.checks.get(at)) {
            command.arg(&check.key).arg(&check.rule.limits).arg(check.hits.taken());
        }
        self.add(command, Answer::Batch(which.to_vec()));
    }

    /// Adds a look at each of these asks. It asks for the units that the ask would take, or for
    /// one.
    pub fn look_at(&mut self, which: &[usize]) {
        for &at in which {
            self.quota(at, Answer::Look(at));
        }
    }

    /// Adds a look at one ask for its figures alone.
    pub fn view(&mut self, at: usize) {
        self.quota(at, Answer::View(at));
    }

    fn quota(&mut self, at: usize, answer: Answer) {
        let Some(check) = self.checks.get(at) else { return };
        let mut command = redis::cmd("RL.QUOTA");
        command.arg(&check.key).arg(&check.rule.limits).arg("COST").arg(check.hits.looked_for());
        self.add(command, answer);
    }

    /// Adds the command that gives the units of an ask back on the limits that the rule names.
    pub fn give_back(&mut self, at: usize) {
        let Some(check) = self.checks.get(at) else { return };
        let (Hits::Take(n) | Hits::GiveBack(n)) = check.hits else { return };
        let mut command = redis::cmd("RL.REFUND");
        command.arg(&check.key).arg(n).arg(&check.rule.limits);
        self.add(command, Answer::Nothing);
    }

    /// Adds the command that gives the units of an ask back on the limits of the key's last grant.
    pub fn give_back_last(&mut self, at: usize) {
        let Some(check) = self.checks.get(at) else { return };
        let (Hits::Take(n) | Hits::GiveBack(n)) = check.hits else { return };
        let mut command = redis::cmd("RL.REFUND");
        command.arg(&check.key).arg(n);
        self.add(command, Answer::Nothing);
    }

    /// Sends the commands, and writes the answers to the figures of their asks.
    ///
    /// # Errors
    /// [`LinkError`] if an answer is missing, is an error, or has another form than the command's.
    pub async fn send(self, link: &Link, figures: &mut [Figures]) -> Result<(), LinkError> {
        let Some(check) = self.checks.first().filter(|_| !self.answers.is_empty()) else { return Ok(()) };
        let values = link.ask(self.pipeline, self.answers.len(), &check.key).await?;
        if values.len() != self.answers.len() {
            return Err(LinkError::unreadable());
        }
        for (value, answer) in values.into_iter().zip(self.answers) {
            let value = value.extract_error().map_err(|why| LinkError::refused(&why))?;
            match answer {
                Answer::Nothing => {}
                Answer::Batch(which) => {
                    let Value::Array(replies) = value else { return Err(LinkError::unreadable()) };
                    if replies.len() != which.len() {
                        return Err(LinkError::unreadable());
                    }
                    for (reply, at) in replies.iter().zip(which) {
                        put(figures, at, figures::of_six(reply).ok_or_else(LinkError::unreadable)?);
                    }
                }
                Answer::Look(at) => {
                    put(figures, at, figures::of_quota(&value).ok_or_else(LinkError::unreadable)?);
                }
                Answer::View(at) => {
                    let seen = figures::of_quota(&value).ok_or_else(LinkError::unreadable)?;
                    put(figures, at, Figures { over: false, retry_ms: 0, ..seen });
                }
            }
        }
        Ok(())
    }
}

fn put(figures: &mut [Figures], at: usize, read: Figures) {
    if let Some(place) = figures.get_mut(at) {
        *place = read;
    }
}
