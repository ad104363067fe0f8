//! The words that every room shares: records, channels, parameters, modes, results, runs. No I/O.

pub mod record;

pub mod channel;

pub mod motion;

pub mod quantities;

pub mod geometry;

pub mod file_format;

pub mod parameters;

pub mod criteria;

pub mod modes;

pub mod result;

pub mod tracking;

pub mod merging;

pub mod nodes;

pub mod run;

pub mod control;
