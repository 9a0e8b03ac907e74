//! The page of each command: `pages/NAME.md`.

macro_rules! pages {
    ($($name:literal = $file:literal),* $(,)?) => {
        /// The name of each command and its page, in the order of the table.
        pub const PAGES: &[(&str, &str)] = &[$(($name, include_str!(concat!("pages/", $file)))),*];
    };
}

pages! {
    "RL.ACQUIRE" = "rl.acquire.md",
    "RL.QUOTA" = "rl.quota.md",
    "RL.BATCH" = "rl.batch.md",
    "RL.RESERVE" = "rl.reserve.md",
    "RL.COMMIT" = "rl.commit.md",
    "RL.RELEASE" = "rl.release.md",
    "RL.RENEW" = "rl.renew.md",
    "RL.RESERVATIONS" = "rl.reservations.md",
    "RL.QUEUE" = "rl.queue.md",
    "RL.REFUND" = "rl.refund.md",
    "RL.CHARGE" = "rl.charge.md",
    "RL.RESET" = "rl.reset.md",
    "RL.PIN" = "rl.pin.md",
    "RL.UNPIN" = "rl.unpin.md",
    "RL.BLOCK" = "rl.block.md",
    "RL.UNBLOCK" = "rl.unblock.md",
    "RL.CLEAR" = "rl.clear.md",
    "RL.RECORD" = "rl.record.md",
    "RL.STATS" = "rl.stats.md",
    "RL.USAGE" = "rl.usage.md",
    "RL.POLICY" = "rl.policy.md",
    "RL.METRICS" = "rl.metrics.md",
    "RL.TOP" = "rl.top.md",
    "RL.ALERTS" = "rl.alerts.md",
    "RL.HELP" = "rl.help.md",
    "RL.DEBUG" = "rl.debug.md",
    "CL.THROTTLE" = "cl.throttle.md",
    "RL.THROTTLE" = "rl.throttle.md",
    "GCRA" = "gcra.md",
    "CB.ACQUIRE" = "cb.acquire.md",
    "CB.REPORT" = "cb.report.md",
    "CB.STATE" = "cb.state.md",
    "CB.FORCE" = "cb.force.md",
    "CB.RESET" = "cb.reset.md",
    "CB.PIN" = "cb.pin.md",
    "CB.UNPIN" = "cb.unpin.md",
    "CB.HELP" = "cb.help.md",
}

/// The page on how limits are written.
pub const LIMITS: (&str, &str) = ("limits", include_str!("pages/limits.md"));
/// The page on how breakers are written.
pub const BREAKERS: (&str, &str) = ("breakers", include_str!("pages/breakers.md"));
/// The settings of the module.
pub const SETTINGS: (&str, &str) = ("settings", include_str!("pages/settings.md"));
/// The page for users of other libraries.
pub const MOVING: (&str, &str) = ("moving", include_str!("pages/moving.md"));

/// Every page with its name: first those of the commands, then the others.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGES.iter().copied().chain([LIMITS, BREAKERS, SETTINGS, MOVING])
}

/// The page of a command, if it has one.
pub fn of(name: &str) -> Option<&'static str> {
    PAGES.iter().find(|(of, _)| *of == name).map(|(_, page)| *page)
}
