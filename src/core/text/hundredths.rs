//! Numbers of up to two decimals, such as a factor of `1.5`.

use crate::core::text::duration::{split_number, whole_number};
use crate::core::text::token::shown;

/// A number with up to two decimals, in hundredths; `None` when too large.
///
/// # Errors
/// The reason in a few words.
///
/// ```
/// use floodgate::core::text::hundredths::{decimal, hundredths};
///
/// assert_eq!(hundredths(b"1.5"), Ok(Some(150)));
/// assert_eq!(decimal(150), "1.5");
/// ```
pub fn hundredths(text: &[u8]) -> Result<Option<u64>, String> {
    let (whole, rest) = split_number(text);
    let decimals = match rest {
        [] => 0,
        [b'.', decimals @ ..] if !whole.is_empty() => match decimals {
            [] => return Err("missing decimals after the point".into()),
            [_, _, _, ..] => return Err("at most two decimals".into()),
            [tenths] => whole_number(&[*tenths, b'0']).ok_or("malformed decimals")?,
            both => whole_number(both).ok_or("malformed decimals")?,
        },
        _ => return Err(format!("'{}' is not a number", shown(text))),
    };
    if whole.is_empty() {
        return Err("missing number".into());
    }
    Ok(whole_number(whole).and_then(|n| n.checked_mul(100)?.checked_add(decimals)))
}

/// Hundredths as the shortest decimal: `2`, `1.5`, `1.05`.
pub fn decimal(hundredths: u32) -> String {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match (rest, rest % 10) {
        (0, _) => whole.to_string(),
        (_, 0) => format!("{whole}.{}", rest / 10),
        _ => format!("{whole}.{rest:02}"),
    }
}
