//! Without the feature `opentelemetry` nothing is counted.

use super::{CallOutcome, DecisionOutcome};

pub(crate) fn decided(_: DecisionOutcome) {}

pub(crate) fn called(_: CallOutcome) {}
