//! One line of text → cells → numbers.
//!
//! An own splitter, because the rows of a large file are parsed where they lie: a number is read up to its separator
//! in one pass over its bytes, without the copy of each cell that a general CSV reader makes.

/// What stands between two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    /// One character.
    Byte(u8),
    /// Any number of blanks and tabs.
    Blanks,
}

impl Separator {
    /// Cuts the first cell off a line: the cell without blanks and quotes, and what stands behind its separator.
    pub(crate) fn cut(self, line: &[u8]) -> (&[u8], Option<&[u8]>) {
        let line = match self {
            Separator::Blanks => line.trim_ascii_start(),
            Separator::Byte(byte) => &line[line.iter().take_while(|b| **b == b' ' && byte != b' ').count()..],
        };
        if let Some(quoted) = line.strip_prefix(b"\"")
            && let Some(end) = memchr::memchr(b'"', quoted)
        {
            let (cell, after) = (&quoted[..end], &quoted[end + 1..]);
            let rest = match self {
                Separator::Byte(_) => self.cut(after).1,
                Separator::Blanks => Some(after.trim_ascii_start()).filter(|rest| !rest.is_empty()),
            };
            return (cell.trim_ascii(), rest);
        }
        match self {
            Separator::Byte(byte) => match memchr::memchr(byte, line) {
                Some(at) => (line[..at].trim_ascii(), Some(&line[at + 1..])),
                None => (line.trim_ascii(), None),
            },
            Separator::Blanks => {
                let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
                let rest = line[end..].trim_ascii_start();
                (&line[..end], (!rest.is_empty()).then_some(rest))
            }
        }
    }

    /// All cells of a line.
    pub(crate) fn cells(self, line: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = Some(line);
        std::iter::from_fn(move || {
            let (cell, after) = self.cut(rest?);
            rest = after;
            Some(cell)
        })
    }

    /// For messages.
    pub(crate) fn name(self) -> String {
        match self {
            Separator::Blanks => "blanks".into(),
            Separator::Byte(b'\t') => "tab".into(),
            Separator::Byte(byte) => format!("{:?}", char::from(byte)),
        }
    }
}

/// How numbers are written and set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grammar {
    pub(crate) separator: Separator,
    /// `.` or `,`.
    pub(crate) decimal: u8,
    /// Between groups of three digits.
    pub(crate) thousands: Option<u8>,
}

/// The ways in which loggers and spreadsheets write that a value is missing; infinities and NaN are read as numbers.
const MISSING: [&str; 16] =
    ["", "-", "--", "---", "na", "n/a", "#n/a", "n.a.", "null", "none", "nil", "?", "*", "#div/0!", "ovl", "overflow"];

impl Grammar {
    /// A cell's number; NaN where it is empty or says that there is none; `None` where it is something else. An
    /// infinite sample is no measurement and counts as missing.
    pub(crate) fn number(self, cell: &[u8]) -> Option<f64> {
        let cell = cell.trim_ascii();
        match self.written_number(cell) {
            Some(value) => Some(finite(value)),
            None => is_missing(cell).then_some(f64::NAN),
        }
    }

    fn written_number(self, cell: &[u8]) -> Option<f64> {
        if self.decimal == b'.' && self.thousands.is_none() {
            return fast_float2::parse(cell).ok();
        }
        // Longer than any number that an f64 is written as.
        const LONGEST: usize = 64;
        let mut plain = [0; LONGEST];
        let mut length = 0;
        let grouped = self.thousands.is_some() && thousands_of(cell, self.decimal) == self.thousands;
        for &byte in cell {
            let byte = match byte {
                b if grouped && Some(b) == self.thousands => continue,
                b if b == self.decimal => b'.',
                // A point among decimal commas is no number.
                b'.' => return None,
                b => b,
            };
            *plain.get_mut(length)? = byte;
            length += 1;
        }
        fast_float2::parse(&plain[..length]).ok()
    }
}

/// Not a number in place of an infinity.
pub(crate) fn finite(value: f64) -> f64 {
    if value.is_infinite() { f64::NAN } else { value }
}

/// Whether a cell says that there is no value.
pub(crate) fn is_missing(cell: &[u8]) -> bool {
    MISSING.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(cell))
}

/// The sign that sets groups of three digits apart in a number with this decimal sign, if there are such groups.
pub(crate) fn thousands_of(cell: &[u8], decimal: u8) -> Option<u8> {
    let digits = cell.strip_prefix(b"-").or_else(|| cell.strip_prefix(b"+")).unwrap_or(cell);
    let mut parts = digits.splitn(2, |b| *b == decimal);
    let (whole, part) = (parts.next()?, parts.next().unwrap_or_default());
    let sign = *whole.iter().find(|b| matches!(b, b',' | b'.' | b'\'' | b' '))?;
    let mut groups = whole.split(|b| *b == sign);
    let first = groups.next()?;
    let all_digits = |group: &[u8]| group.iter().all(u8::is_ascii_digit);
    let right = (1..=3).contains(&first.len())
        && first[0] != b'0'
        && all_digits(first)
        && all_digits(part)
        && groups.all(|group| group.len() == 3 && all_digits(group));
    right.then_some(sign)
}

/// A cell or line as it stands in a message: not longer than a line.
pub(crate) fn shown(cell: &[u8]) -> String {
    const LONGEST: usize = 40;
    let text = String::from_utf8_lossy(cell);
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grammar(separator: u8, decimal: u8, thousands: Option<u8>) -> Grammar {
        Grammar { separator: Separator::Byte(separator), decimal, thousands }
    }

    #[test]
    fn cells_are_cut_with_quotes_and_blanks_and_at_the_end() {
        let cells = |separator: Separator, line: &str| -> Vec<String> {
            separator.cells(line.as_bytes()).map(|c| String::from_utf8_lossy(c).into_owned()).collect()
        };
        assert_eq!(cells(Separator::Byte(b','), "a, \"b,c\" ,,d,"), ["a", "b,c", "", "d", ""]);
        assert_eq!(cells(Separator::Byte(b'\t'), "1\t 2\t"), ["1", "2", ""]);
        assert_eq!(cells(Separator::Blanks, "  1  2\t3  "), ["1", "2", "3"]);
        assert_eq!(cells(Separator::Blanks, "\"a b\"  \"c\" d"), ["a b", "c", "d"]);
        assert_eq!(cells(Separator::Byte(b';'), "\"open;x"), ["\"open", "x"]);
        assert_eq!(cells(Separator::Byte(b';'), ""), [""]);
    }

    #[test]
    fn numbers_of_every_grammar_are_read_and_others_refused() {
        let point = grammar(b';', b'.', None);
        assert_eq!(point.number(b" +1.5e-3 "), Some(1.5e-3));
        assert_eq!(point.number(b"1,5"), None);
        let comma = grammar(b';', b',', None);
        assert_eq!(comma.number(b"-0,25"), Some(-0.25));
        assert_eq!(comma.number(b"1.5"), None);
        let german = grammar(b';', b',', Some(b'.'));
        assert_eq!((german.number(b"1.234.567,5"), german.number(b"12,5")), (Some(1_234_567.5), Some(12.5)));
        assert_eq!(german.number(b"1.23,5"), None);
        let swiss = grammar(b';', b'.', Some(b'\''));
        assert_eq!((swiss.number(b"-1'234.5"), swiss.number(b"7.5")), (Some(-1234.5), Some(7.5)));
        for cell in ["NaN", "inf", "-Infinity", "-", "", "N/A", "1e999"] {
            assert!(point.number(cell.as_bytes()).is_some_and(f64::is_nan), "{cell}");
        }
        assert_eq!(point.number(b"1.5 g"), None);
    }

    #[test]
    fn groups_of_three_digits_are_known() {
        assert_eq!(thousands_of(b"1,234.5", b'.'), Some(b','));
        assert_eq!(thousands_of(b"-12.345.678", b','), Some(b'.'));
        for cell in ["0,123", "1,23", "1234,567", "1,234,5", "12", "a,bcd"] {
            assert_eq!(thousands_of(cell.as_bytes(), b'.'), None, "{cell}");
        }
    }
}
