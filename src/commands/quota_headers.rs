//! The limits of a key as HTTP headers: what RL.QUOTA shows with HEADERS.

use crate::commands::quota_view::{QuotaRow, QuotaView};
use crate::core::limits::{Limit, LimitStatus};
use crate::core::retry_after::RetryAfter;
use crate::server::context::Context;
use crate::server::ffi::reply::{Pairs, Reply};
use crate::types::until::Until;

impl QuotaView<'_> {
    /// Sends one flat map of strings, ready to be sent as HTTP headers. If the key has a queue, no
    /// units remain for the request, and it is granted after that: in the time `queue`.
    pub(super) fn send_headers(&self, ctx: &Context<'_>, queue: Option<RetryAfter>) {
        let mut status = self.status();
        if let (Some(status), Some(queue)) = (&mut status, queue) {
            *status = LimitStatus { remaining: Some(0), retry: status.retry.max(queue), ..*status };
        }
        if let Some(block) = self.block {
            let before = status.unwrap_or(LimitStatus::UNLIMITED);
            let mut blocked =
                LimitStatus { remaining: Some(0), retry: before.retry.max(self.retry), ..before };
            // No unit can be granted before the block ends.
            if let Until::At(end) = block.validity.until(self.now) {
                blocked.reset = blocked.reset.at_least(end.since(self.now));
            }
            status = Some(blocked);
        }
        let retry_seconds = match status.map(|status| status.retry) {
            Some(RetryAfter::After(us)) => Some(seconds(us)),
            _ => None,
        };
        let mut fields: Vec<(&str, String)> = Vec::new();
        let visible: Vec<QuotaRow<'_>> =
            self.rows().filter(|row| !row.limit.shadow() && row.limit.capacity().is_some()).collect();
        let names = header_names(&visible);
        let policies: Vec<String> =
            visible.iter().zip(&names).map(|(row, name)| policy_item(row.limit, name)).collect();
        if !policies.is_empty() {
            fields.push(("RateLimit-Policy", policies.join(", ")));
            let denied = self.denied(status, queue);
            let items: Vec<String> = visible
                .iter()
                .zip(&names)
                .map(|(row, name)| Self::limit_item(row, name, denied, retry_seconds))
                .collect();
            fields.push(("RateLimit", items.join(", ")));
        }
        if let Some(LimitStatus { limit: Some(limit), remaining, reset, .. }) = status {
            fields.push(("X-RateLimit-Limit", limit.to_string()));
            fields.push(("X-RateLimit-Remaining", remaining.unwrap_or(limit).to_string()));
            if let Some(at) = reset.moment(self.now) {
                fields.push(("X-RateLimit-Reset", seconds(at.0).to_string()));
            }
        }
        if let Some(seconds) = retry_seconds {
            fields.push(("Retry-After", seconds.to_string()));
        }
        Pairs(fields).send(ctx);
    }

    /// The time until no block and no queue denies the request; `None` if there is neither.
    fn denied(&self, status: Option<LimitStatus>, queue: Option<RetryAfter>) -> Option<RetryAfter> {
        let ends = self.block.map(|block| block.validity.until(self.now).wait(self.now)).max(queue)?;
        // What holds after the block may never grant the request.
        let never = status.is_some_and(|status| status.retry == RetryAfter::Never);
        Some(if never { RetryAfter::Never } else { ends })
    }

    /// Makes `"name";r=50;t=30`. Retry-After must not be earlier than `t`. So a denying limit gives
    /// the time until it grants again, and a limit whose time would be later than Retry-After gives
    /// none. A credit gives none at all.
    fn limit_item(
        row: &QuotaRow<'_>,
        name: &str,
        denied: Option<RetryAfter>,
        retry_after: Option<u64>,
    ) -> String {
        let (remaining, retry) = match denied {
            None => (row.quota.remaining.unwrap_or(0), row.quota.retry),
            Some(denied) => (0, row.quota.retry.max(denied)),
        };
        let at = match retry {
            _ if !row.limit.comes_back() => None,
            RetryAfter::After(us) => Some(seconds(us)),
            RetryAfter::Now => row.quota.reset.micros().map(seconds),
            RetryAfter::Never => None,
        };
        let mut item = format!("\"{name}\";r={}", header_integer(remaining));
        if let Some(at) = at.filter(|&at| retry_after.is_none_or(|retry| at <= retry)) {
            item.push_str(&format!(";t={at}"));
        }
        item
    }
}

/// The names of the limits in the headers. A repeated name gets `-2`, `-3` and so on, so that each
/// item of one field has a name of its own.
fn header_names(rows: &[QuotaRow<'_>]) -> Vec<String> {
    let times = |at: usize, label: &str| rows.iter().take(at).filter(|row| row.label == label).count();
    let name = |(at, row): (usize, &QuotaRow<'_>)| match times(at, row.label) {
        0 => row.label.to_owned(),
        earlier => format!("{}-{}", row.label, earlier + 1),
    };
    rows.iter().enumerate().map(name).collect()
}

/// Makes `"name";q=100;w=60`, where `w` is the time in which `q` comes back, in seconds. `qu` names
/// what the limit counts, if it is not the cost of requests.
fn policy_item(limit: &Limit, label: &str) -> String {
    let mut item = format!("\"{label}\";q={}", header_integer(limit.capacity().unwrap_or(0)));
    if limit.per_call() {
        let counted = if limit.rule().holds_places() { "concurrent-requests" } else { "requests" };
        item.push_str(&format!(";qu=\"{counted}\""));
    }
    if let Some(us) = limit.refill_us() {
        item.push_str(&format!(";w={}", seconds(us)));
    }
    item
}

/// The number as an Integer of structured fields (RFC 9651), which has at most 15 digits.
const fn header_integer(n: u64) -> u64 {
    if n < 1_000_000_000_000_000 { n } else { 999_999_999_999_999 }
}

/// Microseconds as whole seconds, rounded up.
pub(super) const fn seconds(us: u64) -> u64 {
    us.div_ceil(1_000_000)
}
