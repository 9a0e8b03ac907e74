//! Where the keys of a call are among its arguments.

use crate::server::boundary;
use crate::server::ffi::args::Args;
use crate::server::load::command::Keys;

/// The positions of a call's keys. The command's name is at position 0. After a panic there are none.
pub(super) fn positions(args: Args<'_>, keys: Keys) -> Vec<usize> {
    boundary::guard(|| find(args, keys)).unwrap_or_default()
}

fn find(args: Args<'_>, keys: Keys) -> Vec<usize> {
    let last = args.len();
    match keys {
        Keys::None => Vec::new(),
        Keys::First => (1..=last.min(1)).collect(),
        Keys::All => (1..=last).collect(),
        Keys::Pairs => (1..=last).step_by(2).collect(),
        Keys::Counted { count, step } => {
            let at = usize::try_from(count).unwrap_or(0);
            let step = usize::try_from(step).unwrap_or(1).max(1);
            let number = args
                .get(at.saturating_sub(1))
                .and_then(|arg| crate::core::text::duration::whole_number(arg.bytes()))
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0);
            (at + 1..=last).step_by(step).take(number).collect()
        }
        Keys::FirstAndAfter(keyword) => {
            let mut found: Vec<usize> = (1..=last.min(1)).collect();
            // A position is one more than its index, and the key follows the keyword.
            let after =
                args.iter().enumerate().skip(1).find(|(_, arg)| arg.is(keyword)).map(|(index, _)| index + 2);
            found.extend(after.filter(|&position| position <= last));
            found
        }
    }
}
