//! The door to Parquet files that may be damaged: the reader takes much of a file for granted and panics on the rest.

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Reads something; a panic of the reader over a damaged file is an error like its others. What was read on the way is
/// to be thrown away.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let damaged = |_| Err(ParquetError::General("it is damaged in a way that its reader does not expect".into()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(damaged)
}

/// Reads the footer and compares every place and length in it with the file: the reader takes them for granted and
/// would panic on a negative one.
pub(crate) fn open(file: File) -> Result<SerializedFileReader<File>, ParquetError> {
    let size = file.metadata()?.len();
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
            let start = pages.into_iter().flatten().min().and_then(|start| u64::try_from(start).ok());
            let length = u64::try_from(column.compressed_size()).ok();
            let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
            if end.is_none_or(|end| end > size) {
                return wrong("place of a column");
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
