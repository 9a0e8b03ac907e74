//! Parts of the text that users write, and how errors show it.

pub mod decimal;
pub mod duration;
pub mod hundredths;
pub mod prefix;
pub mod token;
