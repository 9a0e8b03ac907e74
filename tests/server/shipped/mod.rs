//! What is built and run around the module: packages, images, make and monitoring.

mod demo;
mod images;
mod make;
mod monitoring;
mod package;
