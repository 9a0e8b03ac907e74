//! The order of the layers, held by reading the sources: who may use whom, no
//! circle between files, one name for one type, `unsafe` in one folder.
//!
//! `src/guide/layers.md` explains the order to people.

#![cfg(test)]

mod fences;
mod layers;
mod optimisations;
mod options;
mod sources;
mod type_names;
mod uses;
