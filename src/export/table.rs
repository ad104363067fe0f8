//! A table of JSON values as Parquet.

use parquet::basic::{Compression, LogicalType, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde_json::Value;
use std::sync::Arc;

/// Names and cells of columns of one length; `None` and null are the same.
pub type Columns<'a> = Vec<(String, Vec<Option<&'a Value>>)>;

/// The columns as a Parquet file: one of numbers is DOUBLE, any other text; compressed with Zstandard.
///
/// # Errors
/// What the encoder says.
pub fn parquet(columns: &Columns<'_>) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).into())
        .build();
    let fields = columns.iter().map(|(name, cells)| {
        let field = match is_numeric(cells) {
            true => Type::primitive_type_builder(name, PhysicalType::DOUBLE),
            false => Type::primitive_type_builder(name, PhysicalType::BYTE_ARRAY)
                .with_logical_type(Some(LogicalType::String)),
        };
        Ok(Arc::new(field.with_repetition(Repetition::OPTIONAL).build()?))
    });
    let fields = fields.collect::<Result<Vec<_>, ParquetError>>()?;
    let schema = Arc::new(Type::group_type_builder("array").with_fields(fields).build()?);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (_, cells) in columns {
        if let Some(column) = group.next_column()? {
            write(column, cells)?;
        }
    }
    group.close()?;
    writer.into_inner()
}

fn is_numeric(cells: &[Option<&Value>]) -> bool {
    cells.iter().flatten().all(|cell| cell.is_number() || cell.is_null())
}

fn write(mut column: SerializedColumnWriter<'_>, cells: &[Option<&Value>]) -> Result<(), ParquetError> {
    let present: Vec<Option<&Value>> = cells.iter().map(|cell| cell.filter(|cell| !cell.is_null())).collect();
    let levels: Vec<i16> = present.iter().map(|cell| i16::from(cell.is_some())).collect();
    if is_numeric(cells) {
        let numbers: Vec<f64> = present.iter().flatten().filter_map(|cell| cell.as_f64()).collect();
        column.typed::<DoubleType>().write_batch(&numbers, Some(&levels), None)?;
    } else {
        let text = |cell: &&Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
        let texts: Vec<ByteArray> = present.iter().flatten().map(|cell| text(cell).as_str().into()).collect();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None)?;
    }
    column.close()
}
