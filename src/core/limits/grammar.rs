//! The parser of limits, with a reason for every refusal.
//!
//! It splits a token at `:` into algorithm, quantity and options. The algorithm reads its own
//! quantity and options. This file reads the options that every limit has.

use super::closing::Closing;
use super::expression::{Expression, Term};
use super::hints;
use super::keep::Keep;
use super::label::Label;
use super::limit::Limit;
use super::limit_set::{Limits, LimitsError, MAX_LIMITS};
use super::options;
use super::per::Charge;
use super::quantity::Reason;
use super::rule::{Rule, TABLE};
use crate::core::limits::options::LimitOptions;
use crate::core::text::duration::whole_number;
use crate::core::text::hundredths::{Hundredths, HundredthsError};
use crate::core::text::percent::Percent;
use crate::core::text::token::TokenError;

/// The longest text that is parsed, in bytes. Eight limits with every option are far shorter.
pub const MAX_TEXT: usize = 4096;

/// The author of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    /// A user.
    User,
    /// The server itself, by [`Limits::canonical`].
    Server,
}

impl Expression {
    /// Parses a `limits` argument.
    ///
    /// # Errors
    /// Names the first bad limit of the list and says why it is refused.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        if text == b"*" {
            return Ok(Self::ServerChosen);
        }
        let terms = terms(text, Author::User)?;
        Ok(Self::Terms(terms))
    }
}

impl Limit {
    /// Parses the text that [`Limit::stored`] wrote.
    ///
    /// # Errors
    /// The same as [`Limits::parse`].
    pub fn parse_stored(text: &[u8]) -> Result<Self, TokenError> {
        match term(text, Author::Server).map_err(|reason| refused(text, reason))? {
            Term::Limit(limit) => Ok(limit),
            Term::Policy(_) => Err(refused(text, "not a limit")),
        }
    }
}

impl Limits {
    /// Parses limits that are written out, without policies and `*`.
    ///
    /// # Errors
    /// Names the first bad limit of the list and says why it is refused.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        Self::from_text(text, Author::User)
    }

    /// Parses the text that [`Limits::canonical`] wrote. It may hold the limit of `CL.THROTTLE`,
    /// which users cannot write.
    ///
    /// # Errors
    /// The same as [`Limits::parse`].
    pub fn parse_stored(text: &[u8]) -> Result<Self, TokenError> {
        Self::from_text(text, Author::Server)
    }

    fn from_text(text: &[u8], author: Author) -> Result<Self, TokenError> {
        if text == b"*" {
            return Err(refused(text, "'*' cannot stand here, write the limits out"));
        }
        let mut limits = Vec::new();
        for term in terms(text, author)? {
            match term {
                Term::Limit(limit) => limits.push(limit),
                Term::Policy(name) => {
                    let token = format!("@{name}");
                    return Err(refused(
                        token.as_bytes(),
                        "a policy cannot stand here, write the limits out",
                    ));
                }
            }
        }
        Self::new(limits).map_err(|why| refused(text, why))
    }
}

fn refused(token: &[u8], reason: impl std::fmt::Display) -> TokenError {
    TokenError::new("limit", token, reason)
}

/// The entries of a list. No two limits among them have the same name.
fn terms(text: &[u8], author: Author) -> Result<Vec<Term>, TokenError> {
    if text.is_empty() {
        return Err(refused(text, "empty"));
    }
    if text.len() > MAX_TEXT {
        return Err(refused(text, "longer than 4096 bytes"));
    }
    let last = text.split(|&b| b == b',').count() - 1;
    let mut terms: Vec<Term> = Vec::new();
    for (at, token) in text.split(|&b| b == b',').enumerate() {
        if token.is_empty() {
            let reason = match at {
                0 => "nothing before the first comma",
                _ if at == last => "nothing after the last comma",
                _ => "nothing between two commas",
            };
            return Err(refused(text, reason));
        }
        if at == MAX_LIMITS {
            return Err(refused(token, LimitsError::TooMany));
        }
        let term = term(token, author).map_err(|reason| refused(token, reason))?;
        if terms.iter().any(|other| same_name(other, &term)) {
            return Err(refused(token, "another limit has the same name"));
        }
        terms.push(term);
    }
    Ok(terms)
}

fn same_name(a: &Term, b: &Term) -> bool {
    match (a, b) {
        (Term::Limit(a), Term::Limit(b)) => a.name.is_some() && a.name == b.name,
        _ => false,
    }
}

/// Parses one entry of a list.
fn term(token: &[u8], author: Author) -> Result<Term, Reason> {
    // All other valid bytes are printable ASCII. Blanks and control characters get a reason of
    // their own, because they are hard to see.
    if token.iter().any(u8::is_ascii_whitespace) {
        return Err("has white space, write limits without any, as in 10/s,1000/h".into());
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err("has bytes other than printable ASCII".into());
    }
    if token == b"*" {
        return Err("'*' stands alone, without other limits".into());
    }
    if let Some(reason) = hints::wrong_separator(token) {
        return Err(reason);
    }
    match token.strip_prefix(b"@") {
        Some([]) => Err("missing policy name after '@'".into()),
        Some(name) if name.contains(&b':') => {
            Err("a policy takes no options here, RL.POLICY SET gives them".into())
        }
        Some(name) => match Label::parse(name) {
            Ok(name) => Ok(Term::Policy(name)),
            Err(reason) => Err(format!("policy {reason}").into()),
        },
        None => limit(token, author).map(Term::Limit),
    }
}

/// Parses one limit that is written out.
fn limit(token: &[u8], author: Author) -> Result<Limit, Reason> {
    let mut segments = segments(token);
    let head = segments.next().unwrap_or_default();
    if head.eq_ignore_ascii_case(b"unlimited") {
        return match segments.next() {
            None => Ok(Limit::unlimited()),
            Some(_) => Err("unlimited takes no options".into()),
        };
    }
    let named = TABLE.iter().find(|row| {
        row.name.as_bytes().eq_ignore_ascii_case(head) && (row.public || author == Author::Server)
    });
    let (row, quantity) = match named {
        Some(row) => match segments.next() {
            Some(quantity) => (row, quantity),
            None => return Err(format!("missing ':' and count after {}", row.name).into()),
        },
        // Without an algorithm, the first of the table is meant.
        None => match TABLE.first() {
            Some(row) if quantity_like(head) => (row, head),
            _ if head.is_empty() => return Err("missing algorithm before ':'".into()),
            _ => return Err(hints::unknown_algorithm(head, token)),
        },
    };
    if quantity.is_empty() {
        return Err("missing count".into());
    }
    let more = if author == Author::Server { options::STORED } else { &[] };
    let foreign = |key: &[u8]| hints::unknown_option(key, row.name);
    let options = LimitOptions::parse(segments, row.options, more, foreign);
    // The quantity comes first in the text, so its fault is reported first, even if an option is
    // wrong as well.
    let rule = match &options {
        Ok(options) => (row.parse)(quantity, options)?,
        Err(reason) => {
            (row.parse)(quantity, &LimitOptions::default())?;
            return Err(reason.clone());
        }
    };
    with_common_options(rule, &options?)
}

/// The parts of a token between its colons. Only one value holds a colon itself: the time of day in
/// `from=09:00`.
fn segments(token: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(token);
    std::iter::from_fn(move || {
        let text = rest?;
        let colon = |from: usize| {
            let tail = text.get(from..).unwrap_or_default();
            tail.iter().position(|&b| b == b':').map(|at| from + at)
        };
        let mut end = colon(0);
        if let Some(at) = end
            && holds_time_of_day(text, at)
        {
            end = colon(at + 1);
        }
        let (segment, tail) = text.split_at(end.unwrap_or(text.len()));
        rest = end.map(|_| tail.get(1..).unwrap_or_default());
        Some(segment)
    })
}

/// True if the colon at `at` is that of `from=HH:MM`, or was meant to be.
fn holds_time_of_day(text: &[u8], at: usize) -> bool {
    let few_digits = |text: &[u8]| matches!(text.len(), 1 | 2) && text.iter().all(u8::is_ascii_digit);
    let (before, after) = text.split_at(at);
    let after = after.get(1..).unwrap_or_default().split(|&b| b == b':').next().unwrap_or_default();
    let hour = before.split_at_checked(5).filter(|(name, _)| name.eq_ignore_ascii_case(b"from="));
    hour.is_some_and(|(_, hour)| few_digits(hour)) && few_digits(after)
}

/// True if `text` could be meant as `count/period` without an algorithm.
fn quantity_like(text: &[u8]) -> bool {
    text.contains(&b'/') || text.first().is_some_and(|b| b.is_ascii_digit() || b"+-.".contains(b))
}

/// Adds the options that every limit has.
fn with_common_options(rule: Rule, options: &LimitOptions<'_>) -> Result<Limit, Reason> {
    let mut limit = Limit::plain(rule);
    if !limit.rule.can_close()
        && let Some(name) = options::CLOSING.iter().find(|name| options.get(name).is_some())
    {
        return Err(format!("{name}= is not for {}", limit.rule.name()).into());
    }
    if let Some(name) = options.get("name") {
        limit.name = Some(Label::parse(name)?);
    }
    if let Some(per) = options.get("per") {
        limit.charge = charge(per, &limit.rule)?;
    }
    if let Some(part) = options.get("keep") {
        limit.keep = keep(part)?;
    }
    limit.closing = Closing::parse(options)?.map(Box::new);
    if options.get("shadow").is_some() {
        if limit.closing.is_some() {
            return Err("block= needs a limit that denies, shadow never does".into());
        }
        limit.shadow = true;
    }
    if let Some(twin) = options.get("twin") {
        let twin = whole_number(twin).and_then(|twin| u8::try_from(twin).ok());
        limit.twin = twin.ok_or("twin= is not a small number")?;
    }
    Ok(limit)
}

/// Parses the value of `per=` for a limit of this rule.
fn charge(per: &[u8], rule: &Rule) -> Result<Charge, Reason> {
    let is = |word: &str| per.eq_ignore_ascii_case(word.as_bytes());
    match (rule.holds_places(), is("cost")) {
        _ if is("call") => Ok(Charge::Call),
        (true, true) => Ok(Charge::Cost),
        (true, false) => Err("per= must be cost or call".into()),
        (false, true) => Err("per=cost is only for concurrent, other limits charge the cost anyway".into()),
        (false, false) => Err("per= must be call".into()),
    }
}

/// Parses `P%` with 0 < P < 100 and up to two decimals.
fn keep(text: &[u8]) -> Result<Keep, Reason> {
    let Some(number) = text.strip_suffix(b"%") else {
        return Err("keep= needs a percent sign, as in keep=10%".into());
    };
    let Hundredths(share) = Hundredths::parse(number).map_err(|error| match error {
        // A text of other characters than digits and one point is no number, however many decimals
        // it has.
        HundredthsError::TooManyDecimals
            if number.iter().filter(|digit| !digit.is_ascii_digit()).count() == 1 =>
        {
            "keep= has more than two decimals"
        }
        _ => "keep= is not a percentage such as 10% or 12.5%",
    })?;
    if share == 0 {
        return Err("keep= must be above 0%".into());
    }
    Percent::new(share).and_then(Keep::new).ok_or_else(|| "keep= must be below 100%".into())
}
