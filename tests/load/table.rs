//! What was measured, for people and for programs.

use std::fmt;

use serde_json::{Value, json};

/// Figures, in the order in which they were taken.
pub(crate) struct Table {
    what: String,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    unit: &'static str,
    figure: f64,
    most: Option<f64>,
}

impl Row {
    fn is_met(&self) -> bool {
        self.most.is_none_or(|most| self.figure <= most)
    }
}

impl Table {
    pub(crate) fn new(what: String) -> Self {
        println!("{what}");
        Self { what, rows: Vec::new() }
    }

    /// Notes a figure, and says it to those who wait.
    pub(crate) fn figure(
        &mut self,
        name: &'static str,
        unit: &'static str,
        figure: f64,
        most: Option<f64>,
    ) {
        let row = Row { name, unit, figure, most };
        println!("{row}");
        self.rows.push(row);
    }

    /// Whether no target is missed.
    pub(crate) fn all_met(&self) -> bool {
        self.rows.iter().all(Row::is_met)
    }

    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({ "name": row.name.trim(), "unit": row.unit, "figure": row.figure,
                    "at_most": row.most, "met": row.is_met() })
            })
            .collect();
        json!({ "load": self.what, "figures": rows })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, figure, most } = self;
        write!(f, "  {name:<32}{figure:10.2} {unit:<9}")?;
        match most {
            Some(most) if self.is_met() => write!(f, " of at most {most}"),
            Some(most) => write!(f, " of at most {most}  MORE"),
            None => Ok(()),
        }
    }
}
