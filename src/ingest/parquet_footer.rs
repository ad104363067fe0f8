//! The footer of a Parquet file, walked before its reader does.
//!
//! A footer is one structure of Thrift's compact protocol. The reader skips what it does not know, element by element,
//! and elements of type bool have no bytes there: eight bytes of a damaged footer can keep it busy for seconds, and a
//! few thousand of them for hours. In a sound footer every element has a byte at least.

/// Where Thrift's own libraries stop too.
const DEEPEST: u8 = 64;

/// Whether the footer can be read in a time that its length bounds.
pub(super) fn is_bounded(footer: &[u8]) -> bool {
    let mut walk = Walk { rest: footer, elements: footer.len() };
    walk.skip(STRUCT, DEEPEST).is_some()
}

const STRUCT: u8 = 12;

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

    /// Leaves out one value of a type of the compact protocol.
    fn skip(&mut self, kind: u8, depth: u8) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match kind {
            1 | 2 => Some(()),
            3 => self.bytes(1),
            4..=6 => self.number().map(drop),
            7 => self.bytes(8),
            8 => {
                let length = self.number()?;
                self.bytes(usize::try_from(length).ok()?)
            }
            9 | 10 => {
                let header = self.byte()?;
                let short = u64::from(header >> 4);
                let count = if short == 15 { self.number()? } else { short };
                for _ in 0..self.elements(count)? {
                    self.skip(header & 0x0f, deeper)?;
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
                    self.skip(kinds >> 4, deeper)?;
                    self.skip(kinds & 0x0f, deeper)?;
                }
                Some(())
            }
            STRUCT => loop {
                let header = self.byte()?;
                if header & 0x0f == 0 {
                    return Some(());
                }
                if header >> 4 == 0 {
                    self.number()?;
                }
                self.skip(header & 0x0f, deeper)?;
            },
            13 => self.bytes(16),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_of_more_elements_than_bytes_is_seen_wherever_it_hides() {
        // A field of type list, two billion elements of type bool.
        let list = [0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert!(!is_bounded(&[&list[..], &[0]].concat()));
        // The same as a set, as a map, in a structure, in a list.
        assert!(!is_bounded(&[0x1a, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0]));
        assert!(!is_bounded(&[0x1b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x11, 0]));
        assert!(!is_bounded(&[&[0x1c][..], &list, &[0, 0]].concat()));
        assert!(!is_bounded(&[0x19, 0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0]));
        // Many lists that are each short enough.
        assert!(!is_bounded(&[[0x19, 0xf1, 0x10].as_slice(); 10].concat()));
    }

    #[test]
    fn what_is_sound_passes() {
        // A flag, a short number, a text, a list of three numbers, a list of two structures, a map.
        let sound = [
            0x11, 0x15, 0x80, 0x01, 0x18, 0x02, b'a', b'b', 0x19, 0x35, 1, 2, 3, 0x19, 0x2c, 0x15, 7, 0, 0, 0x1b, 1,
            0x88, 1, b'k', 1, b'v', 0x12, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert!(is_bounded(&sound));
        assert!((0..sound.len()).all(|end| !is_bounded(&sound[..end])));
    }
}
