//! A raw file's content as UTF-8 text: compression and encoding taken off, read in a stream.

use super::IngestError;
use crate::model::record::RawFile;
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Read};

/// Bytes from which format, encoding and layout are read.
pub(crate) const HEAD_BYTES: usize = 1 << 16;

/// How a file is packed, told by its first bytes and not by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstandard,
}

impl Packing {
    fn of(start: &[u8]) -> Packing {
        match start {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstandard,
            _ => Packing::Plain,
        }
    }
}

/// How to read one file.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    packing: Packing,
    encoding: &'static Encoding,
}

/// The first bytes of a file.
pub(crate) struct Head {
    pub(crate) content: Content,
    /// Unpacked, as they are.
    pub(crate) bytes: Vec<u8>,
    /// Whether they are the whole file.
    pub(crate) whole: bool,
}

/// Opens a regular file; a pipe would wait for ever and a device never end.
pub(crate) fn open(file: &RawFile) -> Result<File, IngestError> {
    let failed = |source| IngestError::io(&file.key, source);
    let metadata = std::fs::metadata(&file.path).map_err(failed)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "it is a directory" } else { "it is no regular file" };
        return Err(IngestError::Unreadable { file: file.key.clone(), reason: kind.into() });
    }
    File::open(&file.path).map_err(failed)
}

impl Head {
    /// Reads and unpacks the head of `file`.
    pub(crate) fn read(file: &RawFile) -> Result<Head, IngestError> {
        let failed = |source| IngestError::io(&file.key, source);
        let mut start = Vec::new();
        open(file)?.take(4).read_to_end(&mut start).map_err(failed)?;
        let content = Content { packing: Packing::of(&start), encoding: UTF_8 };
        let mut bytes = Vec::new();
        let mut unpacked = content.unpacked(open(file)?).map_err(failed)?;
        (&mut unpacked).take(HEAD_BYTES as u64).read_to_end(&mut bytes).map_err(failed)?;
        let whole = bytes.len() < HEAD_BYTES;
        Ok(Head { content, bytes, whole })
    }

    /// Whether the file is unpacked and so can be read from any place.
    pub(crate) fn is_plain(&self) -> bool {
        self.content.packing == Packing::Plain
    }

    /// Finds the encoding, or takes the one that is `given`; `None` if the bytes are no text. The second value is
    /// what was decided, where that is worth telling.
    pub(crate) fn into_text(mut self, given: Option<&'static Encoding>) -> Option<(Content, String, Option<String>)> {
        let found = given.or_else(|| Encoding::for_bom(&self.bytes).map(|(encoding, _)| encoding));
        let found = found.or_else(|| utf_16(&self.bytes));
        let mut note = None;
        self.content.encoding = match found {
            Some(encoding) => encoding,
            None if is_utf_8(&self.bytes) => UTF_8,
            None => {
                let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
                detector.feed(&self.bytes, self.whole);
                let guess = detector.guess(None, chardetng::Utf8Detection::Deny);
                note = Some(format!("text is not UTF-8 and read as {}", guess.name()));
                guess
            }
        };
        let mut text = String::new();
        let mut decoder = Decoded::new(&self.bytes[..], self.content.encoding);
        let mut decoded = Vec::new();
        decoder.read_to_end(&mut decoded).ok()?;
        text.push_str(&String::from_utf8_lossy(&decoded));
        // Control characters have no place in text; a stray one in a footer is let through.
        let control = text.chars().filter(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{1a}')).count();
        const STRAY: usize = 100;
        (control * STRAY <= text.len() && !text.contains('\0')).then_some((self.content, text, note))
    }
}

impl Content {
    /// The file's text as UTF-8 without a byte order mark.
    pub(crate) fn text<'a>(&self, file: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        let unpacked = self.unpacked(file)?;
        Ok(Box::new(Decoded::new(unpacked, self.encoding)))
    }

    fn unpacked<'a>(&self, file: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self.packing {
            Packing::Plain => Box::new(file),
            Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
            Packing::Zstandard => Box::new(zstd::stream::read::Decoder::new(file)?),
        })
    }
}

/// UTF-16 without a mark: every other byte of Western text is 0.
fn utf_16(bytes: &[u8]) -> Option<&'static Encoding> {
    let zeros = |from: usize| bytes.iter().skip(from).step_by(2).filter(|b| **b == 0).count();
    let (even, odd, half) = (zeros(0), zeros(1), bytes.len() / 2);
    // Nine of ten characters of a table are digits and separators.
    match (10 * even > 9 * half, 10 * odd > 9 * half) {
        _ if half < 2 => None,
        (true, false) if odd == 0 => Some(UTF_16BE),
        (false, true) if even == 0 => Some(UTF_16LE),
        _ => None,
    }
}

/// Whether the bytes are UTF-8, the last character perhaps cut.
fn is_utf_8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Text of any encoding → UTF-8.
struct Decoded<R> {
    inner: R,
    /// `None` for UTF-8 that needs nothing but its mark taken off.
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    /// What was decoded and not handed out.
    ready: Vec<u8>,
    given: usize,
    started: bool,
    ended: bool,
}

impl<R: Read> Decoded<R> {
    fn new(inner: R, encoding: &'static Encoding) -> Decoded<R> {
        let decoder = (encoding != UTF_8).then(|| encoding.new_decoder_with_bom_removal());
        Decoded { inner, decoder, raw: Vec::new(), ready: Vec::new(), given: 0, started: false, ended: false }
    }

    /// Reads and decodes the next piece.
    fn refill(&mut self) -> io::Result<()> {
        const PIECE: usize = 1 << 15;
        self.raw.resize(PIECE, 0);
        let read = self.inner.read(&mut self.raw)?;
        self.ended = read == 0;
        (self.given, self.started) = (0, true);
        self.ready.clear();
        let Some(decoder) = &mut self.decoder else {
            self.ready.extend_from_slice(&self.raw[..read]);
            return Ok(());
        };
        let most = decoder.max_utf8_buffer_length(read).unwrap_or(4 * PIECE);
        self.ready.resize(most, 0);
        let (result, _, written, _) = decoder.decode_to_utf8(&self.raw[..read], &mut self.ready, self.ended);
        debug_assert_eq!(result, CoderResult::InputEmpty);
        self.ready.truncate(written);
        Ok(())
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        if self.decoder.is_none() && self.started && self.given == self.ready.len() {
            return self.inner.read(buffer);
        }
        while self.given == self.ready.len() && !self.ended {
            self.refill()?;
            while !self.ended && self.decoder.is_none() && self.ready.len() < MARK.len() {
                let before = std::mem::take(&mut self.ready);
                self.refill()?;
                self.ready.splice(..0, before);
            }
            if self.decoder.is_none() && self.ready.starts_with(MARK) {
                self.given = MARK.len();
            }
        }
        let count = buffer.len().min(self.ready.len() - self.given);
        buffer[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], encoding: &'static Encoding) -> String {
        let mut text = String::new();
        Decoded::new(bytes, encoding).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_mark_is_taken_off_and_every_encoding_becomes_utf_8() {
        assert_eq!(decoded("\u{feff}a;µ\n".as_bytes(), UTF_8), "a;µ\n");
        assert_eq!(decoded(b"\xef\xbb\xbf", UTF_8), "");
        assert_eq!(decoded(b"ab", UTF_8), "ab");
        assert_eq!(decoded(b"\xff\xfea\0;\0\xb5\0", UTF_16LE), "a;µ");
        assert_eq!(decoded(b"\0a\0;", UTF_16BE), "a;");
        assert_eq!(decoded(b"\xb5g", encoding_rs::WINDOWS_1252), "µg");
        let long = "1,5;µ\n".repeat(50_000);
        let utf_16: Vec<u8> = long.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(decoded(&utf_16, UTF_16LE) == long);
        assert!(decoded(long.as_bytes(), UTF_8) == long);
    }

    #[test]
    fn utf_16_is_known_without_a_mark() {
        assert_eq!(utf_16(b"a\0,\0b\0\n\0"), Some(UTF_16LE));
        assert_eq!(utf_16(b"\0a\0,\0b\0\n"), Some(UTF_16BE));
        assert_eq!(utf_16(b"a,b\n"), None);
        assert_eq!(utf_16(&[0; 64]), None);
    }
}
