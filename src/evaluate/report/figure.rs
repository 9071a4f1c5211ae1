//! A figure: axes, marks and words, in units of its view box. The template only places them.
//!
//! In: ranges, numbers and names. Out: a document for the template's macro `figure`, with every
//! coordinate worked out and every text ready. A figure that cannot be drawn is none.

use serde_json::{Value, json};

use super::plot::{Axis, px, round_ticks};
use super::text::percent_plain;

/// Width of a letter of an axis, about, in units of the view box.
const LETTER: f64 = 6.6;
/// Height of all figures but the small ones.
const HEIGHT: f64 = 300.0;

/// How much room a figure takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Two stand side by side.
    Half,
    /// It stands alone.
    Wide,
    /// Many stand side by side.
    Small,
}

impl Size {
    /// Width and height of the view box; left, right, top and bottom end of the drawing in it.
    const fn room(self) -> ([f64; 2], [f64; 4]) {
        match self {
            Self::Half => ([460.0, HEIGHT], [62.0, 440.0, 14.0, 244.0]),
            Self::Wide => ([960.0, HEIGHT], [62.0, 946.0, 14.0, 244.0]),
            Self::Small => ([300.0, 168.0], [44.0, 292.0, 10.0, 140.0]),
        }
    }
}

/// The words around a drawing.
#[derive(Debug, Clone)]
pub(super) struct Words {
    /// Unique on the page.
    pub(super) id: String,
    /// What it shows.
    pub(super) title: String,
    /// The same for those who do not see it.
    pub(super) about: String,
    /// How to read it, in a sentence.
    pub(super) caption: String,
}

impl Words {
    pub(super) fn new(id: &str, title: &str, about: &str, caption: &str) -> Self {
        let [id, title, about, caption] = [id, title, about, caption].map(str::to_owned);
        Self { id, title, about, caption }
    }
}

/// An axis: its range, its marks and its name.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    range: [f64; 2],
    ticks: Vec<(f64, String)>,
    name: String,
    /// Whether a line goes through the drawing at every mark.
    grid: bool,
}

impl Scale {
    /// From nothing to all.
    pub(super) fn shares(name: &str) -> Self {
        let ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0].map(|share| (share, percent_plain(share)));
        Self { range: [0.0, 1.0], ticks: ticks.to_vec(), name: name.to_owned(), grid: true }
    }

    /// Round numbers around a range; none where it cannot be drawn.
    pub(super) fn round(
        [low, high]: [f64; 2],
        name: &str,
        text: impl Fn(f64) -> String,
    ) -> Option<Self> {
        let marks = round_ticks(low, high);
        let range = [*marks.first()?, *marks.last()?];
        let ticks = marks.iter().map(|&mark| (mark, text(mark))).collect();
        Some(Self { range, ticks, name: name.to_owned(), grid: true })
    }

    /// A range as it is, with round numbers inside.
    pub(super) fn exact(range: [f64; 2], name: &str, text: impl Fn(f64) -> String) -> Option<Self> {
        let inside = |mark: &f64| (range[0]..=range[1]).contains(mark);
        let marks = round_ticks(range[0], range[1]);
        let ticks: Vec<(f64, String)> =
            marks.into_iter().filter(inside).map(|mark| (mark, text(mark))).collect();
        (!ticks.is_empty()).then(|| Self { range, ticks, name: name.to_owned(), grid: true })
    }

    /// Categories side by side: the n-th lies between n and n + 1.
    pub(super) fn slots(names: &[String], name: &str) -> Self {
        let ticks = names.iter().enumerate().map(|(at, text)| (at as f64 + 0.5, text.clone()));
        let range = [0.0, names.len() as f64];
        Self { range, ticks: ticks.collect(), name: name.to_owned(), grid: false }
    }

    /// The same with other marks.
    pub(super) fn marked(self, ticks: Vec<(f64, String)>) -> Self {
        Self { ticks, ..self }
    }

    /// Every n-th mark only, so that their texts do not run into each other.
    fn thinned(self, room: f64) -> Self {
        let longest = self.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
        let fits = (room / (LETTER * (longest as f64 + 1.5))).max(1.0);
        let mut step = 1;
        while self.ticks.len().div_ceil(step) as f64 > fits {
            step += 1;
        }
        Self { ticks: self.ticks.into_iter().step_by(step).collect(), ..self }
    }
}

/// A figure in the making.
#[derive(Debug)]
pub(super) struct Figure {
    words: Words,
    size: Size,
    /// Left, right, top and bottom end of the drawing.
    ends: [f64; 4],
    x: Axis,
    y: Axis,
    scales: [Scale; 2],
    legend: Vec<Value>,
    marks: Vec<Value>,
}

impl Figure {
    /// An empty one; none where a range cannot be drawn.
    pub(super) fn new(words: Words, size: Size, x: Scale, y: Scale) -> Option<Self> {
        let (_, [left, right, top, bottom]) = size.room();
        // Long numbers need room beside the name of their axis.
        let longest = y.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
        let name = if y.name.is_empty() { 10.0 } else { 28.0 };
        let left = left.max(LETTER.mul_add(longest as f64, name)).min(right / 2.0);
        let x = x.thinned(right - left);
        Some(Self {
            x: Axis::new(x.range, [left, right])?,
            y: Axis::new(y.range, [bottom, top])?,
            words,
            size,
            ends: [left, right, top, bottom],
            scales: [x, y],
            legend: Vec::new(),
            marks: Vec::new(),
        })
    }

    /// A line through points.
    pub(super) fn line(&mut self, class: &str, points: &[[f64; 2]]) {
        let places: Vec<String> = points
            .iter()
            .map(|[x, y]| format!("{},{}", px(self.x.place(*x)), px(self.y.place(*y))))
            .collect();
        self.marks.push(json!({ "line": places.join(" "), "class": class }));
    }

    /// A bar over a range of either axis.
    pub(super) fn bar(&mut self, class: &str, x: [f64; 2], y: [f64; 2], hint: &str) {
        self.cell((class, 1.0), x, y, hint);
    }

    /// The same, seen through by a share of its ink.
    pub(super) fn cell(&mut self, (class, ink): (&str, f64), x: [f64; 2], y: [f64; 2], hint: &str) {
        let [x0, x1] = x.map(|x| self.x.place(x));
        let [y0, y1] = y.map(|y| self.y.place(y));
        self.marks.push(json!({
            "class": class,
            "ink": format!("{ink:.2}"),
            "x": px(x0.min(x1)),
            "y": px(y0.min(y1)),
            "w": px((x1 - x0).abs()),
            "h": px((y1 - y0).abs()),
            "hint": hint,
        }));
    }

    /// A line from top to bottom with a word beside it.
    pub(super) fn upright(&mut self, x: f64, text: &str) {
        let [low, high] = self.scales[1].range;
        self.line("until", &[[x, low], [x, high]]);
        let [left, right, top, _] = self.ends;
        let place = self.x.place(x);
        // The word stands on the side that has more room.
        let is_left = place - left > right - place;
        self.marks.push(json!({
            "text": text,
            "x": px(if is_left { place - 6.0 } else { place + 6.0 }),
            "y": px(top + 12.0),
            "anchor": if is_left { "end" } else { "start" },
        }));
    }

    /// A line from left to right.
    pub(super) fn level(&mut self, class: &str, y: f64) {
        let [low, high] = self.scales[0].range;
        self.line(class, &[[low, y], [high, y]]);
    }

    /// A short stroke up from the horizontal axis.
    pub(super) fn stroke(&mut self, class: &str, x: f64) {
        let [_, _, _, bottom] = self.ends;
        let place = px(self.x.place(x));
        let line = format!("{place},{} {place},{}", px(bottom), px(bottom - 16.0));
        self.marks.push(json!({ "line": line, "class": class }));
    }

    /// What a class of lines means.
    pub(super) fn key_line(&mut self, class: &str, text: &str) {
        self.legend.push(json!({ "line": true, "class": class, "text": text, "ink": "1" }));
    }

    /// What a class of bars means.
    pub(super) fn key_bar(&mut self, class: &str, ink: f64, text: &str) {
        let ink = format!("{ink:.2}");
        self.legend.push(json!({ "line": false, "class": class, "text": text, "ink": ink }));
    }

    /// The document.
    pub(super) fn done(self) -> Value {
        let ([width, height], _) = self.size.room();
        let [left, right, top, bottom] = self.ends;
        let [x, y] = self.scales;
        let x_tick = |(at, text): &(f64, String)| {
            let place = self.x.place(*at);
            // A text at the end of the axis is moved inside.
            let half = LETTER * text.chars().count() as f64 / 2.0;
            json!({ "at": px(place), "text_at": px(place.min(width - half)), "text": text })
        };
        let y_tick =
            |(at, text): &(f64, String)| json!({ "at": px(self.y.place(*at)), "text": text });
        let x_ticks: Vec<Value> = x.ticks.iter().map(x_tick).collect();
        let y_ticks: Vec<Value> = y.ticks.iter().map(y_tick).collect();
        let Words { id, title, about, caption } = self.words;
        json!({
            "id": id,
            "title": title,
            "about": about,
            "caption": caption,
            "size": match self.size {
                Size::Half => "half",
                Size::Wide => "wide",
                Size::Small => "small",
            },
            "width": px(width),
            "height": px(height),
            "left": px(left),
            "right": px(right),
            "top": px(top),
            "bottom": px(bottom),
            "middle": px((left + right) / 2.0),
            "center": px((top + bottom) / 2.0),
            "text_y": px(bottom + 17.0),
            "name_y": px(bottom + 41.0),
            "x_grid": x.grid,
            "x_ticks": x_ticks,
            "y_ticks": y_ticks,
            "y_grid": y.grid,
            "x_name": x.name,
            "y_name": y.name,
            "legend": self.legend,
            "marks": self.marks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words::new("x", "X", "x", "x")
    }

    #[test]
    fn long_names_are_thinned_until_they_fit() {
        let names: Vec<String> = (0..12).map(|n| format!("{n}00–{n}99")).collect();
        let figure =
            Figure::new(words(), Size::Half, Scale::slots(&names, "x"), Scale::shares("y"))
                .unwrap()
                .done();
        let ticks = figure["x_ticks"].as_array().unwrap();
        assert!((3..=6).contains(&ticks.len()), "{ticks:?}");
        assert_eq!(figure["y_ticks"].as_array().unwrap().len(), 6);
    }

    #[test]
    fn what_has_no_range_is_no_figure() {
        assert!(Scale::round([1.0, 1.0], "x", |x| x.to_string()).is_none());
        assert!(Scale::round([0.0, f64::MAX], "x", |x| x.to_string()).is_some());
        let none = Scale::slots(&[], "x");
        assert!(Figure::new(words(), Size::Half, none, Scale::shares("y")).is_none());
    }

    #[test]
    fn a_bar_may_hang_and_a_word_stays_inside() {
        let scale = Scale::round([-1.0, 1.0], "y", |y| format!("{y}")).unwrap();
        let mut figure = Figure::new(words(), Size::Half, Scale::shares("x"), scale).unwrap();
        figure.bar("up", [0.0, 0.1], [0.0, -1.0], "");
        figure.upright(0.9, "late");
        let done = figure.done();
        assert_eq!(done["marks"][0]["y"], "129.0");
        assert_eq!(done["marks"][2]["anchor"], "end");
    }
}
