//! The packages for Python, Node and Rust, and the recipes for other languages.

pub mod control;
mod languages;
pub mod node;
mod python;
pub mod recipes;
mod rights;
mod rust;
