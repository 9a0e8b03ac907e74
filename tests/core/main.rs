//! Properties of the pure core, each against a slow model that is obviously
//! right.

mod breaker;
mod policies;
mod prefix;
