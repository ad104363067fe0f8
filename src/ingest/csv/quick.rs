//! Rows of plain numbers with the machine's vectors (AVX2), 64 bytes of text at a time.
//!
//! Two steps that do not wait for each other, as in Langdale & Lemire, "Parsing gigabytes of JSON per second" (2019):
//! [`Ends`] finds where cells end, and a cell whose end is known is read from there backwards, so that its last digit
//! always stands in the same place. What is not such a row (quotes, words, blanks behind a number, more than sixteen
//! characters, a cell too many) is left to the row by row reader, which gives the same for every row that is read here.

use super::chunk::{Chunk, Plan, Role};
use crate::ingest::cells::Separator;
use crate::ingest::decimal::{EXACT, POWERS};
use crate::ingest::stamps::{Nanos, StampFormat};
use pulp::x86::V3;
use std::arch::x86_64::__m128i;

/// Reads lines while they are there and nothing is wrong with them.
pub(super) struct Lines<'a> {
    vectors: V3,
    plan: &'a Plan,
    text: &'a [u8],
    chunk: &'a mut Chunk,
    is_last: bool,
    separator: u8,
}

impl<'a> Lines<'a> {
    /// `None` where the machine or the text does not allow it.
    pub(super) fn new(plan: &'a Plan, text: &'a [u8], chunk: &'a mut Chunk, is_last: bool) -> Option<Lines<'a>> {
        let Separator::Byte(separator) = plan.pointed.separator else { return None };
        // A separator between quotes separates nothing.
        let is_plain =
            plan.pointed.decimal == b'.' && plan.pointed.thousands.is_none() && memchr::memchr(b'"', text).is_none();
        let vectors = V3::try_new().filter(|_| is_plain)?;
        Some(Lines { vectors, plan, text, chunk, is_last, separator })
    }

    /// All of them.
    pub(super) fn read(self) {
        self.vectors.vectorize(self);
    }

    /// A row that begins at `start`; where the next line begins, or `None`: it is another kind of line.
    #[inline(always)]
    fn row(&mut self, ends: &mut Ends<'_>, start: usize) -> Option<usize> {
        let (vectors, plan, text) = (self.vectors, self.plan, self.text);
        let base = self.chunk.values.len();
        self.chunk.values.resize(base + plan.columns, f64::NAN);
        let row = self.chunk.values.get_mut(base..)?;
        let (mut from, mut stamp) = (start, 0);
        for (index, role) in plan.roles.iter().enumerate() {
            let end = ends.next()?;
            let is_last = index + 1 == plan.width;
            let mut to = end;
            if *text.get(end)? != if is_last { plan.line_end } else { self.separator } {
                return None;
            }
            if is_last && text.get(end.checked_sub(1)?) == Some(&b'\r') {
                to = end - 1;
            }
            while from < to && text.get(from) == Some(&b' ') {
                from += 1;
            }
            match *role {
                Role::Value(place) => *row.get_mut(place)? = Decimal::of_cell(vectors, text, from, to)?.value()?,
                Role::Stamp => stamp = stamp_of(vectors, plan, text, (from, to))?,
                Role::Clock => return None,
                Role::Skip => {}
            }
            from = end + 1;
        }
        // Behind the last wanted cell the others must be there.
        for index in plan.roles.len()..plan.width {
            let end = ends.next()?;
            if *text.get(end)? != if index + 1 == plan.width { plan.line_end } else { self.separator } {
                return None;
            }
            from = end + 1;
        }
        self.chunk.stamps.push(stamp);
        Some(from)
    }
}

#[inline(always)]
fn stamp_of(vectors: V3, plan: &Plan, text: &[u8], (from, to): (usize, usize)) -> Option<Nanos> {
    let time = plan.time.as_ref()?;
    if let StampFormat::Number { exponent, .. } = time.format
        && let Some(number) = Decimal::of_cell(vectors, text, from, to)
        && let Some(stamp) = number.in_units(exponent as usize)
    {
        return Some(stamp);
    }
    time.parse(text.get(from..to)?.trim_ascii(), &[])
}

impl pulp::NullaryFnOnce for Lines<'_> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let mut ends = Ends::new(self.vectors, self.text, self.separator, self.plan.line_end);
        let mut start = 0;
        while start < self.text.len() && self.chunk.fault.is_none() {
            let (rows, values) = (self.chunk.stamps.len(), self.chunk.values.len());
            start = match self.row(&mut ends, start) {
                Some(next) => {
                    self.chunk.lines += 1;
                    self.chunk.end_tail();
                    next
                }
                None => {
                    self.chunk.stamps.truncate(rows);
                    self.chunk.values.truncate(values);
                    let next = self.chunk.next_line(self.plan, self.text, start, self.is_last);
                    ends.skip_to(next);
                    next
                }
            };
        }
    }
}

/// Bytes that are looked at together: one bit each.
const BLOCK: usize = 64;

/// Where cells end: the places of separators and line ends in a text, ascending.
struct Ends<'a> {
    vectors: V3,
    text: &'a [u8],
    separator: u8,
    line_end: u8,
    /// Start of the block that is looked at, and what was not handed out of it.
    block: usize,
    bits: u64,
}

impl<'a> Ends<'a> {
    #[inline(always)]
    fn new(vectors: V3, text: &'a [u8], separator: u8, line_end: u8) -> Ends<'a> {
        let mut ends = Ends { vectors, text, separator, line_end, block: 0, bits: 0 };
        ends.bits = ends.look();
        ends
    }

    /// The next place; `None` at the end of the text.
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            if self.block >= self.text.len() {
                return None;
            }
            self.block += BLOCK;
            self.bits = self.look();
        }
        let place = self.block + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(place)
    }

    /// Goes to `place`, forwards or backwards.
    #[inline(always)]
    fn skip_to(&mut self, place: usize) {
        self.block = place / BLOCK * BLOCK;
        self.bits = self.look() & u64::MAX << (place % BLOCK);
    }

    /// The bits of the block.
    #[inline(always)]
    fn look(&self) -> u64 {
        let rest = self.text.get(self.block..).unwrap_or_default();
        match rest.first_chunk::<BLOCK>() {
            Some(block) => self.bits_of(*block),
            None => {
                let mut block = [0; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                self.bits_of(block) & !(u64::MAX << rest.len())
            }
        }
    }

    #[inline(always)]
    fn bits_of(&self, block: [u8; BLOCK]) -> u64 {
        let [first, second]: [[u8; 32]; 2] = pulp::cast(block);
        u64::from(self.bits_of_half(first)) | u64::from(self.bits_of_half(second)) << 32
    }

    #[inline(always)]
    fn bits_of_half(&self, half: [u8; 32]) -> u32 {
        let avx2 = self.vectors.avx2;
        let separators = avx2._mm256_cmpeq_epi8(pulp::cast(half), pulp::cast([self.separator; 32]));
        let line_ends = avx2._mm256_cmpeq_epi8(pulp::cast(half), pulp::cast([self.line_end; 32]));
        avx2._mm256_movemask_epi8(avx2._mm256_or_si256(separators, line_ends)) as u32
    }
}

/// A decimal number as it is written: its digits as an integer, and how many of them stand behind the point.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    negative: bool,
    mantissa: u64,
    places: usize,
}

/// Characters that are read together.
const WIDTH: usize = 16;

/// For each number of places behind a point the bytes that stay when the point is taken out and what stands before it
/// moves up; the last row is that of a number without a point.
const WITHOUT_POINT: [[u8; WIDTH]; WIDTH + 1] = {
    let mut rows = [[0; WIDTH]; WIDTH + 1];
    let mut places = 0;
    while places <= WIDTH {
        let mut byte = 0;
        while byte < WIDTH {
            rows[places][byte] = match (places == WIDTH || byte + places >= WIDTH, byte) {
                (true, _) => byte as u8,
                // Nothing stands before the first one: 0.
                (false, 0) => 0x80,
                (false, _) => byte as u8 - 1,
            };
            byte += 1;
        }
        places += 1;
    }
    rows
};

/// For each number of digits the bytes in which they stand.
const LAST: [[u8; WIDTH]; WIDTH + 1] = {
    let mut rows = [[0; WIDTH]; WIDTH + 1];
    let mut digits = 1;
    while digits <= WIDTH {
        let mut byte = WIDTH - digits;
        while byte < WIDTH {
            rows[digits][byte] = 0xff;
            byte += 1;
        }
        digits += 1;
    }
    rows
};

impl Decimal {
    /// The number that fills `text[start..end]`, of at most sixteen characters and a minus; `None`: it is another one,
    /// none, or stands within the first sixteen characters of `text`.
    #[inline(always)]
    fn of_cell(vectors: V3, text: &[u8], start: usize, end: usize) -> Option<Decimal> {
        let V3 { sse2, ssse3, sse4_1, .. } = vectors;
        let negative = *text.get(start)? == b'-';
        let length = end.checked_sub(start + usize::from(negative)).filter(|length| (1..=WIDTH).contains(length))?;
        let window: [u8; WIDTH] = *text.get(end.checked_sub(WIDTH)?..end)?.first_chunk()?;
        let window: __m128i = pulp::cast(window);
        // A point of the cell before does not count.
        let points = sse2._mm_movemask_epi8(sse2._mm_cmpeq_epi8(window, sse2._mm_set1_epi8(b'.' as i8))) as u32;
        let points = points & 0xffff << (WIDTH - length);
        let (row, places, digits) = match points {
            0 => (WIDTH, 0, length),
            // The last one; an earlier one is no digit.
            _ => {
                let places = (points.leading_zeros() - u16::BITS) as usize;
                (places, places, length - 1)
            }
        };
        let values = sse2._mm_sub_epi8(window, sse2._mm_set1_epi8(b'0' as i8));
        let values = ssse3._mm_shuffle_epi8(values, pulp::cast(WITHOUT_POINT[row]));
        let values = sse2._mm_and_si128(values, pulp::cast(LAST[digits]));
        let beyond = sse2._mm_cmpeq_epi8(sse2._mm_max_epu8(values, sse2._mm_set1_epi8(10)), values);
        if digits == 0 || sse2._mm_movemask_epi8(beyond) != 0 {
            return None;
        }
        // Digits to pairs, pairs to fours, fours to eights: weights 10 and 1, 100 and 1, 10 000 and 1.
        let pairs = ssse3._mm_maddubs_epi16(values, sse2._mm_set1_epi16(0x010a));
        let fours = sse2._mm_madd_epi16(pairs, sse2._mm_set1_epi32(0x0001_0064));
        let eights = sse2._mm_madd_epi16(sse4_1._mm_packus_epi32(fours, fours), sse2._mm_set1_epi32(0x0001_2710));
        let [both, _]: [u64; 2] = pulp::cast(eights);
        Some(Decimal { negative, mantissa: (both & 0xffff_ffff) * 100_000_000 + (both >> 32), places })
    }

    /// The nearest f64; `None` where one division does not give it.
    #[inline(always)]
    fn value(self) -> Option<f64> {
        let value = self.mantissa as f64 / POWERS[self.places];
        // Signs of a vibration come at random: a branch on them would be mispredicted every other time.
        let value = f64::from_bits(value.to_bits() ^ u64::from(self.negative) << 63);
        (self.mantissa <= EXACT).then_some(value)
    }

    /// The number in units of 10^−`places`; `None` where that is no integer or no i64.
    #[inline(always)]
    fn in_units(self, places: usize) -> Option<Nanos> {
        let scale = 10u64.checked_pow(u32::try_from(places.checked_sub(self.places)?).ok()?)?;
        let magnitude = i64::try_from(self.mantissa.checked_mul(scale)?).ok()?;
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::cells::Grammar;
    use crate::ingest::layout::Layout;
    use crate::model::file_format::FileFormat;
    use proptest::prelude::*;

    fn vectors() -> V3 {
        V3::try_new().expect("the tests run on a machine with AVX2")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        /// Bit for bit the value of the general reader, wherever the cell stands.
        #[test]
        fn a_cell_is_rounded_correctly(before in "[0-9.,;-]{16,20}", cell in "[-+]?[0-9]{0,9}(\\.[0-9]{0,9})?[0-9.eE ]?") {
            let text = format!("{before};{cell};");
            let (start, end) = (before.len() + 1, before.len() + 1 + cell.len());
            let read = Decimal::of_cell(vectors(), text.as_bytes(), start, end).and_then(Decimal::value);
            if let Some(value) = read {
                let general = Grammar { separator: Separator::Byte(b';'), decimal: b'.', thousands: None };
                let expected = general.number(cell.as_bytes());
                prop_assert_eq!(Some(value.to_bits()), expected.map(f64::to_bits), "{}", cell);
            }
        }

        /// The places that a look at every byte finds, from the start and from any place on.
        #[test]
        fn every_end_is_found(
            text in proptest::collection::vec(prop_oneof![Just(b';'), Just(b'\n'), any::<u8>()], 0..300),
            from: usize,
        ) {
            let from = from % (text.len() + 1);
            let all: Vec<usize> = (0..text.len()).filter(|place| matches!(text[*place], b';' | b'\n')).collect();
            let mut ends = Ends::new(vectors(), &text, b';', b'\n');
            let found: Vec<usize> = std::iter::from_fn(|| ends.next()).collect();
            prop_assert_eq!(&found, &all);
            ends.skip_to(from);
            prop_assert_eq!(ends.next(), all.into_iter().find(|place| *place >= from));
        }
    }

    /// Rows of every kind, most of them plain.
    fn any_row() -> impl Strategy<Value = String> {
        let cell = prop_oneof![
            8 => "-?[0-9]{1,3}\\.[0-9]{1,6}",
            1 => Just(String::new()),
            1 => prop_oneof![Just(" 1.5"), Just("1.5 "), Just("1e-3"), Just("nan"), Just("x"), Just("-999"), Just("\"2.5\"")]
                .prop_map(str::to_owned),
        ];
        let end = prop_oneof![9 => Just("\n"), 1 => Just("\r\n"), 1 => Just(",\n"), 1 => Just("\n\n"), 1 => Just("")];
        (0u32..100_000, proptest::collection::vec(cell, 2..5), end)
            .prop_map(|(time, cells, end)| format!("{time}.25,{}{end}", cells.join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// With vectors and without them a text gives the same rows, faults, footers and counts.
        #[test]
        fn vectors_change_nothing(rows in proptest::collection::vec(any_row(), 0..40), is_last: bool) {
            let head = "time,a,b,c\n0.25,1.5,2.5,3.5\n0.5,1.5,2.5,3.5\n";
            let layout = Layout::detect("file", head, true, &FileFormat::default()).unwrap();
            let plan = Plan::new(&layout, &[1, 3]);
            let text = format!("{head}{}", rows.concat())[head.find('\n').unwrap() + 1..].to_owned();
            let (mut with, mut without) = (Chunk::new(2), Chunk::new(2));
            if let Some(lines) = Lines::new(&plan, text.as_bytes(), &mut with, is_last) {
                lines.read();
                let mut start = 0;
                while start < text.len() && without.fault.is_none() {
                    start = without.next_line(&plan, text.as_bytes(), start, is_last);
                }
                prop_assert_eq!(format!("{with:?}"), format!("{without:?}"));
            }
        }
    }

    #[test]
    fn cells_that_are_common_are_read_here() {
        for (cell, value) in
            [("1.5", 1.5), ("-0.064742", -0.064742), ("12345678.25", 12_345_678.25), ("7", 7.0), (".5", 0.5)]
        {
            let text = format!("0123456789012345;{cell};");
            let read = Decimal::of_cell(vectors(), text.as_bytes(), 17, 17 + cell.len()).and_then(Decimal::value);
            assert_eq!(read, Some(value), "{cell}");
        }
        for cell in ["", "-", ".", "-.", "+1", "1e3", "nan", "1 ", "1..2", "12345678901234567"] {
            let text = format!("0123456789012345;{cell};");
            assert!(Decimal::of_cell(vectors(), text.as_bytes(), 17, 17 + cell.len()).is_none(), "{cell}");
        }
    }

    #[test]
    fn seconds_become_nanoseconds_exactly() {
        let text = b"0123456789012345;-12.034567890;";
        let number = Decimal::of_cell(vectors(), text, 17, text.len() - 1);
        assert_eq!(number.and_then(|number| number.in_units(9)), Some(-12_034_567_890));
        assert_eq!(number.and_then(|number| number.in_units(8)), None);
    }
}
