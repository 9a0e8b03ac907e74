//! The pages for users say what is true.

mod moving;
mod promises;
mod readme;
mod reference;
