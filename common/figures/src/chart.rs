//! A picture as data: axes, series, points with their spread, and limits.
//!
//! Invariant: a chart has all that its picture shows, so the terminal, the SVG and the tables show the same figures.

use serde::{Deserialize, Serialize};

use crate::ruler::number;

/// One picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// Its word in the record, unique in its experiment: `calls`.
    pub name: String,
    /// One line above the picture.
    pub title: String,
    /// What is varied.
    pub x: Axis,
    /// What is counted.
    pub y: Axis,
    /// A line of points for each thing that is compared.
    pub series: Vec<Series>,
    /// Where something ends: FD_SETSIZE, a limit of descriptors, a claim.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What it shows, with the unit: `CPU time of one wait (µs)`.
    pub label: String,
    /// How values are placed on it.
    pub scale: Scale,
}

/// How values are placed on an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// In proportion; 0 is shown.
    Linear,
    /// By powers of ten. A value of 0 stands at the very edge, apart from the others.
    Log,
    /// By name: a value is an index into these.
    Named(Vec<String>),
}

/// The points of one thing that is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What stands beside its line: `epoll-lt`.
    pub name: String,
    /// Its points, by growing `x`.
    pub points: Vec<Point>,
}

/// A figure, with its spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where it stands on the x axis.
    pub x: f64,
    /// The median of its runs, or the count.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
    /// A count, the same each time, and no measurement.
    #[serde(default)]
    pub exact: bool,
}

/// A line across the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// What ends there: `FD_SETSIZE`.
    pub label: String,
    /// The value on the x axis, if the line is vertical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<f64>,
    /// The value on the y axis, if the line is horizontal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<f64>,
}

impl Point {
    /// A count, the same each time.
    pub fn exact(x: f64, value: f64) -> Self {
        Self { x, median: value, low: value, high: value, exact: true }
    }
}

impl Axis {
    /// Values in proportion.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear }
    }

    /// Powers of ten.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Log }
    }

    /// A place for each name.
    pub fn named<S: Into<String>>(label: impl Into<String>, names: impl IntoIterator<Item = S>) -> Self {
        Self { label: label.into(), scale: Scale::Named(names.into_iter().map(Into::into).collect()) }
    }
}

impl Limit {
    /// A vertical line.
    pub fn at_x(label: impl Into<String>, x: f64) -> Self {
        Self { label: label.into(), x: Some(x), y: None }
    }

    /// A horizontal line.
    pub fn at_y(label: impl Into<String>, y: f64) -> Self {
        Self { label: label.into(), x: None, y: Some(y) }
    }
}

impl Series {
    /// No points yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), points: Vec::new() }
    }

    /// The point at this `x`.
    pub fn at(&self, x: f64) -> Option<&Point> {
        self.points.iter().find(|point| (point.x - x).abs() <= 1e-9 * x.abs())
    }
}

impl Chart {
    /// A value of the x axis, as one reads it.
    pub fn at(&self, x: f64) -> String {
        match &self.x.scale {
            Scale::Named(names) => names.get(x as usize).cloned().unwrap_or_default(),
            _ => number(x),
        }
    }

    /// The series with this name.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }
}
