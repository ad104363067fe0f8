//! From vibration to modes: a guide for structural engineers.
//!
//! A structure that stands in the wind, or that people walk on, vibrates a little all the time. Operational modal
//! analysis takes from this ambient vibration alone what a hammer test would give: natural frequencies, damping ratios
//! and mode shapes. This page goes the whole way once, on a frame of three storeys whose modes are exactly known, and
//! says at each step what to look at. Every piece of code on it is run by the tests.
//!
//! # 1. What to measure
//!
//! * **Where.** One channel for each motion that a mode shape should show. A shape is known only where a channel is:
//!   put no channel on a node of the modes you want.
//! * **How fast.** The sampling rate should be at least 2.5 times the highest frequency that you want, behind an
//!   anti-alias filter.
//! * **How long.** The scatter of a damping ratio ξ at frequency f over a record of length T is at best
//!   √(ξ / (2π f T)): for 1 Hz and 1 % a record of 20 minutes leaves 13 % of ξ at high signal-to-noise ratio. A usual
//!   rule is 1000 to 2000 periods of the lowest mode.
//! * **With what.** Displacements, velocities and accelerations may be mixed, in any unit, if each channel says what it
//!   measures ([`Channel::quantity`](crate::model::channel::Channel::quantity), `unit`): shapes come in one quantity. Over a
//!   wide band accelerometers see more: 1 mm at 1 Hz is 10 µm at 10 Hz for the same acceleration.
//! * **By what.** The theory takes the forces as broadband noise. A machine that runs at one speed is none: its line in
//!   the spectrum looks like a mode with nearly no damping.
//!
//! ```
//! use oma_worker::simulate::{Damping, Measurement, ShearChain};
//!
//! // A frame of three storeys: 1 % damping in every mode, the highest one at 12 Hz at most.
//! let frame = ShearChain { dofs: 3, top_frequency_hz: 12.0, damping: Damping::Uniform(0.01) };
//! // Accelerometers on all storeys, 50 Hz, five minutes, 5 % noise of the sensors.
//! let measurement =
//!     Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 50.0, samples: 15_000, noise: 0.05, seed: 7 };
//! let record = frame.record(&measurement);
//! assert_eq!((record.len(), record[0].len()), (3, 15_000));
//! ```
//!
//! # 2. From files to a record
//!
//! [`ingest`](crate::ingest) reads what the loggers wrote and puts all channels on one axis of time;
//! [`preprocess`](crate::preprocess) calibrates, takes off the mean or a trend, filters and decimates, and judges each
//! channel. Gaps are kept: nothing is computed across them. Look at the time histories first: a sensor that hangs, clips
//! or drifts is seen there and nowhere later. `oma-worker analyze FILE --report page.html` shows them under "Record and
//! channels"; a kurtosis far above 3 means shocks or spikes, far below 3 a machine.
//!
//! Here the samples are in memory already:
//!
//! ```
//! # use oma_worker::simulate::{Damping, Measurement, ShearChain};
//! # let frame = ShearChain { dofs: 3, top_frequency_hz: 12.0, damping: Damping::Uniform(0.01) };
//! # let measurement =
//! #     Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 50.0, samples: 15_000, noise: 0.05, seed: 7 };
//! use oma_worker::model::record::{MemoryRecord, Record};
//!
//! let record = MemoryRecord::new(50.0, frame.record(&measurement));
//! assert_eq!(record.info().duration_s(), 300.0);
//! ```
//!
//! # 3. A first look: singular values of the spectra
//!
//! At each frequency the spectra of all channels are one matrix. Its largest singular value is large where any mode is,
//! and its singular vector there is the shape ([`fdd`](crate::modal::fdd)). A peak of the first singular value is a
//! mode, or a machine; two singular values that are both high are two modes side by side.
//!
//! ```
//! # use oma_worker::simulate::{Damping, Measurement, ShearChain};
//! # use oma_worker::model::record::MemoryRecord;
//! # let frame = ShearChain { dofs: 3, top_frequency_hz: 12.0, damping: Damping::Uniform(0.01) };
//! # let measurement =
//! #     Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 50.0, samples: 15_000, noise: 0.05, seed: 7 };
//! # let record = MemoryRecord::new(50.0, frame.record(&measurement));
//! use oma_worker::compute::cpu::Cpu;
//! use oma_worker::modal::fdd;
//! use oma_worker::modal::spectrum::Spectra;
//! use oma_worker::model::control::Control;
//!
//! let control = Control::none();
//! let spectra = Spectra::new(&record, 1024, 0.5, &Cpu, &control)?;
//! let setting = fdd::PeakSetting { band_hz: (0.0, 25.0), overlap: 0.5, prominence: fdd::PROMINENCE };
//! let peaks = fdd::peaks(&spectra, &setting)?;
//! // A peak is as wide as its damping makes it, 2 ξ f, and no finer than a line of the spectrum.
//! for exact in frame.modes() {
//!     let width = 2.0 * exact.damping_ratio * exact.frequency_hz + spectra.line_hz;
//!     assert!(peaks.iter().any(|peak| (peak.frequency_hz - exact.frequency_hz).abs() <= width));
//! }
//! # Ok::<(), oma_worker::modal::ModalError>(())
//! ```
//!
//! # 4. Frequencies, damping and shapes: stochastic subspace identification
//!
//! [`ssi`](crate::modal::ssi) fits a linear system to the correlations of the channels, once for each of many model
//! orders. Each system has poles; a pole that comes again at order after order, with the same frequency, damping and
//! shape, is a mode. The stabilization diagram shows all of them. [`automatic`](crate::modal::automatic) chooses without a
//! hand: it computes the standard deviation of every pole from the scatter between parts of the record, keeps the firm
//! ones, and joins those that agree. Every pole that is refused says why.
//!
//! ```
//! # use oma_worker::simulate::{Damping, Measurement, ShearChain};
//! # use oma_worker::model::record::MemoryRecord;
//! # use oma_worker::compute::cpu::Cpu;
//! # use oma_worker::model::control::Control;
//! # let frame = ShearChain { dofs: 3, top_frequency_hz: 12.0, damping: Damping::Uniform(0.01) };
//! # let measurement =
//! #     Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 50.0, samples: 15_000, noise: 0.05, seed: 7 };
//! # let record = MemoryRecord::new(50.0, frame.record(&measurement));
//! # let control = Control::none();
//! use nalgebra::Complex;
//! use oma_worker::modal::indicators::mac;
//! use oma_worker::modal::{ModalError, automatic};
//! use oma_worker::model::parameters::SsiParameters;
//! use oma_worker::model::record::Record;
//! use oma_worker::preprocess;
//!
//! // Modes far below the sampling rate are looked for in a decimated record.
//! let decimate = |record, factor| match preprocess::decimate(record, factor) {
//!     Ok(decimated) => Ok(Box::new(decimated) as Box<dyn Record>),
//!     Err(error) => Err(ModalError::Setting(error.to_string())),
//! };
//! let decimate: &automatic::Decimate<'_> = &decimate;
//! let found = automatic::identify(&record, &SsiParameters::default(), None, decimate, &Cpu, &control)?;
//! for exact in frame.modes() {
//!     let shape = exact.shape.map(|x| Complex::new(x, 0.0));
//!     // Within five standard deviations, which the method itself tells.
//!     let is_found = found.modes.iter().any(|mode| {
//!         let std = mode.frequency_std_hz.unwrap_or(f64::NAN);
//!         let near = (mode.frequency_hz - exact.frequency_hz).abs() <= 5.0 * std;
//!         near && mac(mode.shape.0.as_view(), shape.as_view()) > 0.99
//!     });
//!     assert!(is_found, "{exact:?}");
//! }
//! # Ok::<(), oma_worker::modal::ModalError>(())
//! ```
//!
//! # 5. What to believe
//!
//! * **f ± std, ξ ± std.** The standard deviation is that of this record; another record of the same length will scatter
//!   as much. Damping scatters far more than frequency, always.
//! * **MPC** near 1: all channels move in phase or in antiphase, as the modes of lightly damped structures do. A low one
//!   is a poor signal, two modes in one, or a structure with strong local damping. In the complexity plot all components
//!   lie on one line.
//! * **MAC matrix.** A high value between two different modes: the channels cannot tell them apart (too few, or in the
//!   wrong places), or one mode was found twice.
//! * **Support, poles.** How much of the model orders agrees.
//! * **Confidence** gathers these and names what speaks against a mode ([`confidence`](crate::modal::confidence)). An uncertain
//!   shape or damping leaves the frequency as good as its standard deviation says.
//! * **The shape itself.** Does it move as a structure can? One channel against all others is a wrong sign in the
//!   wiring more often than a mode.
//! * **Two methods.** What FDD and SSI both find, with a MAC near 1, is there.
//! * **A line with next to no damping** (below 0.2 %) and the same shape as its neighbours is a machine, until shown
//!   otherwise. Sinusoids are told as harmonics, not as modes: by their poles ([`harmonics`](crate::modal::harmonics)) or the
//!   width of their lines ([`line_width`](crate::modal::line_width)); the kurtosis of a band is 1 for a sinusoid and 2 for
//!   what noise drives ([`kurtosis`](crate::modal::kurtosis)). `reduce_harmonics` takes them off the record first
//!   ([`reduction`](crate::modal::reduction)).
//! * **Last month.** A change of some standard deviations in one mode is weather or a change of the structure; in all modes at
//!   once it is mostly weather ([`tracking`](crate::modal::tracking)).
//!
//! # More places than sensors
//!
//! Some sensors stay, the references, and the others rove from setup to setup. Every mode must move at the references: put
//! them where no wanted mode has a node, and take two at least, better three. There are two ways to one result:
//!
//! * **Records first** ([`setups`](crate::modal::setups), `oma-worker analyze --setups preger`): the correlations of all setups
//!   are one model. A mode that is weak in some setup is found with the others, and each mode has one frequency and one damping.
//! * **Results first** ([`merging`](crate::modal::merging), `oma-worker merge`): each setup is analysed by itself, by any method,
//!   and the modes are joined. The way to go where frequencies moved between the setups, with the temperature or the traffic: one
//!   model would blur them. A mode that only one setup has is told, not guessed.
//!
//! # Further
//!
//! `examples/analyze_csv.rs` is the short way from a file to a page, `oma-worker analyze --help` the same without Rust;
//! the methods' sources and equations stand with each of them in [`modal`](crate::modal).
