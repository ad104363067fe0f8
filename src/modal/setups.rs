//! The records of several setups as one system, before any pole is looked for (PreGER, PoGER).
//!
//! Where a structure has more places than there are sensors, some sensors stay, the references, and the others rove.
//! [`merging`](super::merging) joins what was identified of each setup by itself; here the correlations of all setups
//! are joined, so that there is one model, one choice of modes and one damping ratio each, and a mode that is weak in a
//! setup need not be found in it.
//!
//! The excitation is a setup's own, and so is the controllability matrix C_i of its block Hankel matrix: H_i = O_i C_i,
//! where O_i has the rows of the setup's channels. The rows of the references are O_r C_i with the same O_r in all
//! setups. Hence
//!
//! \[w₁ H₁ʳ … w_s H_sʳ\] = O_r \[C₁ … C_s\] = U S Vᵀ, O_r = U S^(1/2), C_i = S^(1/2) V_iᵀ,
//!
//! one decomposition for the state space of all setups ([`Joint`]). In it every setup has O_i = w_i H_i C_i⁺, whatever
//! its excitation, gain and columns: setups may be correlated with different channels, and all that they have are used,
//! not the references alone. w_i = 1/‖ΔH_iʳ‖ with the half-difference ΔH_i of even and odd blocks: a setup counts by
//! how precisely it knows its H_i.
//!
//! - **PreGER** (pre-global-estimation re-scaling): O has the rows of O_r and the roving rows of every O_i; the poles
//!   come from all of them.
//! - **PoGER** (post-global-estimation re-scaling): the poles come from O_r; C has the first block row of O_r and of
//!   every O_i, and a setup's part of a shape is brought to the scale of the references by a complex factor
//!   ([`Rescaling`]). Other packages stack the H_i below each other instead, which takes the C_i for multiples of each
//!   other: where the distribution of the excitation changes, each mode has several poles there.
//!
//! # Source
//! Mevel, Basseville & Benveniste (2002), "Merging sensor data from multiple measurement set-ups"; Döhler, Reynders,
//! Magalhães, Mevel, De Roeck & Cunha (2010), "Pre- and post-identification merging approaches for operational modal
//! analysis with covariance-driven SSI"; Döhler & Mevel (2012), "Modular subspace-based system identification from
//! multi-setup measurements". The normalisation by the columns of one joint decomposition, the weights and the
//! directions are our own.

mod joint;

mod rescaling;

pub use self::joint::{Factors, Joint};
pub use self::rescaling::Rescaling;

use super::ModalError;
use crate::model::channel::Channel;
use std::collections::HashSet;

/// Which channel of which setup is what.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The channels of all setups, in the order of their first appearance.
    pub channels: Vec<Channel>,
    /// Places of the references among them, ascending.
    pub references: Vec<usize>,
    /// One entry a setup.
    pub setups: Vec<Rows>,
}

/// The rows of one setup.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Of every row, its place among the channels of all setups.
    pub places: Vec<usize>,
    /// Rows of the references, in their common order.
    pub references: Vec<usize>,
    /// The others.
    pub roving: Vec<Roving>,
}

/// A channel that is no reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roving {
    /// Its row in the setup.
    pub row: usize,
    /// Its place among the channels of all setups.
    pub place: usize,
    /// One over the number of setups that have it: they are averaged.
    pub share: f64,
}

impl Layout {
    /// From the channels of each setup. A channel of the same name is the same place and direction in every setup. `named`: the
    /// references; otherwise all channels that every setup has.
    ///
    /// # Errors
    /// [`ModalError::Setting`] for less than two setups or a named reference that one of them lacks; [`ModalError::Data`] if no
    /// channel is common, a setup has one twice, or two setups measure it in different units.
    pub fn new(setups: &[&[Channel]], named: Option<&[String]>) -> Result<Layout, ModalError> {
        if setups.len() < 2 {
            return Err(ModalError::Setting(format!("merging needs 2 setups or more, not {}", setups.len())));
        }
        let mut channels: Vec<Channel> = Vec::new();
        let mut places: Vec<Vec<usize>> = Vec::new();
        for (number, setup) in (1..).zip(setups) {
            let mut known = HashSet::new();
            let mut own = Vec::new();
            for channel in *setup {
                if !known.insert(&channel.name) {
                    let message = format!("setup {number} has the channel {} twice", channel.name);
                    return Err(ModalError::Data(message));
                }
                own.push(channels.iter().position(|other| other.name == channel.name).unwrap_or(channels.len()));
                match channels.iter().find(|other| other.name == channel.name) {
                    Some(other) => check_same(other, channel, number)?,
                    None => channels.push(channel.clone()),
                }
            }
            places.push(own);
        }
        let count = |place: usize| places.iter().filter(|own| own.contains(&place)).count();
        let common: Vec<usize> = (0..channels.len()).filter(|&place| count(place) == setups.len()).collect();
        let references = match named {
            None => common,
            Some(named) => named_references(named, &common, &channels)?,
        };
        if references.is_empty() {
            let names =
                |setup: &&[Channel]| setup.iter().map(|channel| channel.name.as_str()).collect::<Vec<_>>().join(", ");
            let setups: Vec<String> =
                (1..).zip(setups).map(|(number, setup)| format!("{number}: {}", names(setup))).collect();
            return Err(ModalError::Data(format!(
                "no channel is common to all {} setups, and without one their shapes have no scale ({})",
                setups.len(),
                setups.join("; ")
            )));
        }
        let rows = |own: Vec<usize>| {
            let row = |place: &usize| own.iter().position(|other| other == place);
            let is_roving = |(_, place): &(usize, &usize)| !references.contains(place);
            let roving = |(row, &place): (usize, &usize)| Roving { row, place, share: 1.0 / count(place) as f64 };
            Rows {
                references: references.iter().filter_map(row).collect(),
                roving: own.iter().enumerate().filter(is_roving).map(roving).collect(),
                places: own.clone(),
            }
        };
        let setups = places.clone().into_iter().map(rows).collect();
        Ok(Layout { channels, setups, references })
    }
}

fn check_same(first: &Channel, other: &Channel, number: usize) -> Result<(), ModalError> {
    let of = |channel: &Channel| format!("{} {}", channel.quantity, channel.unit).trim().to_owned();
    if of(first) == of(other) {
        return Ok(());
    }
    Err(ModalError::Data(format!(
        "channel {} is {} in setup {number} and {} in a setup before it: a reference needs one unit",
        first.name,
        of(other),
        of(first)
    )))
}

fn named_references(named: &[String], common: &[usize], channels: &[Channel]) -> Result<Vec<usize>, ModalError> {
    let known = || common.iter().map(|&place| channels[place].name.as_str()).collect::<Vec<_>>().join(", ");
    let place = |name: &String| {
        common.iter().copied().find(|&place| channels[place].name == *name).ok_or_else(|| {
            let known = known();
            ModalError::Setting(format!("reference channel {name:?} is not in every setup; these are: {known}"))
        })
    };
    let mut places = named.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    places.dedup();
    Ok(places)
}
