//! The number at the start of a text, eight digits at a time.
//!
//! Most cells of a logger's file are short decimal numbers, and reading them is most of the work on such a file. Digits
//! are found and weighed eight at once in one 64-bit word (Lemire, "Number parsing at a gigabyte per second", 2021,
//! section 3), and the value is one exact integer times or over one exact power of ten, which rounds correctly (Clinger
//! 1990). Everything else (more digits, larger exponents, words) is left to the caller's general parser.

/// Powers of ten that an f64 holds exactly.
pub(super) const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Powers of ten as integers, up to the most digits of a word.
const WEIGHTS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Every integer up to 2⁵³ is an f64.
pub(super) const EXACT: u64 = 1 << 53;

/// The value of the number at the start of `text` and its length in bytes; `None`: it is not one of the simple ones,
/// which does not mean that it is no number.
#[inline]
pub(super) fn leading(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mantissa, scale, end) = short(text, start).or_else(|| long(text, start))?;
    let power = *POWERS.get(scale.unsigned_abs() as usize).filter(|_| mantissa <= EXACT)?;
    let value = if scale >= 0 { mantissa as f64 / power } else { mantissa as f64 * power };
    // Signs of a vibration come at random: a branch on them would be mispredicted every other time.
    Some((f64::from_bits(value.to_bits() ^ u64::from(negative) << 63), end))
}

/// A number of at most eight digits and signs at `start`: its digits as an integer, how many of them are behind the
/// point, and where it ends.
#[inline]
fn short(text: &[u8], start: usize) -> Option<(u64, i32, usize)> {
    let word = u64::from_le_bytes(*text.get(start..)?.first_chunk::<WORD>()?);
    let mut others = others(word);
    let whole = others.trailing_zeros() / 8;
    if whole == 8 || (word >> (8 * whole)) as u8 != b'.' {
        return None;
    }
    others &= others.wrapping_sub(1);
    let length = others.trailing_zeros() / 8;
    let next = text.get(start + length as usize);
    if length == 1 || next.is_some_and(|next| next.is_ascii_digit() || matches!(next, b'e' | b'E')) {
        return None;
    }
    // The point is left out between what stands before it and what stands behind.
    let (values, before) = (word ^ ZEROS, (1 << (8 * whole)) - 1);
    let digits = values & before | values >> 8 & !before;
    Some((weighed(digits << (8 * (9 - length))), (length - 1 - whole) as i32, start + length as usize))
}

/// A number of more digits, or with an exponent.
fn long(text: &[u8], start: usize) -> Option<(u64, i32, usize)> {
    let (count, whole) = digits(text, start);
    // The word is full: the number may go on.
    if count == WORD {
        return None;
    }
    let (mut at, mut mantissa, mut scale) = (start + count, whole, 0);
    if text.get(at) == Some(&b'.') {
        let (places, fraction) = digits(text, at + 1);
        at += 1 + places;
        mantissa = mantissa * WEIGHTS[places] + fraction;
        scale = places as i32;
        if places == WORD {
            let (places, fraction) = digits(text, at);
            // Seven digits, eight and four are the most that surely fit 64 bits.
            if places > 4 {
                return None;
            }
            at += places;
            mantissa = mantissa * WEIGHTS[places] + fraction;
            scale += places as i32;
        }
    }
    // A sign or a point alone.
    if count == 0 && scale == 0 {
        return None;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let negative = text.get(at + 1) == Some(&b'-');
        let signed = negative || text.get(at + 1) == Some(&b'+');
        let from = at + 1 + usize::from(signed);
        let (count, exponent) = digits(text, from);
        if !(1..=3).contains(&count) {
            return None;
        }
        at = from + count;
        scale += if negative { exponent as i32 } else { -(exponent as i32) };
    }
    Some((mantissa, scale, at))
}

/// Bytes of a word.
const WORD: usize = 8;

/// How many digits stand at `from`, at most eight, and their value.
#[inline]
fn digits(text: &[u8], from: usize) -> (usize, u64) {
    let rest = text.get(from..).unwrap_or_default();
    let word = match rest.first_chunk::<WORD>() {
        Some(word) => *word,
        None => {
            let mut word = [0; WORD];
            word[..rest.len()].copy_from_slice(rest);
            word
        }
    };
    let word = u64::from_le_bytes(word);
    let count = others(word).trailing_zeros() as usize / WORD;
    // The others push out what follows them, and zeros lead.
    (count, weighed((word ^ ZEROS).checked_shl((64 - WORD * count) as u32).unwrap_or(0)))
}

/// Eight times the digit 0.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The top bit of every byte that is no digit, up to the first one at least.
#[inline]
fn others(word: u64) -> u64 {
    // Adding 0x76 sets the top bit of every byte above 9. A carry out of a byte beyond ASCII reaches only bytes behind
    // it, which is no digit itself.
    let values = word ^ ZEROS;
    (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080
}

/// The number whose eight digits are these bytes, the first one lowest.
#[inline]
fn weighed(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_are_counted_and_weighed() {
        for (text, count, value) in [
            ("", 0, 0),
            ("7", 1, 7),
            ("12,9", 2, 12),
            ("00012345", 8, 12345),
            ("123456789", 8, 12_345_678),
            ("99999999", 8, 99_999_999),
            (":/", 0, 0),
            ("1µ", 1, 1),
            ("/1", 0, 0),
        ] {
            assert_eq!(digits(text.as_bytes(), 0), (count, value), "{text}");
        }
    }

    #[test]
    fn what_is_not_simple_is_left_alone() {
        for text in
            ["", "-", ".", "-.", "e5", "nan", "+1", "12345678", "1.1234567890123", "1e", "1e+", "1e400", "9e22e"]
        {
            let read = leading(text.as_bytes());
            assert!(read.is_none_or(|(_, length)| length < text.len()), "{text}: {read:?}");
        }
        assert_eq!(leading(b"9007199254740.993"), None);
    }

    #[test]
    fn a_negative_zero_keeps_its_sign() {
        let (value, length) = leading(b"-0.000;").unwrap();
        assert!(value == 0.0 && value.is_sign_negative() && length == 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        /// Bit for bit the value of the general parser, and its length.
        #[test]
        fn what_is_read_is_rounded_correctly(text in "-?[0-9]{0,9}(\\.[0-9]{0,14})?([eE][-+]?[0-9]{1,3})?[;, eE.x]?[0-9]?") {
            if let Some((value, length)) = leading(text.as_bytes()) {
                let (expected, expected_length) = fast_float2::parse_partial::<f64, _>(text.as_bytes()).unwrap();
                prop_assert_eq!((value.to_bits(), length), (expected.to_bits(), expected_length));
            }
        }
    }
}
