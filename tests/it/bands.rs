//! Spectra of which only some lines, and correlations of which only some blocks, may be in memory at a time; and how
//! spectra are kept.

use crate::raw_files::Folder;
use crate::support::correlations::blocks;
use nalgebra::DVector;
use oma_worker::compute::cpu::Cpu;
use oma_worker::compute::{Backend, CrossSpectra, Hermitian, LagAccumulator, LagBlock, LagPlan, WelchPlan};
use oma_worker::modal::automatic::{self, Decimate};
use oma_worker::modal::correlations::Correlations;
use oma_worker::modal::efdd::{self, ModalFilter};
use oma_worker::modal::spectrum::Spectra;
use oma_worker::modal::{ModalError, fdd};
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{FddParameters, SsiParameters};
use oma_worker::model::record::{MemoryRecord, Record, Segment};
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};
use oma_worker::simulate::{Damping, Measurement, ShearChain};

/// Eight channels, in three stretches.
fn record() -> MemoryRecord {
    let chain = ShearChain { dofs: 8, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: (0..8).collect(), sampling_rate_hz: 100.0, samples: 60_000, noise: 0.05, seed: 3 };
    let stretch = |start, samples| Segment { start, samples };
    let stretches = vec![stretch(0, 20_000), stretch(20_100, 3_000), stretch(30_000, 30_000)];
    MemoryRecord::with_segments(100.0, chain.record(&measurement), stretches)
}

fn limited() -> Control {
    Control::none().with_memory_limit(Some(1))
}

/// Every sum has the same terms in the same order, so all is the same to the last bit.
#[test]
fn lines_in_passes_are_those_of_one_pass() {
    const LENGTH: usize = 2048;
    let (record, free, limited) = (record(), Control::none(), limited());
    let [whole, passes] = [&free, &limited].map(|control| Spectra::new(&record, LENGTH, 0.5, &Cpu, control).unwrap());
    // 1 025 lines of 8 × 8 × 16 bytes are a line more than a MiB.
    assert!(whole.whole().is_some() && passes.whole().is_none());
    assert_eq!((whole.segments, &whole.lines), (passes.segments, &passes.lines));
    assert_eq!(whole.total().unwrap(), passes.total().unwrap());
    assert_eq!(whole.singular_values(3).unwrap(), passes.singular_values(3).unwrap());
    let setting = fdd::PeakSetting { band_hz: (0.0, 50.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    let peaks = fdd::peaks(&whole, &setting).unwrap();
    assert!(peaks.len() >= 8);
    assert_eq!(peaks, fdd::peaks(&passes, &setting).unwrap());
    for filter in [ModalFilter::Inverse, ModalFilter::Shape] {
        let bells = |spectra| efdd::bells(spectra, &peaks, filter, LENGTH, 25.0).unwrap();
        assert_eq!(bells(&whole), bells(&passes));
    }
}

/// A band has the matrices of its lines to the last bit, no others but those around it, and its peaks have the same bells.
#[test]
fn a_band_has_its_own_lines_alone() {
    const LENGTH: usize = 2048;
    let (record, control) = (record(), Control::none());
    let whole = Spectra::new(&record, LENGTH, 0.5, &Cpu, &control).unwrap();
    let band = |low, high| Spectra::of_band(&record, (low, high), LENGTH, 0.5, &Cpu, &control).unwrap();
    // Lines 163.84 to 286.72 of 0.0488 Hz, and 0.16 of either edge's more.
    let some = band(8.0, 14.0);
    assert_eq!((some.lines.clone(), some.whole().unwrap().matrices.len()), (136..334, 198));
    assert_eq!((band(0.0, 0.0).lines, band(49.99, 50.0).lines, band(60.0, 70.0).lines), (0..11, 859..1025, 1024..1025));
    assert_eq!((band(0.0, f64::INFINITY).lines, band(49.9, 1e300).lines.end), (whole.lines.clone(), 1025));
    for (of_some, of_whole) in some.singular_values(3).unwrap().iter().zip(whole.singular_values(3).unwrap()) {
        assert_eq!(of_some, &of_whole[some.lines.clone()]);
    }
    let setting = fdd::PeakSetting { band_hz: (8.0, 14.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    let peaks = [&whole, &some].map(|spectra| fdd::peaks(spectra, &setting).unwrap());
    let places = |peaks: &[fdd::Peak]| peaks.iter().map(|peak| peak.line).collect::<Vec<_>>();
    assert!(peaks[1].len() == 2 && places(&peaks[0]) == places(&peaks[1]), "{peaks:?}");
    let bells = [&whole, &some].map(|spectra| {
        let bells = efdd::bells(spectra, &peaks[1], ModalFilter::Shape, LENGTH, 25.0).unwrap();
        bells.into_iter().map(Option::unwrap).collect::<Vec<_>>()
    });
    assert_eq!(bells[0], bells[1]);
}

/// A result says where its spectrum begins, and every method of the FDD run keeps to the band.
#[test]
fn a_result_has_the_spectrum_of_its_band() {
    let chain = ShearChain { dofs: 3, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 64.0, samples: 40_000, noise: 0.05, seed: 6 };
    let folder = Folder::new();
    let columns = chain.record(&measurement);
    let row =
        |t: usize| columns.iter().fold(format!("{}", t as f64 / 64.0), |row, x| row + &format!(",{}", x[t])) + "\n";
    let text = std::iter::once("time,a,b,c\n".into()).chain((0..40_000).map(row)).collect::<String>();
    let file = folder.file("record.csv", text);
    let second = chain.modes()[1].frequency_hz;
    for method in ["fdd", "efdd", "fsdd", "plscf"] {
        let mut request = Request::new(RunType::Fdd, vec![file.clone()]);
        request.parameters.fdd = FddParameters {
            method: Some(method.into()),
            segment_length: Some(512),
            band_low_hz: Some(second - 2.0),
            band_high_hz: Some(second + 2.0),
            ..FddParameters::default()
        };
        let result = pipeline::run(&request, None, folder.path(), &Control::none()).unwrap().result;
        let (axis, spectrum) = (result.spectrum.as_ref().unwrap().frequency_hz, result.spectrum.as_ref().unwrap());
        // The margin is 0.16 of the edge or 10 lines of 0.125 Hz.
        let start = second - 2.0 - (0.16 * (second - 2.0)).max(1.25);
        assert!((axis.start - start).abs() <= 2.0 * axis.step, "{method} begins at {} Hz", axis.start);
        assert!(axis.count < 100 && spectrum.singular_values.iter().all(|values| values.len() == axis.count));
        let highest = spectrum.singular_values[0].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert!((axis.at(highest) - second).abs() <= 2.0 * axis.step, "{method}");
        assert_eq!(result.modes.len(), 1, "{method}");
        assert!((result.modes[0].frequency_hz - second).abs() <= 0.01 * second, "{method}: {:?}", result.modes);
    }
}

/// The first and the last line, neighbours, and lines far from each other, from passes of as few lines as there can be.
#[test]
fn any_lines_can_be_asked_for() {
    // 85 channels: a MiB holds nine lines.
    let noise = |c: usize, t: usize| ((t * (c + 3)) as f32 * 0.37).sin() + ((t * t + c) as f32).cos();
    let channels = (0..85).map(|c| (0..600).map(|t| noise(c, t)).collect()).collect();
    let (record, free, limited) = (MemoryRecord::new(1.0, channels), Control::none(), limited());
    let [whole, passes] = [&free, &limited].map(|control| Spectra::new(&record, 64, 0.5, &Cpu, control).unwrap());
    let each = |spectra: &Spectra<'_>, lines: &[usize]| -> Vec<DVector<f64>> {
        let around = |line: usize| line.saturating_sub(1)..=(line + 1).min(32);
        let power = |g: &Hermitian| DVector::from_vec(g.diagonal());
        spectra.each(lines, |matrices, line| Ok(around(line).map(|near| power(matrices.at(near))).sum())).unwrap()
    };
    for lines in [&[][..], &[0], &[32], &[0, 1, 2, 3, 4, 5, 6, 7, 8], &[3, 4, 9, 10, 11, 30, 32], &[0, 32]] {
        assert_eq!(each(&passes, lines), each(&whole, lines), "{lines:?}");
    }
    assert_eq!(whole.total().unwrap(), passes.total().unwrap());
}

#[test]
fn what_does_not_even_go_line_by_line_is_refused() {
    let record = MemoryRecord::new(1.0, vec![vec![0.0; 3000]; 150]);
    let error = Spectra::new(&record, 64, 0.5, &Cpu, &limited()).err().unwrap().to_string();
    let told =
        "spectral matrices of 150 channels at 3 lines need 2 MiB, OMA_MEMORY_LIMIT_MIB is 1: choose fewer channels";
    assert_eq!(error, told);
}

#[test]
fn subspaces_begin_with_the_same_survey() {
    let record = record();
    let stays = |_: &dyn Record, _| Err(ModalError::Setting("with block_rows given there is one level".into()));
    let decimate: &Decimate<'_> = &stays;
    let parameters =
        SsiParameters { block_rows: Some(10), order_max: Some(30), blocks: Some(10), ..SsiParameters::default() };
    let with = |control| automatic::identify(&record, &parameters, None, decimate, &Cpu, control).unwrap();
    let [whole, passes] = [&Control::none(), &limited()].map(with);
    assert_eq!(whole.modes, passes.modes);
    assert_eq!(whole.evidence, passes.evidence);
}

/// Correlations in 48 blocks with all of eight channels, of 80 lags: 3.8 MiB in all, 0.08 MiB each.
#[test]
fn blocks_made_again_are_those_that_were_kept() {
    const SIZE: (usize, usize) = (80, 48);
    let (record, free, limited) = (record(), Control::none(), limited());
    let references: Vec<usize> = (0..8).collect();
    let [kept, again] =
        [&free, &limited].map(|control| Correlations::new(&record, &references, SIZE, &Cpu, control).unwrap());
    assert_eq!((kept.blocks, again.blocks), (48, 48));
    assert_eq!(kept.edges, again.edges);
    assert_eq!(kept.totals, again.totals);
    assert_eq!(kept.mean(), again.mean());
    assert_eq!(kept.half_difference(), again.half_difference());
    let handfuls = |correlations: &Correlations<'_>| -> Vec<usize> {
        let mut sizes = Vec::new();
        let count = |handful: &[LagBlock]| {
            sizes.push(handful.len());
            Ok(())
        };
        correlations.for_each_handful(count).unwrap();
        sizes
    };
    // A MiB is as much as twelve blocks: eight, the sums, which are as large as three, and the ends of three segments.
    assert_eq!((handfuls(&kept), handfuls(&again)), (vec![10, 10, 10, 10, 8], vec![8; 6]));
    assert_eq!(blocks(&kept), blocks(&again));
}

/// A limit that holds the Hankel matrices, 2.2 MiB, but not the blocks, 7.7 MiB.
#[test]
fn subspaces_whose_blocks_are_made_again_have_the_same_modes_and_deviations() {
    let record = record();
    let decimate: &Decimate<'_> = &|_, _| Err(ModalError::Setting("with block_rows given there is one level".into()));
    let parameters = SsiParameters { block_rows: Some(30), blocks: Some(50), ..SsiParameters::default() };
    let found = |control: &Control| {
        let found = automatic::identify(&record, &parameters, None, decimate, &Cpu, control).unwrap();
        (found.modes, found.stabilization)
    };
    let whole = found(&Control::none());
    assert!(whole.0.len() == 8 && whole.0.iter().all(|mode| mode.frequency_std_hz.is_some()));
    assert_eq!(whole, found(&Control::none().with_memory_limit(Some(3))));
}

/// Hankel matrices of 28 block rows, 8 channels and 8 references take 1.9 MiB, those of 20 just fit.
#[test]
fn block_rows_by_rule_keep_to_the_memory_and_say_so() {
    let record = record();
    let identify = |parameters: &SsiParameters, control: &Control| {
        let decimate: &Decimate<'_> = &|_, _| Err(ModalError::Setting("two hertz want no decimation".into()));
        automatic::identify(&record, parameters, None, decimate, &Cpu, control)
    };
    let by_rule = SsiParameters { decimation_levels: Some(false), ..SsiParameters::default() };
    let (whole, less) = (identify(&by_rule, &Control::none()).unwrap(), identify(&by_rule, &limited()).unwrap());
    assert_eq!((whole.levels[0].block_rows, less.levels[0].block_rows), (28, 20));
    assert!(whole.warnings.is_empty());
    let told = "block_rows is 20 at 100 Hz, by rule it would be 28: OMA_MEMORY_LIMIT_MIB allows no more";
    assert_eq!(less.warnings, [told]);
    assert_eq!((whole.modes.len(), less.modes.len()), (8, 8));
    for (a, b) in whole.modes.iter().zip(&less.modes) {
        // Both are of the same noise: far less than its own scatter lies between them.
        assert!((a.frequency_hz - b.frequency_hz).abs() <= a.frequency_std_hz.unwrap(), "{a:?} {b:?}");
    }
    let asked = SsiParameters { block_rows: Some(28), ..by_rule };
    let error = identify(&asked, &limited()).unwrap_err();
    assert!(
        error.to_string().starts_with("Hankel matrices of 28 block rows, 8 channels and 8 references need 2 MiB"),
        "{error}"
    );
}

/// A backend that is not told how many segments there will be.
struct Untold;

impl Backend for Untold {
    fn name(&self) -> &'static str {
        Cpu.name()
    }

    fn cross_spectra(&self, plan: &WelchPlan) -> Box<dyn CrossSpectra> {
        Cpu.cross_spectra(&WelchPlan { segments: None, ..plan.clone() })
    }

    fn lag_products(&self, plan: &LagPlan) -> Box<dyn LagAccumulator> {
        Cpu.lag_products(plan)
    }
}

/// Forty channels and eighteen segments, which are kept as they are; no more singular values than that are above zero.
#[test]
fn a_large_structure_in_few_segments_has_the_peaks_of_its_sums() {
    const CHANNELS: usize = 40;
    const LENGTH: usize = 1024;
    let chain = ShearChain { dofs: CHANNELS, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let dofs = (0..CHANNELS).collect();
    let measurement = Measurement { dofs, sampling_rate_hz: 100.0, samples: 10_000, noise: 0.05, seed: 5 };
    let (record, control) = (MemoryRecord::new(100.0, chain.record(&measurement)), Control::none());
    let on = |backend| Spectra::new(&record, LENGTH, 0.5, backend, &control).unwrap();
    let (kept, summed) = (on(&Cpu), on(&Untold));
    assert_eq!(kept.segments, 18);
    let values = [&kept, &summed].map(|spectra| spectra.singular_values(20).unwrap());
    let largest = values[1][0].iter().copied().fold(0.0, f64::max);
    for (line, j) in kept.lines.clone().flat_map(|line| (0..20).map(move |j| (line, j))) {
        // Both are eigenvalues of products of the same transforms, to round-off of the largest.
        assert!((values[0][j][line] - values[1][j][line]).abs() <= 1e-12 * largest, "line {line}, value {j}");
    }
    assert!(values[0][18].iter().chain(&values[0][19]).all(|value| *value == 0.0));
    let setting = fdd::PeakSetting { band_hz: (0.0, 20.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    let [a, b] = [&kept, &summed].map(|spectra| fdd::peaks(spectra, &setting).unwrap());
    assert!(!a.is_empty() && a.len() == b.len());
    for (a, b) in a.iter().zip(&b) {
        assert!(a.line == b.line && (a.frequency_hz - b.frequency_hz).abs() <= 1e-9 * b.frequency_hz);
        assert!((&a.shape - &b.shape).norm() <= 1e-6, "{}", a.frequency_hz);
    }
    for filter in [ModalFilter::Inverse, ModalFilter::Shape] {
        let [a, b] = [(&kept, &a), (&summed, &b)].map(|(s, p)| efdd::bells(s, p, filter, LENGTH, 13.5).unwrap());
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((a.damping_ratio - b.damping_ratio).abs() <= 1e-6 * b.damping_ratio);
        }
    }
}
