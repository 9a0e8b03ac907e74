//! The pages for users say what is true.

mod commands_md;
mod guide;
mod migration;
mod promises;
mod readme;
mod reference;
mod transcript;
