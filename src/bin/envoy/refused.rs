//! Commands that Redis refused for a reason that holds for others, too: it is full, or the user lacks a
//! right.

use redis::{Cmd, Pipeline, RedisResult, Value};

/// The codes of such refusals. A server without memory answers OOM, and a missing right is NOPERM. A
/// transaction with a command that was refused is aborted.
const CODES: [&str; 3] = ["OOM", "NOPERM", "EXECABORT"];

/// An argument that no command takes. A command with it changes nothing, because it is malformed. The
/// server looks at rights and memory before that.
const UNKNOWN: &str = "?";

/// Commands that Redis refused, in a form that changes nothing. They are sent again until Redis
/// refuses them for no reason of this kind.
pub struct RefusedCommands {
    /// The commands as they are sent again.
    pub again: Pipeline,
    /// The position of the first answer that counts.
    pub from: usize,
    /// The number of answers that count.
    pub count: usize,
    /// A key in the slot that they are about.
    pub key: String,
}

impl RefusedCommands {
    /// The refused ones among commands that were answered one by one.
    pub fn of(commands: &Pipeline, answers: &RedisResult<Vec<Value>>, key: &str) -> Option<Self> {
        let answers = answers.as_ref().ok()?;
        let refused = commands.cmd_iter().zip(answers).filter(|(_, answer)| refusal(answer).is_some());
        let (again, count) = malformed(refused.map(|(command, _)| command));
        (count > 0).then(|| Self { again, from: 0, count, key: key.to_owned() })
    }

    /// All commands of a transaction, if it was refused.
    pub fn of_transaction(commands: &Pipeline, answers: &RedisResult<Vec<Value>>, key: &str) -> Option<Self> {
        still(answers)?;
        let (mut again, count) = malformed(commands.cmd_iter());
        again.atomic();
        // The answers to MULTI and to each command come first, and then the one to EXEC.
        Some(Self { again, from: count + 1, count: 1, key: key.to_owned() })
    }
}

/// The commands, each with an argument too many, and their number.
fn malformed<'c>(commands: impl Iterator<Item = &'c Cmd>) -> (Pipeline, usize) {
    let mut again = Pipeline::new();
    let mut count = 0;
    for command in commands {
        again.add_command(command.clone()).arg(UNKNOWN);
        count += 1;
    }
    (again, count)
}

/// Why Redis refused commands, if it did so for such a reason.
pub fn still(answers: &RedisResult<Vec<Value>>) -> Option<String> {
    match answers {
        Ok(answers) => answers.iter().find_map(refusal),
        Err(why) => {
            let code = why.code().filter(|code| CODES.contains(code))?;
            Some(format!("{code} {}", why.detail().unwrap_or_default()))
        }
    }
}

fn refusal(answer: &Value) -> Option<String> {
    match answer {
        Value::ServerError(why) if CODES.contains(&why.code()) => {
            Some(format!("{} {}", why.code(), why.details().unwrap_or_default()))
        }
        _ => None,
    }
}
