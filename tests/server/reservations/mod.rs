//! Units and places that are taken now and settled later.

mod ends;
mod ownership;
mod partial;
mod places;
mod reserve;
mod torn;
