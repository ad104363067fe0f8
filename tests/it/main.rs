//! The tests of the crate from outside, in one binary.

/// The arrows between the rooms.
mod architecture;

/// Messages and exit codes of the command line.
mod cli;

/// The whole worker on a structure of exactly known modes.
mod demo;

/// The page.
mod report;

/// Documents of earlier versions.
mod wire;
