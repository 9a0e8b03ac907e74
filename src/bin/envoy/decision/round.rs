//! Commands that travel together, and where their answers belong.

use super::figures::{self, Figures};
use super::{Ask, Hits};
use crate::link::{Link, Unanswered};
use redis::{Cmd, Pipeline, Value};

/// Whose figures an answer holds.
enum Answer {
    /// Nobody's: a refund.
    Nothing,
    /// Of these asks, in order, each its six integers.
    Batch(Vec<usize>),
    /// Of one ask, as RL.QUOTA tells them.
    Look(usize),
    /// As `Look`, but whether it is over the limit was known before.
    View(usize),
}

/// The commands of one round trip.
pub struct Round<'a> {
    asks: &'a [Ask],
    pipeline: Pipeline,
    answers: Vec<Answer>,
}

impl<'a> Round<'a> {
    pub fn new(asks: &'a [Ask]) -> Self {
        Self { asks, pipeline: Pipeline::new(), answers: Vec::new() }
    }

    fn add(&mut self, command: Cmd, answer: Answer) {
        self.pipeline.add_command(command);
        self.answers.push(answer);
    }

    /// Takes all of these or none.
    pub fn take_all(&mut self, which: &[usize]) {
        self.batch("ALL", which);
    }

    /// Takes of these what each grants.
    pub fn take_each(&mut self, which: &[usize]) {
        self.batch("EACH", which);
    }

    fn batch(&mut self, how: &str, which: &[usize]) {
        if which.is_empty() {
            return;
        }
        let mut command = redis::cmd("RL.BATCH");
        command.arg(how).arg(which.len());
        for ask in which.iter().filter_map(|&at| self.asks.get(at)) {
            command.arg(&ask.key).arg(&ask.rule.limits).arg(ask.hits.taken());
        }
        self.add(command, Answer::Batch(which.to_vec()));
    }

    /// Looks whether the hits of each of these, or one, are there.
    pub fn look_at(&mut self, which: &[usize]) {
        for &at in which {
            self.quota(at, Answer::Look(at));
        }
    }

    /// Looks for the figures alone.
    pub fn view(&mut self, at: usize) {
        self.quota(at, Answer::View(at));
    }

    fn quota(&mut self, at: usize, answer: Answer) {
        let Some(ask) = self.asks.get(at) else { return };
        let mut command = redis::cmd("RL.QUOTA");
        command.arg(&ask.key).arg(&ask.rule.limits).arg("COST").arg(ask.hits.looked_for());
        self.add(command, answer);
    }

    /// Gives its hits back, on the limits that the rule names.
    pub fn give_back(&mut self, at: usize) {
        let Some(ask) = self.asks.get(at) else { return };
        let (Hits::Take(n) | Hits::GiveBack(n)) = ask.hits else { return };
        let mut command = redis::cmd("RL.REFUND");
        command.arg(&ask.key).arg(n).arg(&ask.rule.limits);
        self.add(command, Answer::Nothing);
    }

    /// Gives its hits back, on the limits of the key's last grant.
    pub fn give_back_last(&mut self, at: usize) {
        let Some(ask) = self.asks.get(at) else { return };
        let (Hits::Take(n) | Hits::GiveBack(n)) = ask.hits else { return };
        let mut command = redis::cmd("RL.REFUND");
        command.arg(&ask.key).arg(n);
        self.add(command, Answer::Nothing);
    }

    /// Sends all of it and sorts the answers in.
    ///
    /// # Errors
    /// When one is missing, an error, or not what the command answers.
    pub async fn send(self, link: &Link, figures: &mut [Figures]) -> Result<(), Unanswered> {
        let Some(ask) = self.asks.first().filter(|_| !self.answers.is_empty()) else { return Ok(()) };
        let values = link.ask(self.pipeline, self.answers.len(), &ask.key).await?;
        if values.len() != self.answers.len() {
            return Err(Unanswered::unreadable());
        }
        for (value, answer) in values.into_iter().zip(self.answers) {
            let value = value.extract_error().map_err(|why| Unanswered::refused(&why))?;
            match answer {
                Answer::Nothing => {}
                Answer::Batch(which) => {
                    let Value::Array(replies) = value else { return Err(Unanswered::unreadable()) };
                    if replies.len() != which.len() {
                        return Err(Unanswered::unreadable());
                    }
                    for (reply, at) in replies.iter().zip(which) {
                        put(figures, at, figures::of_six(reply).ok_or_else(Unanswered::unreadable)?);
                    }
                }
                Answer::Look(at) => {
                    put(figures, at, figures::of_quota(&value).ok_or_else(Unanswered::unreadable)?);
                }
                Answer::View(at) => {
                    let seen = figures::of_quota(&value).ok_or_else(Unanswered::unreadable)?;
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
