//! Which column of which file is which channel.
//!
//! A file that names its sensor holds that sensor's channels: its columns are found by the channel's axis, by the
//! axes that the index lists, or by the channel's name. A file that names none holds every channel: its columns are
//! found by the channels' names. Where no channels are described, every column of numbers is one.

use super::IngestError;
use super::array::ArrayFile;
use super::bytes::Head;
use super::csv::{CsvFile, Decoded, Findings};
use super::layout::Column;
use super::parquet_table::ParquetFile;
use super::spool::Spool;
use super::stamps::Nanos;
use super::uff::{UffFile, is_universal};
use super::uneven::Grid;
use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::model::file_format::{FileFormat, FileKind};
use crate::model::motion::Motion;
use crate::model::record::RawFile;
use encoding_rs::Encoding;
use std::sync::Arc;

/// A file whose head was understood.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Csv(CsvFile),
    Array(ArrayFile),
    Parquet(ParquetFile),
    Universal(UffFile),
}

/// One file and the places of its track's channels in it.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) file: RawFile,
    pub(crate) source: Source,
    /// In the order of [`Track::channels`].
    pub(crate) columns: Vec<usize>,
    /// The decoded rows of a file of text, once it was read.
    pub(crate) spool: Option<Spool>,
    /// The even grid that its rows are brought to, where they are not evenly spaced.
    pub(crate) grid: Option<Arc<Grid>>,
}

/// The files of one clock, and the channels in them.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    /// The sensor, or the first file.
    pub(crate) name: String,
    /// Indices into [`Plan::channels`].
    pub(crate) channels: Vec<usize>,
    pub(crate) pieces: Vec<Piece>,
}

/// What is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) channels: Vec<Channel>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) warnings: Vec<String>,
}

/// Finds the wanted channels in the files.
pub(crate) fn plan(
    files: &[RawFile],
    known: &[Channel],
    selected: Option<&[String]>,
    format: &FileFormat,
) -> Result<Plan, IngestError> {
    if files.is_empty() {
        return Err(IngestError::NoFiles);
    }
    match known.is_empty() {
        true => plan_from_files(files, selected, format),
        false => plan_from_channels(files, known, selected, format),
    }
}

fn plan_from_channels(
    files: &[RawFile],
    known: &[Channel],
    selected: Option<&[String]>,
    format: &FileFormat,
) -> Result<Plan, IngestError> {
    let channels = choose(known, selected)?;
    let mut tracks: Vec<Track> = Vec::new();
    let mut seen = Vec::new();
    for file in files {
        let of_sensor = |c: &Channel| file.sensor_id.as_ref().is_none_or(|id| *id == c.sensor_id);
        if !channels.iter().any(of_sensor) {
            continue;
        }
        let own = channels.iter().filter(|c| of_sensor(c)).find_map(|c| c.file_format.as_ref());
        let source = Source::open(file, &format.overridden_by(own))?;
        let names = source.names(file, known);
        let found = channels.iter().enumerate().filter(|(_, c)| of_sensor(c));
        let found: Vec<(usize, usize)> =
            found.filter_map(|(index, c)| Some((index, names.find(file, c, known)?))).collect();
        if let (Some(id), false) = (&file.sensor_id, found.is_empty()) {
            // A piece that lacks one of its sensor's channels would leave a hole that nobody asked for.
            let missing =
                channels.iter().enumerate().find(|(i, c)| c.sensor_id == *id && found.iter().all(|f| f.0 != *i));
            if let Some((_, channel)) = missing {
                return Err(no_column(&channel.name, std::iter::once(&names), file));
            }
        }
        // One clock offset a track: channels of one file whose clocks differ are read as two tracks.
        let mut rest = found;
        while let Some(&(first, _)) = rest.first() {
            let offset = channels[first].clock_offset_s;
            let (same, other): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(index, _)| channels[*index].clock_offset_s == offset);
            rest = other;
            let (indices, columns): (Vec<usize>, Vec<usize>) = same.into_iter().unzip();
            add(&mut tracks, file, &source, indices, columns, &channels)?;
        }
        seen.push((file.clone(), names));
    }
    let held = |index: usize| tracks.iter().any(|t| t.channels.contains(&index));
    if let Some((_, channel)) = channels.iter().enumerate().find(|(index, _)| !held(*index)) {
        let Some((file, _)) = seen.first() else { return Err(IngestError::NoFileOf(channel.name.clone())) };
        return Err(no_column(&channel.name, seen.iter().map(|(_, names)| names), file));
    }
    Ok(Plan { channels, tracks, warnings: Vec::new() })
}

/// Puts a file into the track with the same channels.
fn add(
    tracks: &mut Vec<Track>,
    file: &RawFile,
    source: &Source,
    channels: Vec<usize>,
    columns: Vec<usize>,
    known: &[Channel],
) -> Result<(), IngestError> {
    let piece = Piece { file: file.clone(), source: source.clone(), columns, spool: None, grid: None };
    if let Some(track) = tracks.iter_mut().find(|t| t.channels == channels) {
        track.pieces.push(piece);
        return Ok(());
    }
    if let Some(track) = tracks.iter().find(|t| t.channels.iter().any(|c| channels.contains(c))) {
        let lacks = |a: &[usize], b: &[usize]| a.iter().find(|c| !b.contains(c)).copied();
        let (file, channel) = match lacks(&track.channels, &channels) {
            Some(channel) => (file.key.clone(), channel),
            None => (track.pieces[0].file.key.clone(), lacks(&channels, &track.channels).unwrap_or(channels[0])),
        };
        return Err(IngestError::NoColumn { channel: known[channel].name.clone(), file, nearest: None });
    }
    let name = match &file.sensor_id {
        Some(id) => format!("sensor {}", Some(&known[channels[0]].sensor_name).filter(|n| !n.is_empty()).unwrap_or(id)),
        None => file.key.clone(),
    };
    tracks.push(Track { name, channels, pieces: vec![piece] });
    Ok(())
}

/// The active channels, or those that were selected, in the order of the selection.
fn choose(known: &[Channel], selected: Option<&[String]>) -> Result<Vec<Channel>, IngestError> {
    let channels: Vec<Channel> = match selected {
        None => known.iter().filter(|c| c.active).cloned().collect(),
        Some(names) => {
            let mut chosen: Vec<Channel> = Vec::new();
            for name in names {
                let found = known.iter().find(|c| c.name == *name);
                let Some(channel) = found else {
                    let nearest = nearest(name, known.iter().map(|c| c.name.as_str()));
                    return Err(IngestError::UnknownChannel { channel: name.clone(), nearest });
                };
                if !channel.active {
                    return Err(IngestError::InactiveChannel(name.clone()));
                }
                if chosen.iter().all(|c| c.name != *name) {
                    chosen.push(channel.clone());
                }
            }
            chosen
        }
    };
    if let Some(channel) = channels.iter().find(|c| !c.clock_offset_s.is_finite()) {
        let (channel, offset_s) = (channel.name.clone(), channel.clock_offset_s);
        return Err(IngestError::ClockOffset { channel, offset_s });
    }
    if channels.is_empty() { Err(IngestError::NoActiveChannel) } else { Ok(channels) }
}

/// Every column of numbers is a channel: those of the files without a sensor by their header, those of a sensor by
/// `sensor/header`.
fn plan_from_files(files: &[RawFile], selected: Option<&[String]>, format: &FileFormat) -> Result<Plan, IngestError> {
    let (mut channels, mut warnings) = (Vec::<Channel>::new(), Vec::new());
    for file in files {
        let names = Source::open(file, format)?.names(file, &[]);
        for column in &names.0 {
            if let Some(why) = column.unfit {
                warnings.push(format!("{}: column {:?} {why} and was left out", file.key, column.header));
            }
        }
        for (place, column) in names.0.iter().enumerate() {
            if names.0[..place].iter().any(|c| c.header == column.header) {
                warnings.push(format!("{}: of two columns {:?} the first is read", file.key, column.header));
            }
        }
        for column in names.0.iter().filter(|c| c.unfit.is_none()) {
            // A unit of motion says which one it is.
            let quantity =
                Motion::of_unit(&column.unit).map_or(Channel::default().quantity, |(m, _)| m.as_str().into());
            let unit = column.unit.clone();
            let channel = match &file.sensor_id {
                None => Channel { quantity, unit, ..Channel::named(&column.header) },
                Some(id) => Channel {
                    sensor_id: id.clone(),
                    sensor_name: id.clone(),
                    axis: column.header.clone(),
                    quantity,
                    unit,
                    ..Channel::named(&format!("{id}/{}", column.header))
                },
            };
            if channels.iter().all(|c| c.name != channel.name) {
                channels.push(channel);
            }
        }
    }
    if channels.is_empty() {
        return Err(IngestError::NoActiveChannel);
    }
    let plan = plan_from_channels(files, &channels, selected, format)?;
    Ok(Plan { warnings, ..plan })
}

impl Source {
    /// Tells the kind of a file by its first bytes, unless it is given.
    fn open(file: &RawFile, format: &FileFormat) -> Result<Source, IngestError> {
        let head = Head::read(file)?;
        let kind = format.kind.unwrap_or(match head.bytes.as_slice() {
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => FileKind::Npy,
            [b'P', b'A', b'R', b'1', ..] => FileKind::Parquet,
            _ if file.key.to_ascii_lowercase().ends_with(".npy") => FileKind::Npy,
            head if is_universal(head) => FileKind::Uff58,
            _ => FileKind::Csv,
        });
        let unknown = |tried: String| IngestError::UnknownFormat { file: file.key.clone(), tried };
        match kind {
            FileKind::Csv => {}
            _ if !head.is_plain() => {
                let kind = match kind {
                    FileKind::Npy => "an NPY array",
                    FileKind::Parquet => "a Parquet table",
                    FileKind::Uff58 | FileKind::Csv => "a universal file",
                };
                return Err(unknown(format!("{kind} must not be compressed as a whole")));
            }
            FileKind::Npy => return ArrayFile::open(file).map(Source::Array),
            FileKind::Parquet => return ParquetFile::open(file, format).map(Source::Parquet),
            FileKind::Uff58 => return UffFile::open(file, format.date_order).map(Source::Universal),
        }
        if head.bytes.trim_ascii().is_empty() {
            return Err(IngestError::Empty(file.key.clone()));
        }
        let encoding = |name: &String| {
            let known = Encoding::for_label(name.as_bytes());
            let limit = "an encoding of the WHATWG standard, like windows-1252";
            known.ok_or_else(|| IngestError::FormatSetting { setting: "encoding", value: name.clone(), limit })
        };
        let encoding = format.encoding.as_ref().map(encoding).transpose()?;
        let whole = head.whole;
        let (content, text, note) = head
            .into_text(encoding)
            .ok_or_else(|| unknown("not NPY, and its bytes are no text of any encoding".into()))?;
        CsvFile::open(file, content, (&text, whole), note, format).map(Source::Csv)
    }

    /// Whether its rows have stamps, and those name points in time and not only distances from its start.
    pub(crate) fn is_dated(&self) -> Option<bool> {
        match self {
            Source::Csv(csv) => csv.layout.time.as_ref().map(|time| time.format.is_absolute()),
            Source::Parquet(table) => table.is_dated(),
            Source::Array(_) | Source::Universal(_) => None,
        }
    }

    /// Whether the stamps are those of a wall clock of an unknown zone.
    pub(crate) fn is_of_unknown_zone(&self) -> bool {
        match self {
            Source::Csv(csv) => csv.is_of_unknown_zone(),
            Source::Parquet(table) => table.is_of_unknown_zone(),
            Source::Array(_) | Source::Universal(_) => false,
        }
    }

    /// Time of the first row by the file's head, where the rows do not tell it.
    pub(crate) fn head_start(&self) -> Option<Nanos> {
        match self {
            Source::Csv(csv) => csv.head_start(),
            Source::Universal(file) => file.start,
            Source::Array(_) | Source::Parquet(_) => None,
        }
    }

    /// The rate that the file's head declares, Hz.
    pub(crate) fn head_sampling_rate_hz(&self) -> Option<f64> {
        match self {
            Source::Csv(csv) => csv.layout.preamble.sampling_rate_hz,
            Source::Universal(file) => Some(file.sampling_rate_hz),
            Source::Array(_) | Source::Parquet(_) => None,
        }
    }

    /// Lines before the first row.
    pub(crate) fn head_lines(&self) -> u64 {
        match self {
            Source::Csv(csv) => csv.layout.head_lines,
            Source::Array(_) | Source::Parquet(_) | Source::Universal(_) => 0,
        }
    }

    /// Reads the whole file once and hands `columns` (their places) to `sink`; `None` for an array, which is read in
    /// place.
    pub(crate) fn decode(
        &self,
        columns: &[usize],
        control: &Control,
        sink: &mut dyn FnMut(&Decoded<'_>) -> Result<(), IngestError>,
    ) -> Option<Result<Findings, IngestError>> {
        match self {
            Source::Csv(csv) => Some(csv.decode(columns, control, sink)),
            Source::Parquet(table) => Some(table.decode(columns, control, sink)),
            Source::Universal(file) => Some(file.decode(columns, control, sink)),
            Source::Array(_) => None,
        }
    }

    /// The columns by name. An array has no names: the axes of the index, or the described channels in their order
    /// where they are as many, or `ch1`, `ch2`, ….
    fn names(&self, file: &RawFile, known: &[Channel]) -> Names {
        let named = |index: usize, header: String| Column { header, unit: String::new(), index, unfit: None };
        match self {
            Source::Csv(csv) => Names(csv.columns().to_vec()),
            Source::Parquet(table) => Names(table.columns().to_vec()),
            Source::Universal(file) => Names(file.columns().to_vec()),
            Source::Array(array) => {
                let mut own = known.iter().filter(|c| file.sensor_id.as_ref().is_none_or(|id| *id == c.sensor_id));
                let own: Vec<String> = own.by_ref().map(|c| c.name.clone()).collect();
                let header = |index: usize| match (&file.axes, &own) {
                    (axes, _) if axes.len() == array.columns => axes[index].clone(),
                    (_, own) if own.len() == array.columns => own[index].clone(),
                    _ => format!("ch{}", index + 1),
                };
                Names((0..array.columns).map(|index| named(index, header(index))).collect())
            }
        }
    }
}

/// The columns of one file.
struct Names(Vec<Column>);

impl Names {
    /// The place of a channel's column.
    fn find(&self, file: &RawFile, channel: &Channel, known: &[Channel]) -> Option<usize> {
        let by_header = |name: &str| {
            let exact = self.0.iter().find(|c| c.header == name);
            exact.or_else(|| self.0.iter().find(|c| same(&c.header, name))).map(|c| c.index)
        };
        let Some(id) = &file.sensor_id else { return by_header(&channel.name) };
        let by_axis = || by_header(&channel.axis).filter(|_| !channel.axis.is_empty());
        let by_index = || {
            let place = file.axes.iter().position(|axis| same(axis, &channel.axis))?;
            (file.axes.len() == self.0.len()).then(|| self.0[place].index)
        };
        let only = || {
            let alone = self.0.len() == 1 && known.iter().filter(|c| c.sensor_id == *id).count() == 1;
            alone.then(|| self.0[0].index)
        };
        by_axis().or_else(by_index).or_else(|| by_header(&channel.name)).or_else(only)
    }
}

/// Whether a header means a name: case, blanks and a unit in brackets do not count.
fn same(header: &str, name: &str) -> bool {
    let bare = |text: &str| text.split(['(', '[']).next().unwrap_or_default().trim().to_lowercase();
    !name.is_empty() && (header.eq_ignore_ascii_case(name) || bare(header) == bare(name) && !bare(name).is_empty())
}

fn no_column<'a>(channel: &str, names: impl Iterator<Item = &'a Names>, file: &RawFile) -> IngestError {
    let headers: Vec<&str> = names.flat_map(|n| n.0.iter().map(|c| c.header.as_str())).collect();
    let nearest = nearest(channel, headers.into_iter());
    IngestError::NoColumn { channel: channel.into(), file: file.key.clone(), nearest }
}

/// The most similar name; any at all, since a wrong guess still shows what the names look like.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let rated = known.map(|k| (strsim::jaro_winkler(k, name), k));
    rated.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, k)| k.to_owned())
}
