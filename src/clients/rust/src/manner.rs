//! How a request for units is decided, besides its limits and its cost.

use std::time::Duration;

/// What [`Acquire`](crate::Acquire) and [`Reserve`](crate::Reserve) have in common.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner {
    pub(crate) wait: Option<Duration>,
    pub(crate) is_critical: bool,
}

/// The public methods that set the field `manner` of a builder. `$more` is what its documentation
/// says of waiting besides.
macro_rules! manner_methods {
    ($($more:literal)*) => {
        /// Lets the request stand in line for up to `wait`, first come first served over all
        /// processes. A caller that drops the future leaves the line.
        $(#[doc = $more])*
        pub fn wait(mut self, wait: std::time::Duration) -> Self {
            self.manner.wait = Some(wait);
            self
        }

        /// Marks the request as critical: it may use the part of a limit that `keep=` keeps.
        pub fn critical(mut self) -> Self {
            self.manner.is_critical = true;
            self
        }
    };
}

pub(crate) use manner_methods;
