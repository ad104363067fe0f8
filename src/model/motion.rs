//! The three quantities of motion, each the derivative of the one before over time, and the units that they come in.

/// What a sensor of motion measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Motion {
    /// m.
    Displacement,
    /// m/s.
    Velocity,
    /// m/s².
    Acceleration,
}

/// A unit, its factor to metres and seconds, and the powers of length and time in it.
const UNITS: [(&str, f64, i32, i32); 18] = [
    ("m", 1.0, 1, 0),
    ("km", 1e3, 1, 0),
    ("dm", 0.1, 1, 0),
    ("cm", 0.01, 1, 0),
    ("mm", 1e-3, 1, 0),
    ("µm", 1e-6, 1, 0),
    ("um", 1e-6, 1, 0),
    ("nm", 1e-9, 1, 0),
    ("in", 0.0254, 1, 0),
    ("ft", 0.3048, 1, 0),
    ("g", STANDARD_GRAVITY, 1, -2),
    ("mg", 1e-3 * STANDARD_GRAVITY, 1, -2),
    ("µg", 1e-6 * STANDARD_GRAVITY, 1, -2),
    ("ug", 1e-6 * STANDARD_GRAVITY, 1, -2),
    ("gal", 0.01, 1, -2),
    ("mgal", 1e-5, 1, -2),
    ("s", 1.0, 0, 1),
    ("sec", 1.0, 0, 1),
];

/// m/s², by definition (3rd CGPM, 1901).
const STANDARD_GRAVITY: f64 = 9.80665;

/// Beyond this no power of a unit is a motion.
const MOST_POWER: i32 = 4;

impl Motion {
    /// Each, in the order of their derivatives.
    pub const ALL: [Motion; 3] = [Motion::Displacement, Motion::Velocity, Motion::Acceleration];

    /// How often displacement is derived over time.
    pub fn order(self) -> i32 {
        self as i32
    }

    /// The word in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Motion::Displacement => "displacement",
            Motion::Velocity => "velocity",
            Motion::Acceleration => "acceleration",
        }
    }

    /// Its SI unit.
    pub fn si_unit(self) -> &'static str {
        match self {
            Motion::Displacement => "m",
            Motion::Velocity => "m/s",
            Motion::Acceleration => "m/s²",
        }
    }

    /// The motion that a word means, in English or German, in full or as it is shortened; `None` for any other quantity.
    pub fn named(word: &str) -> Option<Motion> {
        match word.trim().to_lowercase().as_str() {
            "displacement" | "displ" | "disp" | "verschiebung" | "auslenkung" | "schwingweg" | "weg" => {
                Some(Motion::Displacement)
            }
            "velocity" | "vel" | "geschwindigkeit" | "schwinggeschwindigkeit" | "schnelle" => Some(Motion::Velocity),
            "acceleration" | "accel" | "acc" | "beschleunigung" | "schwingbeschleunigung" => Some(Motion::Acceleration),
            _ => None,
        }
    }

    /// The motion that a unit belongs to and the factor to its SI unit, of any spelling: `mm/s2`, `m/s^2`, `m s⁻²`, `g`,
    /// `Gal`, `g·s`. `None` for a unit of anything else, and for one that is not known. Letters of either case are one:
    /// nothing that vibrates is measured in megametres.
    pub fn of_unit(unit: &str) -> Option<(Motion, f64)> {
        let plain = unit.trim().to_lowercase().replace("**", "").replace('^', "").replace('μ', "µ");
        let plain = plain.replace('²', "2").replace('¹', "1").replace('⁻', "-");
        let (mut factor, mut length, mut time) = (1.0, 0, 0);
        for (place, part) in plain.split('/').enumerate() {
            let tokens: Vec<&str> = part.split([' ', '·', '⋅', '*']).filter(|token| !token.is_empty()).collect();
            // What of m/s·s is below the line is anyone's guess.
            if tokens.is_empty() || place > 0 && tokens.len() > 1 {
                return None;
            }
            for token in tokens {
                let (name, power) =
                    token.split_at(token.find(|c: char| c.is_ascii_digit() || c == '-').unwrap_or(token.len()));
                let power = if power.is_empty() { 1 } else { power.parse().ok()? };
                let (_, own, of_length, of_time) = UNITS.iter().find(|(known, ..)| *known == name)?;
                if !(-MOST_POWER..=MOST_POWER).contains(&power) {
                    return None;
                }
                let power = if place > 0 { -power } else { power };
                factor *= own.powi(power);
                length += of_length * power;
                time += of_time * power;
            }
        }
        let motion = Motion::ALL.into_iter().find(|motion| length == 1 && time == -motion.order())?;
        Some((motion, factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_any_spelling_have_their_factor() {
        use Motion::{Acceleration, Displacement, Velocity};
        for spelling in ["m/s2", "m/s^2", "m/s²", "M/S**2", "m/s/s", "m s-2", "m·s⁻²", " m/sec2 "] {
            assert_eq!(Motion::of_unit(spelling), Some((Acceleration, 1.0)), "{spelling}");
        }
        for (unit, motion, factor) in [
            ("g", Acceleration, 9.80665),
            ("mg", Acceleration, 9.80665e-3),
            ("µg", Acceleration, 9.80665e-6),
            ("\u{3bc}g", Acceleration, 9.80665e-6),
            ("Gal", Acceleration, 0.01),
            ("mGal", Acceleration, 1e-5),
            ("cm/s²", Acceleration, 0.01),
            ("in/s2", Acceleration, 0.0254),
            ("mm/s", Velocity, 1e-3),
            ("g·s", Velocity, 9.80665),
            ("ft/s", Velocity, 0.3048),
            ("mm", Displacement, 1e-3),
            ("um", Displacement, 1e-6),
            ("nm", Displacement, 1e-9),
        ] {
            let (found, value) = Motion::of_unit(unit).unwrap();
            assert_eq!(found, motion, "{unit}");
            assert!((value / factor - 1.0).abs() <= 4.0 * f64::EPSILON, "{unit}: {value}");
        }
        for other in
            ["", "V", "mV", "µm/m", "°C", "deg", "m2", "1/s", "m/s·s", "m/s3", "m/s99", "/", "s", "m/", "-", "²"]
        {
            assert_eq!(Motion::of_unit(other), None, "{other}");
        }
    }

    #[test]
    fn words_of_two_languages_mean_a_motion() {
        for motion in Motion::ALL {
            assert_eq!(Motion::named(motion.as_str()), Some(motion));
            assert_eq!(Motion::of_unit(motion.si_unit()), Some((motion, 1.0)));
        }
        assert_eq!(Motion::named(" Beschleunigung "), Some(Motion::Acceleration));
        assert_eq!(Motion::named("Schwinggeschwindigkeit"), Some(Motion::Velocity));
        assert_eq!(Motion::named("DISP"), Some(Motion::Displacement));
        assert!(["", "strain", "inclination", "angular acceleration"].map(Motion::named).iter().all(Option::is_none));
    }
}
