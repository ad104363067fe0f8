//! What the setups of a merged result say of each mode.

use super::with_std;
use crate::model::merging::{Member, Merging, Setup, Strategy};

/// The columns of the tables of modes.
pub(super) const COLUMNS: [&str; 7] = ["mode", "setup", "f, Hz", "± std", "ξ, %", "± std", "MAC"];

/// The columns of the table of setups.
pub(super) fn setup_columns(merging: &Merging) -> [&'static str; 5] {
    match merging.strategy {
        Strategy::Poser => ["setup", "analysis", "made", "duration, s", "channels"],
        Strategy::Preger | Strategy::Poger => ["setup", "files", "share, %", "duration, s", "channels"],
    }
}

/// One row for each setup that has the mode. `modes`: of [`Merging`]; those that are left out have no number.
pub(super) fn rows(modes: &[Vec<Member>], are_merged: bool) -> Vec<Vec<String>> {
    let percent = |ratio: Option<f64>| ratio.map(|ratio| 100.0 * ratio);
    let row = |number: usize, member: &Member| {
        let (frequency, frequency_std) = with_std(Some(member.frequency_hz), member.frequency_std_hz, 4);
        let (damping, damping_std) = with_std(percent(member.damping_ratio), percent(member.damping_ratio_std), 2);
        let number = if are_merged { number.to_string() } else { "–".to_owned() };
        let mac = member.mac.map_or("–".to_owned(), |mac| format!("{mac:.4}"));
        vec![number, (member.setup + 1).to_string(), frequency, frequency_std, damping, damping_std, mac]
    };
    let of_mode =
        |(number, members): (usize, &Vec<Member>)| members.iter().map(|member| row(number, member)).collect::<Vec<_>>();
    (1..).zip(modes).flat_map(of_mode).collect()
}

/// One row a setup.
pub(super) fn setup_rows(merging: &Merging) -> Vec<Vec<String>> {
    let row = |(number, setup): (usize, &Setup)| {
        let [first, second] = match merging.strategy {
            Strategy::Poser => [setup.analysis_id.clone().unwrap_or("–".into()), setup.created_at.to_string()],
            Strategy::Preger | Strategy::Poger => {
                let share = setup.share.map_or("–".to_owned(), |share| format!("{:.1}", 100.0 * share));
                [setup.files.join(", "), share]
            }
        };
        vec![number.to_string(), first, second, format!("{:.1}", setup.data.duration_s), setup.data.channels.join(", ")]
    };
    (1..).zip(&merging.setups).map(row).collect()
}
