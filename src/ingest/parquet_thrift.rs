//! The footer of a Parquet file, and the headers of its pages, walked before its reader does.
//!
//! Each is one structure of Thrift's compact protocol. The reader skips what it does not know, element by element, and
//! elements of type bool have no bytes there, nor has any at the end of the file: eight bytes of a damaged footer can keep
//! it busy for seconds, and a few thousand of them for hours. In a sound footer every element has a byte at least.
//!
//! The reader takes the fields that it knows for what they should be, whatever type is written beside them, and so may read
//! other elements than a walk by the types sees. A footer whose known fields have other types is refused therefore, and so
//! is one with anything behind its end.

/// Where Thrift's own libraries stop too.
const DEEPEST: u8 = 64;

/// Whether the footer can be read in a time that its length bounds.
pub(super) fn is_bounded(footer: &[u8]) -> bool {
    let mut walk = Walk { rest: footer, elements: footer.len() };
    walk.structure(&FILE, DEEPEST).is_some() && walk.rest.is_empty()
}

/// Bytes of the header of a page that `bytes` begin with, and of the page behind it; `None`: it is no header, or goes on
/// behind their end, or cannot be read in a time that their length bounds, or is that of an index, behind which the reader
/// takes the content for the next header.
pub(super) fn page(bytes: &[u8]) -> Option<(u64, u64)> {
    /// `type` and `compressed_page_size`, and what the former is for an index.
    const TYPE: u64 = 1;
    const SIZE: u64 = 3;
    const INDEX: u64 = 1;
    let mut walk = Walk { rest: bytes, elements: bytes.len() };
    let (mut kind, mut size) = (None, None);
    let mut seen = |id: u64, rest: &[u8]| {
        let number = || positive(Walk { rest, elements: 0 }.number()?, u32::MAX.into());
        match id {
            TYPE => kind = number(),
            SIZE => size = number(),
            _ => {}
        }
    };
    walk.fields(&PAGE, DEEPEST, &mut seen)?;
    kind.filter(|kind| *kind != INDEX)?;
    Some(((bytes.len() - walk.rest.len()) as u64, size?))
}

/// A number that is written in zigzag, `most` being all bits of its type: a longer one is cut by the reader, and so another
/// one to it. `None` if it is negative, which neither the number of a field nor a size ever is.
fn positive(zigzag: u64, most: u64) -> Option<u64> {
    (zigzag.is_multiple_of(2) && zigzag <= most).then_some(zigzag / 2)
}

/// Types of the compact protocol; a bool says by its type what it is.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const INTEGER_16: u8 = 4;
const INTEGER_32: u8 = 5;
const INTEGER_64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// The fields of a structure from number 1 on: the type of each, and what the structures in it are made of
/// (parquet.thrift). What is not listed may be anything.
struct Structure(&'static [Field]);

type Field = (u8, &'static Structure);

const ANY: Structure = Structure(&[]);
const I16: Field = (INTEGER_16, &ANY);
const I32: Field = (INTEGER_32, &ANY);
const I64: Field = (INTEGER_64, &ANY);
const TEXT: Field = (BINARY, &ANY);
const VALUES: Field = (LIST, &ANY);
const PART: Field = (STRUCT, &ANY);
const BOOL: Field = (TRUE, &ANY);
const KEY_VALUES: Field = (LIST, &Structure(&[TEXT, TEXT]));

const FILE: Structure =
    Structure(&[I32, (LIST, &SCHEMA_ELEMENT), I64, (LIST, &ROW_GROUP), KEY_VALUES, TEXT, VALUES, PART, TEXT]);
const SCHEMA_ELEMENT: Structure = Structure(&[I32, I32, I32, TEXT, I32, I32, I32, I32, I32, PART]);
const ROW_GROUP: Structure = Structure(&[(LIST, &COLUMN_CHUNK), I64, I64, VALUES, I64, I64, I16]);
const COLUMN_CHUNK: Structure = Structure(&[TEXT, I64, (STRUCT, &COLUMN), I64, I32, I64, I32, PART, TEXT]);
const COLUMN: Structure = Structure(&[
    I32,
    VALUES,
    VALUES,
    I32,
    I64,
    I64,
    I64,
    KEY_VALUES,
    I64,
    I64,
    I64,
    (STRUCT, &STATISTICS),
    VALUES,
    I64,
    I32,
    PART,
    PART,
]);
const STATISTICS: Structure = Structure(&[TEXT, TEXT, I64, I64, TEXT, TEXT]);

const PAGE: Structure = Structure(&[
    I32,
    I32,
    I32,
    I32,
    (STRUCT, &DATA_PAGE),
    PART,
    (STRUCT, &Structure(&[I32, I32, BOOL])),
    (STRUCT, &DATA_PAGE_2),
]);
const DATA_PAGE: Structure = Structure(&[I32, I32, I32, I32, (STRUCT, &STATISTICS)]);
const DATA_PAGE_2: Structure = Structure(&[I32, I32, I32, I32, I32, I32, BOOL, (STRUCT, &STATISTICS)]);

/// What is left of the footer, and how many elements may still come.
struct Walk<'a> {
    rest: &'a [u8],
    elements: usize,
}

impl Walk<'_> {
    fn bytes(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// An unsigned number of seven bits a byte.
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Takes so many elements off what may come.
    fn elements(&mut self, count: u64) -> Option<usize> {
        let count = usize::try_from(count).ok()?;
        self.elements = self.elements.checked_sub(count)?;
        Some(count)
    }

    /// Leaves out a structure.
    fn structure(&mut self, of: &Structure, depth: u8) -> Option<()> {
        self.fields(of, depth, &mut |_, _| {})
    }

    /// Leaves out the fields of a structure; `seen`: number of each, and what begins with its value.
    fn fields(&mut self, of: &Structure, depth: u8, seen: &mut dyn FnMut(u64, &[u8])) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        let mut id = 0u64;
        loop {
            let header = self.byte()?;
            let (step, kind) = (u64::from(header >> 4), header & 0x0f);
            if kind == 0 {
                return Some(());
            }
            id = if step == 0 { positive(self.number()?, u16::MAX.into())? } else { id + step };
            let place = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
            let written = if kind == FALSE { TRUE } else { kind };
            let (expected, inner) = place.and_then(|place| of.0.get(place)).copied().unwrap_or((written, &ANY));
            if expected != written {
                return None;
            }
            seen(id, self.rest);
            self.skip(kind, inner, deeper)?;
        }
    }

    /// Leaves out one value of a type of the compact protocol. `inner`: what the structures in it are made of.
    fn skip(&mut self, kind: u8, inner: &Structure, depth: u8) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match kind {
            TRUE | FALSE => Some(()),
            3 => self.bytes(1),
            INTEGER_16..=INTEGER_64 => self.number().map(drop),
            7 => self.bytes(8),
            BINARY => {
                let length = self.number()?;
                self.bytes(usize::try_from(length).ok()?)
            }
            LIST | 10 => {
                let header = self.byte()?;
                let short = u64::from(header >> 4);
                let count = if short == 15 { self.number()? } else { short };
                for _ in 0..self.elements(count)? {
                    self.skip(header & 0x0f, inner, deeper)?;
                }
                Some(())
            }
            11 => {
                let count = self.number()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                for _ in 0..self.elements(count)? {
                    self.skip(kinds >> 4, inner, deeper)?;
                    self.skip(kinds & 0x0f, inner, deeper)?;
                }
                Some(())
            }
            STRUCT => self.structure(inner, deeper),
            13 => self.bytes(16),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether these fields can be read behind those that are known.
    fn is_bounded_beyond(fields: &[u8]) -> bool {
        is_bounded(&[&[0xf3, 7], fields].concat())
    }

    #[test]
    fn the_header_of_a_page_says_where_the_next_one_begins() {
        // Of a data page: type 0, 100 bytes plain and 60 packed, ten values; what follows is its content.
        let sound = [0x15, 0, 0x15, 200, 1, 0x15, 120, 0x2c, 0x15, 20, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0, 7, 7, 7];
        assert_eq!(page(&sound), Some((18, 60)));
        assert_eq!(page(&sound[..17]), None, "it goes on");
        let changed = |at: usize, to: u8| {
            let mut bytes = sound;
            bytes[at] = to;
            page(&bytes)
        };
        assert_eq!(changed(6, 121), None, "of negative size");
        assert_eq!(changed(5, 0x16), None, "of another type");
        // An unknown field of two billion numbers of eight bytes, of which none is there.
        let endless = [&sound[..7], &[0x99, 0xf7, 0xff, 0xff, 0xff, 0xff, 0x07, 0]].concat();
        assert_eq!(page(&endless), None);
        // Numbers that the reader cuts: a size of 2³² + 60 would be 60 to it, and field 2¹⁶ + 5 would be field 5.
        let longer = [&sound[..6], &[120 | 0x80, 0x80, 0x80, 0x80, 0x20], &sound[7..]].concat();
        assert_eq!(page(&longer), None);
        let flag = [&sound[..7], &[0x01, 0x8a, 0x80, 0x08, 0]].concat();
        assert_eq!(page(&flag), None);
        // A field of number −4, and one nine behind it.
        assert_eq!(page(&[&sound[..7], &[0x01, 0x07, 0x91, 0]].concat()), None);
        assert_eq!(changed(1, 2), None, "of an index");
        assert_eq!(
            page(&[&sound[..7], &[0x01, 0x8a, 0x01, 0]].concat()),
            Some((11, 60)),
            "field 69 is unknown to both"
        );
        // A dictionary's bool may be either.
        for is_sorted in [0x11, 0x12] {
            assert_eq!(page(&[0x15, 4, 0x25, 8, 0x4c, 0x15, 2, 0x15, 0, is_sorted, 0, 0]), Some((12, 4)));
        }
    }

    #[test]
    fn a_collection_of_more_elements_than_bytes_is_seen_wherever_it_hides() {
        // A field of type list, two billion elements of type bool.
        let list = [0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert!(!is_bounded_beyond(&[&list[..], &[0]].concat()));
        // The same as a set, as a map, in a structure, in a list.
        assert!(!is_bounded_beyond(&[0x1a, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0]));
        assert!(!is_bounded_beyond(&[0x1b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x11, 0]));
        assert!(!is_bounded_beyond(&[&[0x1c][..], &list, &[0, 0]].concat()));
        assert!(!is_bounded_beyond(&[0x19, 0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0]));
        // Many lists that are each short enough.
        assert!(!is_bounded_beyond(&[[0x19, 0xf1, 0x10].as_slice(); 10].concat()));
    }

    #[test]
    fn what_is_sound_passes() {
        // A flag, a short number, a text, a list of three numbers, a list of two structures, a map.
        let sound = [
            0x11, 0x15, 0x80, 0x01, 0x18, 0x02, b'a', b'b', 0x19, 0x35, 1, 2, 3, 0x19, 0x2c, 0x15, 7, 0, 0, 0x1b, 1,
            0x88, 1, b'k', 1, b'v', 0x12, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert!(is_bounded_beyond(&sound));
        assert!((0..sound.len()).all(|end| !is_bounded_beyond(&sound[..end])));
    }

    #[test]
    fn a_known_field_has_its_type_and_nothing_stands_behind_the_end() {
        // Version 2 and three rows; a row group with a column chunk whose column has one encoding.
        let sound = [0x15, 4, 0x26, 6, 0x19, 0x1c, 0x19, 0x1c, 0x3c, 0x29, 0x15, 0, 0, 0, 0, 0];
        assert!(is_bounded(&sound));
        assert!(!is_bounded(&[&sound[..], &[0]].concat()));
        // The version as a flag; the number of rows, far behind, as a list; the column's encodings as bytes.
        assert!(!is_bounded(&[0x11, 0x26, 6, 0]));
        assert!(!is_bounded(&[0x09, 6, 0x15, 7, 0]));
        assert!(!is_bounded(&[0x15, 4, 0x26, 6, 0x19, 0x1c, 0x19, 0x1c, 0x3c, 0x28, 0, 0, 0, 0, 0]));
    }
}
