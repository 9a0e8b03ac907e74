//! Parts of the text that users write, and how errors show them.

pub mod decimal;
pub mod duration;
pub mod hundredths;
pub mod percent;
pub mod prefix;
pub mod token;
