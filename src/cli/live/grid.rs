//! A table of a live screen: columns that go where there is no room, rows in an order.

use std::cmp::Ordering;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Row, Table};

use super::{Theme, Tone};

/// A column; those farther to the right go first where the terminal is narrow.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Column {
    pub(in crate::cli) name: &'static str,
    /// With room for the sign of the order after the name.
    pub(in crate::cli) width: u16,
    /// Figures are in line at their right.
    pub(in crate::cli) right: bool,
}

pub(in crate::cli) const fn column(name: &'static str, width: u16, right: bool) -> Column {
    Column { name, width, right }
}

/// One field.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Cell {
    text: String,
    tone: Tone,
    /// Figures are ordered by what they are, not by how they are written; nothing is below all.
    order: Option<f64>,
}

impl Cell {
    pub(in crate::cli) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain, order: None }
    }

    /// A figure, as it is written.
    pub(in crate::cli) fn number(text: impl Into<String>, number: f64) -> Self {
        Self { text: text.into(), tone: Tone::Plain, order: Some(number) }
    }

    /// There is none.
    pub(in crate::cli) fn none() -> Self {
        Self { text: "-".to_owned(), tone: Tone::Dim, order: Some(f64::NEG_INFINITY) }
    }

    pub(in crate::cli) fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    pub(in crate::cli) fn tone_if(self, is: bool, tone: Tone) -> Self {
        if is { self.tone(tone) } else { self }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.order, other.order) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => self.text.cmp(&other.text),
        }
    }
}

/// By which column rows are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Sort {
    pub(in crate::cli) column: usize,
    /// The largest first.
    pub(in crate::cli) down: bool,
}

/// A table.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Grid {
    pub(in crate::cli) columns: &'static [Column],
    pub(in crate::cli) rows: Vec<Vec<Cell>>,
    /// What is said where there is no row.
    pub(in crate::cli) empty: &'static str,
}

/// Between two columns.
const GAP: u16 = 1;

impl Grid {
    /// In the order asked for; rows that are alike there keep the order that they have.
    pub(in crate::cli) fn sorted(mut self, sort: Sort) -> Self {
        self.rows.sort_by(|a, b| {
            let (Some(a), Some(b)) = (a.get(sort.column), b.get(sort.column)) else {
                return Ordering::Equal;
            };
            if sort.down { b.compare(a) } else { a.compare(b) }
        });
        self
    }

    /// As text: the names of the columns, then the rows.
    pub(in crate::cli) fn texts(&self) -> Vec<Vec<String>> {
        let names = self.columns.iter().map(|column| column.name.to_owned()).collect();
        let rows = self.rows.iter();
        let rows = rows.map(|row| row.iter().map(|cell| cell.text.clone()).collect());
        std::iter::once(names).chain(rows).collect()
    }

    /// As many columns as there is room for.
    fn fitting(&self, width: u16) -> usize {
        let mut used = 0_u16;
        let fits = self.columns.iter().take_while(|column| {
            used = used.saturating_add(column.width);
            let fits = used <= width;
            used = used.saturating_add(GAP);
            fits
        });
        fits.count().max(1).min(self.columns.len())
    }

    /// Draws rows from `from` on, and says how many there are where they do not fit.
    pub(in crate::cli) fn draw(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        (theme, sort, from): (Theme, Option<Sort>, usize),
    ) {
        let columns = &self.columns[..self.fitting(area.width)];
        if self.rows.is_empty() {
            frame.render_widget(Line::styled(self.empty, theme.style(Tone::Dim)), area);
            return;
        }
        let below_head = usize::from(area.height.saturating_sub(1));
        let cut = self.rows.len() > below_head;
        let room = if cut { below_head.saturating_sub(1) } else { below_head };
        let from = from.min(self.rows.len().saturating_sub(room));
        let head = columns.iter().enumerate().map(|(index, column)| {
            let sign = match sort {
                Some(sort) if sort.column == index && sort.down => "\u{25bc}",
                Some(sort) if sort.column == index => "\u{25b2}",
                _ => "",
            };
            aligned(format!("{}{sign}", column.name), column)
        });
        let head = Row::new(head).style(Modifier::BOLD);
        let rows = self.rows.iter().skip(from).take(room).map(|row| {
            let cells = row.iter().zip(columns);
            Row::new(cells.map(|(cell, column)| {
                aligned(cell.text.clone(), column).style(theme.style(cell.tone))
            }))
        });
        let widths = columns.iter().map(|column| Constraint::Length(column.width));
        let table = Table::new(rows, widths).header(head).column_spacing(GAP);
        frame.render_widget(table, area);
        if cut && area.height > 1 {
            let last = Rect { y: area.bottom() - 1, height: 1, ..area };
            let (first, to) = (from + 1, from + room);
            let text = format!("{first} to {to} of {}: up, down", self.rows.len());
            frame.render_widget(Line::styled(text, theme.style(Tone::Dim)), last);
        }
    }
}

fn aligned(text: String, column: &Column) -> Text<'static> {
    let text = Text::from(text);
    if column.right { text.right_aligned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { name: "name", width: 5, right: false },
        Column { name: "rate", width: 6, right: true },
        Column { name: "more", width: 10, right: true },
    ];

    fn grid() -> Grid {
        let row = |name: &str, rate: f64| {
            vec![Cell::text(name), Cell::number(format!("{rate}"), rate), Cell::none()]
        };
        Grid {
            columns: COLUMNS,
            rows: vec![row("b", 9.0), row("a", 10.0), row("c", 2.0)],
            empty: "",
        }
    }

    fn names(grid: &Grid) -> String {
        grid.rows.iter().map(|row| row[0].text.as_str()).collect()
    }

    #[test]
    fn figures_are_ordered_by_what_they_are_and_names_by_their_letters() {
        let by = |column, down| names(&grid().sorted(Sort { column, down }));
        assert_eq!(by(1, true), "abc");
        assert_eq!(by(1, false), "cba");
        assert_eq!(by(0, true), "cba");
        assert_eq!(by(2, true), "bac", "what is alike stays in its order");
        assert_eq!(by(9, true), "bac", "a column that is not there changes nothing");
    }

    #[test]
    fn columns_go_from_the_right_and_the_first_one_stays() {
        assert_eq!([0, 5, 11, 12, 22, 23].map(|width| grid().fitting(width)), [1, 1, 1, 2, 2, 3]);
    }
}
