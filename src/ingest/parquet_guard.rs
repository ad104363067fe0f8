//! The door to Parquet files that may be damaged: the reader takes much of a file for granted and panics on the rest.

use super::parquet_thrift;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Reads something; a panic of the reader over a damaged file is an error like its others. What was read on the way is
/// to be thrown away.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let damaged = |_| Err(ParquetError::General("it is damaged in a way that its reader does not expect".into()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(damaged)
}

/// Reads the footer and compares every place and length in it with the file: the reader takes them for granted and
/// would panic on a negative one.
pub(crate) fn open(mut file: File) -> Result<SerializedFileReader<File>, ParquetError> {
    let size = file.metadata()?.len();
    if !footer(&mut file, size)?.is_none_or(|footer| parquet_thrift::is_bounded(&footer)) {
        return Err(ParquetError::General("its footer is damaged".into()));
    }
    let mut content = file.try_clone()?;
    let reader = guarded(|| SerializedFileReader::new(file))?;
    let metadata = reader.metadata();
    let wrong = |what: &str| Err(ParquetError::General(format!("its footer has a wrong {what}")));
    let mut rows = 0i64;
    for group in metadata.row_groups() {
        if group.num_rows() < 0 {
            return wrong("number of rows");
        }
        rows = rows.saturating_add(group.num_rows());
        for column in group.columns() {
            let pages = [Some(column.data_page_offset()), column.dictionary_page_offset()];
            if pages.into_iter().flatten().any(|page| page < 0) {
                return wrong("place of a page");
            }
            // Where the reader begins.
            let start = pages.into_iter().flatten().last().and_then(|start| u64::try_from(start).ok());
            let length = u64::try_from(column.compressed_size()).ok();
            let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
            let Some((start, end)) = start.zip(end).filter(|(_, end)| *end <= size) else {
                return wrong("place of a column");
            };
            if !are_bounded(&mut content, start, end)? {
                return Err(ParquetError::General("its pages are damaged".into()));
            }
            if column.num_values() < 0 || column.uncompressed_size() < 0 {
                return wrong("size of a column");
            }
        }
    }
    if rows != metadata.file_metadata().num_rows() {
        return wrong("number of rows");
    }
    Ok(reader)
}

/// Bytes in which the header of a page lies, and in which one with long statistics does.
const HEADER: u64 = 4 << 10;
const LONGEST_HEADER: u64 = 1 << 20;

/// Whether the headers of the pages between two places can be read in a time that their length bounds.
fn are_bounded(file: &mut File, start: u64, end: u64) -> Result<bool, ParquetError> {
    let mut bytes = Vec::new();
    let mut read = |at: u64, most: u64| {
        bytes.resize(most.min(end - at) as usize, 0);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        Ok::<_, ParquetError>(parquet_thrift::page(&bytes))
    };
    let mut at = start;
    while at < end {
        let found = match read(at, HEADER)? {
            None => read(at, LONGEST_HEADER)?,
            found => found,
        };
        let Some((header, content)) = found else { return Ok(false) };
        at = at.saturating_add(header).saturating_add(content);
    }
    Ok(true)
}

/// A thousand columns in two thousand groups of rows, at some hundred bytes each.
const LONGEST_FOOTER: u64 = 256 << 20;

/// The footer; `None`: the end of the file does not say where it is, which the reader will find too.
fn footer(file: &mut File, size: u64) -> Result<Option<Vec<u8>>, ParquetError> {
    // Length and magic number stand behind it.
    let mut tail = [0; 8];
    let Some(end) = size.checked_sub(tail.len() as u64) else { return Ok(None) };
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut tail)?;
    let (length, magic) = tail.split_at(4);
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    let Some(start) = end.checked_sub(length).filter(|_| magic == b"PAR1") else { return Ok(None) };
    if length > LONGEST_FOOTER {
        let text = format!("its footer has {length} bytes, at most {LONGEST_FOOTER} are read");
        return Err(ParquetError::General(text));
    }
    let mut footer = vec![0; length as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut footer)?;
    Ok(Some(footer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_footer_that_would_keep_the_reader_busy_is_refused_at_once() {
        // What a fuzzer found; the reader goes through maps of two billion elements without a byte.
        let mut bytes = b"\x1b\x1b\x1b\xff\xff\xff\x1b\x1b\x1b\x1b\x1b\x1b\x1b\xa6\x1b\x1b\x1b\x1b\x1b\x05".to_vec();
        bytes.extend([0x1b; 8]);
        bytes.extend([0xf1; 9]);
        bytes.extend([0x51; 4]);
        bytes.extend([0xf1; 16]);
        bytes.extend(b"\x5b\xf1\xf1\x1b\x11\xff\xff\xff\xff\xff\xff\xff\xff\x02\x1b\x1b\x1b\x2c\x00\x00\x00PAR1");
        // Another one: the name of the writer as a flag, so that a walk by the types ends before the reader does.
        let mut other = vec![0; 38];
        other.extend(b"\x16\x50\x52\x00\xd6\xef\xf5\xfa\x13\x0d\x00\xca\x00\x00\x00\xca\x3f");
        other.extend([0xca; 7]);
        other.extend(b"\xd4\xca\xca\xca\xca\xf2\xff\xff\xff\x25\xff\xff\xfe\x7b\xff\xca\x2a\x00\x00\x00PAR1");
        let short = b"\x19\xf1\xff\xff\xff\xff\x07\x00\x08\x00\x00\x00PAR1".to_vec();
        for bytes in [bytes, other, short] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let refused = open(file).err().unwrap().to_string();
            assert!(refused.contains("its footer is damaged"), "{refused}");
        }
    }
}
