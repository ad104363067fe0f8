//! Operational Modal Analysis: natural frequencies, damping ratios and mode shapes of a structure
//! from its ambient vibration alone.
//!
//! # The house
//!
//! Data flows down this picture and never back up; each room knows only the rooms below it.
//!
//! ```text
//!                commands            run · demo · analyze · check · seed · enqueue · abort · status   (the only user of anyhow)
//!                    │
//!              http │                 /live, /ready, /metrics, /status
//!                 worker              claim → mark → compute → results → commit → settle
//!      ┌─────────────┼─────────────┐
//!   stores        pipeline       report      stores: RunQueue, Analyses, Catalog, Objects, Statuses, Aborts
//!  embedded          │                       (in a folder, or MongoDB, MySQL, S3 and Kafka)
//!  servers           │                       report: tables and the HTML page
//!                ingest → preprocess → modal         bytes → blocks → blocks → modes (synchronous, no stores, no tokio)
//!                    └──────┬──────────┘
//!                        compute                     trait Backend: cross-spectra, lag products; cpu | gpu (shaders/)
//!                           │
//!                         model                      words that everyone shares, no I/O
//! ```
#![warn(missing_docs)]

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

pub mod http;

pub mod config;

pub mod telemetry;

pub mod commands;
