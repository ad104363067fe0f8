//! Automatic modes on records with known truth.

use crate::support::real_data;
use nalgebra::{Complex, DVector};
use oma_worker::compute::cpu::Cpu;
use oma_worker::modal::automatic::{self, Decimate, Identified};
use oma_worker::modal::indicators::mac;
use oma_worker::modal::{ModalError, fdd, spectrum};
use oma_worker::model::control::Control;
use oma_worker::model::parameters::SsiParameters;
use oma_worker::model::record::{MemoryRecord, Record};
use oma_worker::preprocess;

pub fn identify(record: &MemoryRecord, parameters: &SsiParameters) -> Identified {
    let decimate = |record, factor| match preprocess::decimate(record, factor) {
        Ok(decimated) => Ok(Box::new(decimated) as Box<dyn Record>),
        Err(error) => Err(ModalError::Setting(error.to_string())),
    };
    let decimate: &Decimate<'_> = &decimate;
    automatic::identify(record, parameters, None, decimate, &Cpu, &Control::none()).unwrap()
}

#[test]
fn scratch() {
    for (file, fs) in [
        ("chain05_10min", 100.0),
        ("pyoma2_5dof_sim_f32", 100.0),
        ("koma_shearframe", 12.0),
        ("cheynet_bridge_rz_f32", 15.0),
        ("pyoma2_palisaden_raw30min_f32", 100.0),
    ] {
        let record = real_data::record(&format!("data/{file}.npy"), fs);
        let n = spectrum::segment_length_by_rule(record.info());
        let g = spectrum::spectral_matrices(&record, n, 0.5, &Cpu, &Control::none()).unwrap();
        let peaks = fdd::peaks(
            &g,
            &fdd::PeakSetting { band_hz: (0.0, fs / 2.0), overlap: 0.5, prominence: 4.0 },
            &Control::none(),
        )
        .unwrap();
        println!(
            "{file} n {n} FDD: {:?}",
            peaks.iter().map(|p| (p.frequency_hz * 1e4).round() / 1e4).collect::<Vec<_>>()
        );
        let t = std::time::Instant::now();
        let found = identify(&record, &SsiParameters::default());
        println!("  {:?} {:?}", t.elapsed(), found.levels);
        for m in &found.modes {
            println!(
                "  {:.4} ± {:.4} xi {:.2} ± {:.2} % mpc {:.3} poles {:?} support {:.2} rho {:.2} contribution {:.3} loss {:.4}",
                m.frequency_hz,
                m.frequency_std_hz.unwrap(),
                100.0 * m.damping_ratio.unwrap(),
                100.0 * m.damping_ratio_std.unwrap(),
                m.mpc,
                m.pole_count,
                m.support.unwrap(),
                m.rho.unwrap(),
                m.modal_contribution.unwrap_or(f64::NAN),
                m.expected_mac_loss.unwrap_or(f64::NAN)
            );
        }
    }
    let _ = (mac(DVector::<Complex<f64>>::zeros(1).as_view(), DVector::zeros(1).as_view()),);
}
