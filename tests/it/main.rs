//! All integration tests in one binary: everything is linked once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/raw_files.rs"]
mod raw_files;
mod support;

mod aborts; // aborts over the real broker
mod any_bytes; // broken and alien bytes everywhere: a value or an error, and no panic
mod architecture; // the arrows between the rooms, and the length of a file
mod automatic; // automatic modes on records with known truth
mod bad_data; // broken samples: a result with named warnings, or the one error that says why not
mod bands; // spectra of which only some lines may be in memory at a time
mod cache; // the preprocessed record's file
mod chains; // automatic modes over many chains
mod cli; // messages and exit codes of the command line
mod clocks; // sensors with clocks of their own: rates, drift, offsets, uneven and broken stamps
mod contract; // each promise of each port, against every implementation
mod demo; // the whole worker on a structure of exactly known modes
mod deploy; // what deploy/ says of the worker
mod dialects; // every dialect of text, each with every other
mod disk; // a full disk
mod efdd; // damping from spectra
mod export; // results for other programs, read back
mod faults; // one fault at a time: shutdown, panics, standstill, poison
mod field_records; // measured records as loggers leave them
mod formats; // raw files that are no text: Parquet tables and universal files
mod gpu_runs; // faults, traffic and modes on the GPU
mod gpu_worker; // runs of the whole worker whose GPU fails
mod harmonics; // sinusoids of machines beside the modes
mod http; // the answers of a worker process over a real socket
mod ingest; // raw files of every kind → samples, or one clear error
#[cfg(feature = "kafka-tls")]
mod kafka_tls; // Kafka over TLS
mod line_width; // sinusoids of machines among the peaks of a spectrum
mod log; // what the log says of a run
mod merging; // the results of several setups as one
mod pairs; // what is asked of spectra that stay on the GPU
mod parity; // the GPU's sums against the CPU's, the formula's and exact ones
mod platform; // worker processes on the real servers, as the platform runs them
mod plscf; // pLSCF against exact correlations, chains and pyOMA2's figures
mod preprocess; // calibrate, detrend, filter, decimate; decimated views
mod processes; // two real worker processes, kill -9 at random moments
mod protocol; // the write protocol under every fault that there is, on a paused clock
mod quantities; // displacements, velocities and accelerations in one record
mod reduction; // harmonics taken off a record
mod reference; // CPU sums and SSI against textbook forms and against other packages' figures
mod report; // the page, in a real browser
mod server_faults; // real servers and workers that die or stand still
mod settings; // `check` with one thing wrong at a time; secrets
mod setups; // the records of several setups as one system
mod shaders; // the numbers that shaders and host share
mod systemd; // what systemd is told
mod throughput; // many small runs, and a long queue
mod tracking; // modes beside those of earlier results
mod transfers; // large objects, and answers that break
mod uncertainty; // derivatives against central differences
mod validation; // what the modes make of the record
mod variables; // what no other test depends on does what it says
mod wire; // documents of earlier versions
