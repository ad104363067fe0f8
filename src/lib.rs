//! Operational Modal Analysis: natural frequencies, damping ratios and mode shapes of a structure
//! from its ambient vibration alone.
//!
//! # The house
//!
//! Data flows down this picture and never back up; each room knows only the rooms below it.
//!
//! ```text
//!                commands            run · demo · analyze · merge · report · check · seed · enqueue · abort · status · completions
//!                    │               (the only user of anyhow)
//!     http, systemd │                 /live, /ready, /metrics, /status; the watchdog is fed
//!                 worker              claim → mark → compute → results → commit → settle
//!      ┌─────────────┼─────────────┐
//!   stores        pipeline    report, export  stores: RunQueue, Analyses, Catalog, Objects, Statuses, Aborts
//!  embedded          │             │         (in a folder, or MongoDB, MySQL, S3 and Kafka)
//!  servers           │             │         report: tables and the HTML page; export: files for other programs
//!                ingest → preprocess → modal         bytes → blocks → blocks → modes (synchronous, no stores, no tokio)
//!                    └──────┬──────────┘
//!                        compute    simulate         trait Backend: cross-spectra, lag products on cpu | gpu (shaders/);
//!                           │          │
//!                         model ───────┘             words that everyone shares, no I/O; structures of known modes
//! ```
//!
//! A structural engineer begins with the [`guide`].
#![warn(missing_docs)]

pub mod guide;

pub mod model;

pub mod compute;

pub mod ingest;

pub mod preprocess;

pub mod modal;

pub mod simulate;

pub mod pipeline;

pub mod stores;

pub mod worker;

pub mod report;

pub mod export;

pub mod http;

pub mod systemd;

pub mod config;

pub mod telemetry;

pub mod commands;
