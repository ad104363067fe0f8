//! How a sensor's raw files are written, where that is known beforehand.

use serde::{Deserialize, Serialize};

/// Format of raw files. What is absent is found in the file itself; what is given wins over it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileFormat {
    /// Kind of file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileKind>,
    /// Between two cells of text: one character, or `tab`, or `blanks` for any number of blanks and tabs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Decimal sign of text: `.` or `,`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal_sign: Option<char>,
    /// Encoding of text, by its name in the WHATWG standard: `utf-8`, `windows-1252`, `utf-16le`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Zone of times that name none, by its name in the IANA database: `Europe/Rome`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Order of day and month where a date has no four digits in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_order: Option<DateOrder>,
    /// Header of the column of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_column: Option<String>,
    /// Numbers that mean that there is none, such as −999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_values: Option<Vec<f64>>,
}

/// Kind of a raw file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Rows of text.
    Csv,
    /// A NumPy array.
    Npy,
    /// Apache Parquet.
    Parquet,
    /// Universal file, dataset 58.
    Uff58,
}

/// Order of day and month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// 31/12/2024.
    DayFirst,
    /// 12/31/2024.
    MonthFirst,
}

impl FileFormat {
    /// What `own` says, and where it says nothing what `self` says.
    pub fn overridden_by(&self, own: Option<&FileFormat>) -> FileFormat {
        let Some(own) = own.cloned() else { return self.clone() };
        let general = self.clone();
        FileFormat {
            kind: own.kind.or(general.kind),
            separator: own.separator.or(general.separator),
            decimal_sign: own.decimal_sign.or(general.decimal_sign),
            encoding: own.encoding.or(general.encoding),
            time_zone: own.time_zone.or(general.time_zone),
            date_order: own.date_order.or(general.date_order),
            time_column: own.time_column.or(general.time_column),
            missing_values: own.missing_values.or(general.missing_values),
        }
    }
}
