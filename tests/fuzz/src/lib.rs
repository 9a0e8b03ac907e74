//! What the fuzz targets share: reading a history of calls out of bytes, and
//! what must hold of every text, value and circuit.

pub mod circuits;
pub mod draw;
pub mod values;
