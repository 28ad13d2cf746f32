//! Data on stdout: tables for people, JSON for programs.

use std::io::{self, ErrorKind, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::failure::Failure;

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One JSON document, or one a line where there is no end to wait for.
    Json,
}

/// Rows under headings. Columns of numbers stand to the right.
pub struct Rows {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Rows {
    /// No rows yet.
    pub fn new(headings: &'static [&'static str]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row with one cell for each heading.
    pub fn push<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len(), "one cell for each heading");
        self.rows.push(cells.into());
    }

    /// The table as text, without a newline at its end.
    pub fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.headings.iter().copied());
        table.add_rows(self.rows.iter());
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            let cells = || self.rows.iter().filter_map(|row| row.get(index));
            if cells().next().is_some() && cells().all(|cell| is_number(cell)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let text = table.to_string();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

fn is_number(cell: &str) -> bool {
    cell == "-" || (cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') && cell.parse::<f64>().is_ok())
}

/// Writes one line, or several, to stdout.
///
/// # Errors
/// [`Failure::OutputClosed`] when nobody reads any more.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::failed(format!("cannot write to stdout: {error}")),
    })
}

/// Writes a JSON document over several lines.
///
/// # Errors
/// As [`line()`].
pub fn json(value: &Value) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value).expect("a JSON value has a text"))
}

/// Writes `value` or what `table` makes, as asked for.
///
/// # Errors
/// As [`line()`].
pub fn either(format: Format, value: &Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
    match format {
        Format::Json => json(value),
        Format::Table => line(&table()),
    }
}

/// `1 queue`, `2 queues`.
pub fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// Bytes with a binary unit and one decimal.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[allow(clippy::cast_precision_loss)] // shown with one decimal
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_text_to_the_left() {
        let mut rows = Rows::new(&["NAME", "COUNT"]);
        rows.push(["a".into(), "5".into()]);
        rows.push(["longer".into(), "1234567".into()]);
        rows.push(["none".into(), "-".into()]);
        assert_eq!(rows.render(), "NAME      COUNT\na             5\nlonger  1234567\nnone          -");
    }

    #[test]
    fn an_empty_table_is_its_headings() {
        assert_eq!(Rows::new(&["A", "B"]).render(), "A  B");
    }

    #[test]
    fn sizes_have_units_and_words_have_plurals() {
        assert_eq!((size(999), size(1536), size(3 << 30)), ("999 B".into(), "1.5 KiB".into(), "3.0 GiB".into()));
        assert_eq!((plural(1, "replica"), plural(0, "replica")), ("1 replica".into(), "0 replicas".into()));
    }
}
