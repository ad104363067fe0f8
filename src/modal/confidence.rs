//! How sure a mode is, and why not more.

use super::kurtosis::{INDEPENDENT, Kurtosis};
use super::selection::PRECISE_RHO;
use crate::model::modes::{Confidence, Doubt, Mode};
use crate::model::result::Harmonic;

/// Above this expected 1 − MAC the shape is told to be uncertain (automation §7).
const SHAPE_LOSS: f64 = 0.02;

/// Above this σ_ξ/ξ the damping is: the limit of what counts as identifiable (automation §0).
const DAMPING_DEVIATION: f64 = 0.3;

/// Above these a careful user cuts (automation §7): what is left of the Palisaden record is what its makers found.
const RHO: f64 = 6.0;
const SUPPORT: f64 = 0.9;

/// Damping below and phases more scattered than this are those of machines that pass for modes (automation §1.6).
const MACHINE_DAMPING: f64 = 0.003;
const MACHINE_MPC: f64 = 0.75;

/// Standard deviations within which a mode is the harmonic beside it.
const REACH: f64 = 3.0;

/// What else is known when modes are judged.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Those found among the poles.
    pub harmonics: &'a [Harmonic],
    /// Length of the record, s.
    pub duration_s: f64,
}

/// The doubt that a mode is none of the structure.
const HARMONIC: &str = "harmonic";

/// What speaks against a mode, in the order of its weight.
fn doubts(mode: &Mode, Evidence { harmonics, duration_s }: Evidence<'_>) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let mut doubt = |code: &str, message: String| doubts.push(Doubt { code: code.into(), message });
    let at = |harmonic: &&Harmonic| {
        let scatter = mode.frequency_std_hz.unwrap_or(0.0).hypot(harmonic.frequency_std_hz);
        (mode.frequency_hz - harmonic.frequency_hz).abs() <= REACH * scatter
            && mode.damping_ratio.is_none_or(|damping| damping < MACHINE_DAMPING)
    };
    // The kurtosis counts only where the envelope of a mode with this damping would have moved often enough.
    let moves = |damping: f64| damping * mode.frequency_hz * duration_s >= INDEPENDENT;
    let kurtosis = mode.kurtosis.zip(mode.kurtosis_std).map(|(value, std)| Kurtosis { value, std });
    let sinusoid = kurtosis.filter(|kurtosis| kurtosis.is_sinusoid() && mode.damping_ratio.is_none_or(moves));
    if let Some(harmonic) = harmonics.iter().find(at) {
        doubt(HARMONIC, format!("stands on the harmonic at {:.4} Hz", harmonic.frequency_hz));
    } else if let Some(Kurtosis { value, std }) = sinusoid {
        doubt(HARMONIC, format!("kurtosis of the band is {value:.2} ± {std:.2}, 2 for noise and 1 for a sinusoid"));
    }
    if let Some(damping) = mode.damping_ratio.filter(|damping| *damping < MACHINE_DAMPING && mode.mpc < MACHINE_MPC) {
        let message = format!(
            "damping {:.2} % below {} % and MPC {:.2} below {MACHINE_MPC}: like a machine's line",
            100.0 * damping,
            100.0 * MACHINE_DAMPING,
            mode.mpc
        );
        doubt("machine_line", message);
    }
    if let Some(loss) = mode.expected_mac_loss.filter(|loss| *loss > SHAPE_LOSS) {
        doubt("shape_uncertain", format!("expected 1 − MAC of the shape is {loss:.3}, above {SHAPE_LOSS}"));
    }
    if let (Some(damping), Some(std)) = (mode.damping_ratio, mode.damping_ratio_std)
        && !(std <= DAMPING_DEVIATION * damping)
    {
        let part = 100.0 * std / damping;
        let limit = 100.0 * DAMPING_DEVIATION;
        doubt("damping_uncertain", format!("standard deviation of the damping is {part:.0} % of it, above {limit} %"));
    }
    if let Some(rho) = mode.rho.filter(|rho| *rho > RHO) {
        doubt("imprecise", format!("frequency scatters {rho:.1} times more than it could, above {RHO}"));
    }
    // A precise mode needs few orders, as it does to be selected.
    let is_precise = mode.rho.is_some_and(|rho| rho < PRECISE_RHO);
    if let Some(support) = mode.support.filter(|support| *support < SUPPORT && !is_precise) {
        let (support, limit) = (100.0 * support, 100.0 * SUPPORT);
        doubt("little_support", format!("{support:.0} % of the orders have it, below {limit} %"));
    }
    doubts
}

/// Writes the doubts into the mode and what follows of them.
pub fn judge(mode: &mut Mode, evidence: Evidence<'_>) {
    mode.doubts = doubts(mode, evidence);
    let is_foreign = mode.doubts.iter().any(|doubt| doubt.code == HARMONIC);
    mode.confidence = match mode.doubts.len() {
        _ if is_foreign => Some(Confidence::Low),
        // A peak without anything to judge by.
        0 if mode.support.is_none() && mode.frequency_std_hz.is_none() => None,
        0 => Some(Confidence::High),
        1 => Some(Confidence::Moderate),
        _ => Some(Confidence::Low),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::modes::Shape;
    use nalgebra::{Complex, DVector};

    fn mode() -> Mode {
        let shape = Shape(DVector::from_element(3, Complex::new(1.0, 0.0)));
        Mode {
            damping_ratio: Some(0.01),
            damping_ratio_std: Some(0.001),
            frequency_std_hz: Some(0.002),
            support: Some(1.0),
            rho: Some(1.5),
            expected_mac_loss: Some(0.001),
            ..Mode::new(5.0, shape, (1.0, 0.0))
        }
    }

    fn codes(mut mode: Mode, harmonics: &[Harmonic]) -> (Option<Confidence>, Vec<String>) {
        judge(&mut mode, Evidence { harmonics, duration_s: 600.0 });
        (mode.confidence, mode.doubts.into_iter().map(|doubt| doubt.code).collect())
    }

    #[test]
    fn each_doubt_has_its_limit() {
        assert_eq!(codes(mode(), &[]), (Some(Confidence::High), vec![]));
        let one = |mode: Mode, code: &str| {
            assert_eq!(codes(mode, &[]), (Some(Confidence::Moderate), vec![code.to_owned()]));
        };
        one(Mode { expected_mac_loss: Some(0.021), ..mode() }, "shape_uncertain");
        one(Mode { damping_ratio_std: Some(0.0031), ..mode() }, "damping_uncertain");
        one(Mode { damping_ratio_std: Some(f64::NAN), ..mode() }, "damping_uncertain");
        one(Mode { rho: Some(6.1), ..mode() }, "imprecise");
        one(Mode { support: Some(0.89), rho: Some(3.1), ..mode() }, "little_support");
        assert_eq!(codes(Mode { support: Some(0.6), ..mode() }, &[]).1, Vec::<String>::new());
        one(Mode { damping_ratio: Some(0.0029), damping_ratio_std: Some(0.0001), mpc: 0.7, ..mode() }, "machine_line");
        let two = codes(Mode { rho: Some(9.0), support: Some(0.6), ..mode() }, &[]);
        assert_eq!(two, (Some(Confidence::Low), vec!["imprecise".into(), "little_support".into()]));
    }

    #[test]
    fn a_harmonic_is_no_mode_of_the_structure_but_a_mode_beside_one_is() {
        let harmonic = Harmonic {
            frequency_hz: 5.001,
            frequency_std_hz: 0.0001,
            damping_ratio: 0.0,
            support: Some(1.0),
            strongest_row: 0,
            kurtosis: None,
            kurtosis_std: None,
            rms_parts: None,
        };
        let sharp = Mode { damping_ratio: Some(0.0005), damping_ratio_std: Some(0.0001), ..mode() };
        assert_eq!(codes(sharp, std::slice::from_ref(&harmonic)).0, Some(Confidence::Low));
        assert_eq!(codes(mode(), std::slice::from_ref(&harmonic)).0, Some(Confidence::High));
        let by_kurtosis = Mode { kurtosis: Some(1.1), kurtosis_std: Some(0.02), ..mode() };
        assert_eq!(codes(by_kurtosis.clone(), &[]), (Some(Confidence::Low), vec!["harmonic".into()]));
        // In ten minutes the envelope of a mode of 0.1 % moves three times.
        let light = Mode { damping_ratio: Some(0.001), damping_ratio_std: Some(0.0001), ..by_kurtosis };
        assert_eq!(codes(light, &[]), (Some(Confidence::High), vec![]));
    }

    #[test]
    fn a_picked_peak_without_numbers_has_no_confidence() {
        let peak = Mode::new(5.0, mode().shape, (1.0, 0.0));
        assert_eq!(codes(peak, &[]), (None, vec![]));
    }
}
