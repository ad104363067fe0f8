//! Whole lines of text → stamps and numbers, by one thread.

#[cfg(target_arch = "x86_64")]
use super::quick;
use crate::ingest::cells::{Grammar, Separator, finite, shown};
use crate::ingest::decimal;
use crate::ingest::layout::Layout;
use crate::ingest::sentinels::{self, Census};
use crate::ingest::stamps::Nanos;
use crate::ingest::time_columns::TimeColumns;

/// Lines of text behind the last row that pass for a footer.
pub(super) const FOOTER_LINES: usize = 100;

/// What is done with each cell of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Skip,
    Stamp,
    Clock,
    /// Place among the values of a row.
    Value(usize),
}

/// How to read a file's rows.
pub(super) struct Plan {
    grammar: Grammar,
    /// The grammar after commas became points.
    pub(super) pointed: Grammar,
    pub(super) line_end: u8,
    pub(super) width: usize,
    /// Up to the last cell that is wanted.
    pub(super) roles: Vec<Role>,
    pub(super) time: Option<TimeColumns>,
    pub(super) columns: usize,
    head: Vec<Vec<u8>>,
}

/// Why a line is no row.
#[derive(Debug, Clone)]
pub(super) enum Problem {
    Ragged { found: usize },
    Time { value: String },
    Text { index: usize, value: String },
}

/// A line that is no row.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// 1 for the chunk's first.
    pub(super) line: u64,
    pub(super) problem: Problem,
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) struct Chunk {
    /// One a row; zeros where there is no column of time.
    pub(super) stamps: Vec<Nanos>,
    /// Row by row.
    pub(super) values: Vec<f64>,
    /// One a column.
    pub(super) census: Vec<Census>,
    pub(super) lines: u64,
    /// Lines that repeat one of the head.
    pub(super) repeated_heads: u64,
    /// The first line that is no row although rows follow; parsing ended there.
    pub(super) fault: Option<Fault>,
    /// Lines that are no rows, behind the last row.
    pub(super) tail: Vec<Fault>,
    /// Whether the very last line has no end and is no row.
    pub(super) cut_off: bool,
}

impl Plan {
    pub(super) fn new(layout: &Layout, columns: &[usize]) -> Plan {
        let grammar = layout.grammar;
        let role = |index: usize| match (columns.iter().position(|column| *column == index), &layout.time) {
            (Some(place), _) => Role::Value(place),
            (None, Some(time)) if time.index == index => Role::Stamp,
            (None, Some(time)) if time.clock == Some(index) => Role::Clock,
            _ => Role::Skip,
        };
        let mut roles: Vec<Role> = (0..layout.width).map(role).collect();
        while roles.last() == Some(&Role::Skip) {
            roles.pop();
        }
        // Without groups of digits a comma is a decimal sign wherever it stands, and becomes a point in place.
        let to_point = grammar.decimal == b',' && grammar.thousands.is_none();
        let pointed = if to_point { Grammar { decimal: b'.', ..grammar } } else { grammar };
        let mut head = layout.head.clone();
        if to_point {
            head.iter_mut().for_each(|line| point(line));
        }
        Plan {
            grammar,
            pointed,
            line_end: layout.line_end,
            width: layout.width,
            roles,
            time: layout.time.clone(),
            columns: columns.len(),
            head,
        }
    }

    /// Whether a line behind the last row may be left out: it has not the form of a row.
    pub(super) fn is_footer(&self, fault: &Fault) -> bool {
        self.time.is_none() || !matches!(fault.problem, Problem::Text { .. })
    }

    /// Appends a row to the chunk.
    fn row(&self, line: &[u8], chunk: &mut Chunk) -> Result<(), Problem> {
        let separator = self.grammar.separator;
        let base = chunk.values.len();
        chunk.values.resize(base + self.columns, f64::NAN);
        let (mut rest, mut stamp, mut clock) = (Some(line), &[][..], &[][..]);
        for (index, role) in self.roles.iter().enumerate() {
            let Some(text) = rest else { return Err(Problem::Ragged { found: index }) };
            if let Role::Value(place) = *role {
                let (value, after) = self.value(text).map_err(|cell| match self.count(line) {
                    found if found < self.width => Problem::Ragged { found },
                    _ => Problem::Text { index, value: shown(cell) },
                })?;
                chunk.values[base + place] = value;
                rest = after;
                continue;
            }
            let (cell, after) = separator.cut(text);
            rest = after;
            match role {
                Role::Stamp => stamp = cell,
                Role::Clock => clock = cell,
                Role::Skip | Role::Value(_) => {}
            }
        }
        // What follows the last wanted cell must be there, and nothing may follow the last cell.
        let mut found = self.roles.len();
        for cell in rest.into_iter().flat_map(|rest| separator.cells(rest)) {
            found += 1;
            if found > self.width && !cell.is_empty() {
                return Err(Problem::Ragged { found: self.count(line) });
            }
        }
        if found < self.width {
            return Err(Problem::Ragged { found });
        }
        let time = self.time.as_ref().map_or(Some(0), |time| time.parse(stamp, clock));
        chunk.stamps.push(time.ok_or_else(|| Problem::Time { value: shown(stamp) })?);
        Ok(())
    }

    /// The fault of a line whose time is none: text, whatever else is in it.
    fn without_time(&self, line: &[u8]) -> Option<Problem> {
        let time = self.time.as_ref()?;
        let cell = |index: usize| self.grammar.separator.cells(line).nth(index);
        let stamp = cell(time.index)?;
        let clock = time.clock.map_or(Some(&[][..]), cell)?;
        time.parse(stamp, clock).is_none().then(|| Problem::Time { value: shown(stamp) })
    }

    fn count(&self, line: &[u8]) -> usize {
        self.grammar.separator.cells(line).count()
    }

    /// The first cell's number and what stands behind its separator; the cell itself where it is no number.
    fn value<'a>(&self, text: &'a [u8]) -> Result<(f64, Option<&'a [u8]>), &'a [u8]> {
        let separator = self.grammar.separator;
        // A number is mostly followed by the separator at once: then its end need not be searched first.
        if self.pointed.decimal == b'.'
            && self.pointed.thousands.is_none()
            && let Separator::Byte(byte) = separator
        {
            let blanks = text.iter().take_while(|b| **b == b' ' && byte != b' ').count();
            let number = &text[blanks..];
            let read = decimal::leading(number).or_else(|| fast_float2::parse_partial(number).ok());
            if let Some((value, length)) = read {
                match number.get(length) {
                    None => return Ok((finite(value), None)),
                    Some(next) if *next == byte => return Ok((finite(value), Some(&number[length + 1..]))),
                    Some(_) => {}
                }
            }
        }
        let (cell, after) = separator.cut(text);
        Ok((self.pointed.number(cell).ok_or(cell)?, after))
    }
}

impl Chunk {
    /// Without a line.
    pub(super) fn new(columns: usize) -> Chunk {
        Chunk {
            stamps: Vec::new(),
            values: Vec::new(),
            census: vec![Census::new(); columns],
            lines: 0,
            repeated_heads: 0,
            fault: None,
            tail: Vec::new(),
            cut_off: false,
        }
    }

    /// Parses whole lines, which it may change; `is_last`: the last one may lack its end.
    pub(super) fn parse(plan: &Plan, bytes: &mut [u8], is_last: bool) -> Chunk {
        if plan.pointed != plan.grammar {
            point(bytes);
        }
        // Rows are about as long as the first one, and a cell takes two bytes at least.
        let rows = bytes.len() / memchr::memchr(plan.line_end, bytes).map_or(bytes.len(), |end| end + 1).max(1) + 1;
        let cells = (rows * plan.columns).min(bytes.len() / 2 + plan.columns);
        let mut chunk = Chunk::new(plan.columns);
        chunk.stamps.reserve(rows);
        chunk.values.reserve(cells);
        chunk.lines(plan, bytes, is_last);
        sentinels::count(&mut chunk.census, &chunk.values);
        chunk
    }

    fn lines(&mut self, plan: &Plan, text: &[u8], is_last: bool) {
        #[cfg(target_arch = "x86_64")]
        if let Some(lines) = quick::Lines::new(plan, text, self, is_last) {
            return lines.read();
        }
        let mut start = 0;
        while start < text.len() && self.fault.is_none() {
            start = self.next_line(plan, text, start, is_last);
        }
    }

    /// Reads the line that begins at `start`; returns where the next one does.
    pub(super) fn next_line(&mut self, plan: &Plan, text: &[u8], start: usize, is_last: bool) -> usize {
        let rest = &text[start..];
        let end = memchr::memchr(plan.line_end, rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        self.lines += 1;
        self.line(plan, line.strip_suffix(b"\r").unwrap_or(line));
        self.cut_off = is_last && end.is_none() && self.tail.last().is_some_and(|f| f.line == self.lines);
        end.map_or(text.len(), |end| start + end + 1)
    }

    /// Text with rows behind it is no footer.
    pub(super) fn end_tail(&mut self) {
        self.fault = self.tail.first().cloned();
    }

    fn line(&mut self, plan: &Plan, line: &[u8]) {
        let values = self.values.len();
        let Err(problem) = plan.row(line, self) else {
            return self.end_tail();
        };
        self.values.truncate(values);
        // A spreadsheet's rows may end in separators alone; the end of a DOS file is marked by 0x1a.
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x1a;
        if line.iter().all(is_blank) || plan.grammar.separator.cells(line).all(<[u8]>::is_empty) {
            return;
        }
        if plan.head.iter().any(|head| head == line) {
            self.repeated_heads += 1;
            return;
        }
        self.tail.push(Fault { line: self.lines, problem: plan.without_time(line).unwrap_or(problem) });
        if self.tail.len() > FOOTER_LINES {
            self.fault = self.tail.first().cloned();
        }
    }
}

/// Turns commas into points.
fn point(text: &mut [u8]) {
    text.iter_mut().filter(|b| **b == b',').for_each(|b| *b = b'.');
}
