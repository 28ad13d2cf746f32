//! Drawings for the page: bars, points and lines whose whiskers reach from the smallest to the largest value.

use std::fmt::Write as _;

use serde_json::Value;

use super::markup::escaped;

/// Width of a drawing in its own units; it is as wide as its column on the page.
const WIDTH: f64 = 420.0;
/// Room at the left of bars.
const LEFT: f64 = 6.0;
/// Room at the right of bars, for the value of the longest.
const RIGHT: f64 = 74.0;
/// Height of a bar with the room below it.
const BAR: f64 = 17.0;
/// Height of the name above a group.
const NAME: f64 = 19.0;
/// Height of the axis with its name.
const AXIS: f64 = 40.0;
/// Most points of a course over time that are named.
const NAMED_MAX: usize = 8;
/// From this ratio of the largest to the smallest value on, a scale is logarithmic.
const LOGARITHMIC_FROM: f64 = 25.0;

/// A median with the smallest and the largest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Range {
    /// The figure of this name with its `_min` and `_max`, divided by `unit`; `None` if it was not measured.
    pub(super) fn of(row: &Value, name: &str, unit: f64) -> Option<Self> {
        let median = row[name].as_f64()? / unit;
        let end = |which: &str| row[format!("{name}_{which}")].as_f64().map_or(median, |value| value / unit);
        Some(Self { median, min: end("min"), max: end("max") })
    }

    fn at(value: f64) -> Self {
        Self { median: value, min: value, max: value }
    }
}

/// The name of a group, and its bars: whose each is, and its value where it was measured.
pub(super) type Group = (String, Vec<(usize, Option<Range>)>);

/// Groups of horizontal bars.
#[derive(Debug, Default)]
pub(super) struct Bars {
    /// What is shown.
    pub title: String,
    /// What the axis counts, with its unit.
    pub axis: &'static str,
    /// Names of those that are compared; a bar has the number of its own.
    pub series: Vec<String>,
    /// From top to bottom.
    pub groups: Vec<Group>,
    /// Where both are even, of a ratio.
    pub even: Option<f64>,
    /// Every value that was measured, of each bar in turn; none where only the median is known.
    pub samples: Vec<Vec<f64>>,
}

impl Bars {
    /// The figure; nothing if no bar has a value.
    pub(super) fn draw(&self) -> String {
        let bars = || self.groups.iter().flat_map(|(_, bars)| bars);
        let ranges: Vec<Range> = bars().filter_map(|(_, range)| *range).chain(self.even.map(Range::at)).collect();
        if bars().all(|(_, range)| range.is_none()) {
            return String::new();
        }
        let scale = Scale::of(&ranges, LEFT, WIDTH - RIGHT);
        let height: f64 = self.groups.iter().map(|(_, bars)| NAME + BAR * as_f64(bars.len()) + 4.0).sum();
        let mut out = scale.vertical(height, self.axis);
        if let Some(even) = self.even {
            let x = scale.at(even);
            let _ = write!(out, "<line class='even' x1='{x:.1}' x2='{x:.1}' y1='0' y2='{height:.1}'/>");
        }
        let mut samples = self.samples.iter();
        let mut y = 0.0;
        for (name, bars) in &self.groups {
            let _ = write!(out, "<text class='name' x='{LEFT}' y='{:.1}'>{}</text>", y + 14.0, escaped(name));
            y += NAME;
            for (series, range) in bars {
                let samples = samples.next().map_or(&[][..], Vec::as_slice);
                let Some(range) = range else {
                    let _ = write!(out, "<text class='tick' x='{LEFT}' y='{:.1}'>not measured</text>", y + 11.0);
                    y += BAR;
                    continue;
                };
                self.bar(&mut out, y, *series, *range, samples, &scale);
                y += BAR;
            }
            y += 4.0;
        }
        figure(&self.title, &self.series, height + AXIS, &out)
    }

    fn bar(&self, out: &mut String, y: f64, series: usize, range: Range, samples: &[f64], scale: &Scale) {
        let (median, min, max) = (scale.at(range.median), scale.at(range.min), scale.at(range.max));
        let middle = y + 6.5;
        let who = self.series.get(series).map_or("", String::as_str);
        let _ = write!(
            out,
            "<g><title>{}: {} ({}–{})</title>",
            escaped(who),
            short(range.median),
            short(range.min),
            short(range.max)
        );
        if samples.is_empty() {
            // A ratio is better or worse than even, not more than nothing.
            let from = self.even.map_or(LEFT, |even| scale.at(even));
            let _ = write!(
                out,
                "<rect class='s{series}' x='{:.1}' y='{y:.1}' width='{:.1}' height='13' rx='2'/>",
                from.min(median),
                (median - from).abs().max(1.0)
            );
        } else {
            let _ = write!(
                out,
                "<rect class='s{series} range' x='{min:.1}' y='{y:.1}' width='{:.1}' height='13' rx='2'/>",
                (max - min).max(1.0)
            );
            for sample in samples {
                let _ =
                    write!(out, "<circle class='s{series} dot' cx='{:.1}' cy='{middle}' r='3'/>", scale.at(*sample));
            }
            let _ = write!(out, "<path class='w{series}' stroke-width='3' d='M{median:.1} {y:.1}v13'/>");
        }
        if max - min > 1.5 && samples.is_empty() {
            let _ = write!(
                out,
                "<path class='w{series}' d='M{min:.1} {middle}H{max:.1}M{min:.1} {:.1}v8M{max:.1} {:.1}v8'/>",
                middle - 4.0,
                middle - 4.0
            );
        }
        let _ = write!(
            out,
            "<text class='value' x='{:.1}' y='{:.1}'>{}</text></g>",
            max.max(median).max(self.even.map_or(0.0, |even| scale.at(even))) + 6.0,
            y + 11.0,
            short(range.median)
        );
    }
}

/// Lines over something that grows, on a logarithmic scale where that is not time: what is proportional rises with a slope of one.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What is shown.
    pub title: String,
    /// What grows.
    pub across: &'static str,
    /// What is measured, with its unit.
    pub up: &'static str,
    /// Where a point stands, its name on the axis, and its value.
    pub points: Vec<(f64, String, Range)>,
    /// What grows is time, and points are many: only some are named.
    pub is_course: bool,
}

impl Lines {
    /// The figure; nothing if there is no point.
    pub(super) fn draw(&self) -> String {
        const GUTTER: f64 = 52.0;
        const HEIGHT: f64 = 190.0;
        let ranges: Vec<Range> = self.points.iter().map(|(_, _, range)| *range).collect();
        let across: Vec<Range> = self.points.iter().map(|(x, ..)| Range::at(*x)).collect();
        let (Some(first), Some(last)) = (across.first(), across.last()) else { return String::new() };
        let (low, high) = (GUTTER + 14.0, WIDTH - 30.0);
        let x = Scale { from: first.median, to: last.median, is_log: !self.is_course, low, high };
        let step = if self.is_course { self.points.len().div_ceil(NAMED_MAX) } else { 1 };
        let y = Scale::of(&ranges, HEIGHT, 40.0);
        let mut out = String::new();
        for tick in y.ticks() {
            let at = y.at(tick);
            let _ = write!(
                out,
                "<line class='grid' x1='{GUTTER}' x2='{WIDTH}' y1='{at:.1}' y2='{at:.1}'/>\
                 <text class='tick' x='{:.1}' y='{:.1}' text-anchor='end'>{}</text>",
                GUTTER - 6.0,
                at + 4.0,
                compact(tick)
            );
        }
        let _ = write!(out, "<text class='tick' x='2' y='10'>{}{}</text>", escaped(self.up), y.in_words());
        let mut path = String::new();
        for (number, (grown, name, range)) in self.points.iter().enumerate() {
            let (px, py) = (x.at(*grown), y.at(range.median));
            let _ = write!(path, "{}{px:.1} {py:.1}", if number == 0 { 'M' } else { 'L' });
            let (min, max) = (y.at(range.min), y.at(range.max));
            let _ = write!(
                out,
                "<g><title>{}: {} ({}–{})</title><path class='w0' d='M{px:.1} {min:.1}V{max:.1}'/>\
                 <circle class='s0' cx='{px:.1}' cy='{py:.1}' r='4'/></g>",
                escaped(name),
                short(range.median),
                short(range.min),
                short(range.max),
            );
            if number % step > 0 {
                continue;
            }
            let _ = write!(
                out,
                "<text class='value' x='{px:.1}' y='{:.1}' text-anchor='middle'>{}</text>\
                 <text class='tick' x='{px:.1}' y='{:.1}' text-anchor='middle'>{}</text>",
                max.min(py) - 8.0,
                short(range.median),
                HEIGHT + 18.0,
                escaped(name)
            );
        }
        let _ = write!(
            out,
            "<path class='w0' d='{path}'/><text class='tick' x='{:.1}' y='{:.1}' text-anchor='middle'>{}</text>",
            (GUTTER + WIDTH) / 2.0,
            HEIGHT + 36.0,
            escaped(self.across)
        );
        figure(&self.title, &[], HEIGHT + 42.0, &out)
    }
}

fn figure(title: &str, series: &[String], height: f64, drawn: &str) -> String {
    let title = escaped(title);
    let mut legend = String::new();
    if series.len() > 1 {
        for (number, name) in series.iter().enumerate() {
            let _ = write!(legend, "<span><i class='s{number}'></i>{}</span>", escaped(name));
        }
        legend = format!("<p class='legend'>{legend}</p>");
    }
    format!(
        "<figure><figcaption>{title}</figcaption><svg viewBox='0 0 {WIDTH} {height:.0}' role='img' \
         aria-label='{title}'>{drawn}</svg>{legend}</figure>"
    )
}

/// Where values stand, between two ends.
#[derive(Clone, Copy, Debug)]
struct Scale {
    from: f64,
    to: f64,
    is_log: bool,
    low: f64,
    high: f64,
}

impl Scale {
    /// A scale that has all of them.
    fn of(ranges: &[Range], low: f64, high: f64) -> Self {
        let to = ranges.iter().map(|range| range.max).fold(0.0, f64::max);
        let smallest = ranges.iter().map(|range| range.min).filter(|min| *min > 0.0).fold(f64::INFINITY, f64::min);
        if smallest.is_finite() && to / smallest >= LOGARITHMIC_FROM {
            // Even the smallest has a bar.
            let from = 10f64.powf((smallest * 0.8).log10().floor());
            return Self { from, to, is_log: true, low, high };
        }
        Self { from: 0.0, to: if to > 0.0 { to } else { 1.0 }, is_log: false, low, high }
    }

    fn at(&self, value: f64) -> f64 {
        let part = if self.is_log {
            // One value alone stands in the middle.
            if self.to <= self.from {
                0.5
            } else {
                (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
            }
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.low + part * (self.high - self.low)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let mut tick = self.from;
            let mut ticks = Vec::new();
            while tick <= self.to * 1.000_001 && ticks.len() < 20 {
                ticks.push(tick);
                tick *= 10.0;
            }
            return ticks;
        }
        let decade = 10f64.powf((self.to / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|part| part * decade).into_iter().find(|step| self.to / step <= 5.0);
        let step = step.unwrap_or(self.to);
        (0..=5).map(|number| f64::from(number) * step).take_while(|tick| *tick <= self.to * 1.000_001).collect()
    }

    fn in_words(&self) -> &'static str {
        if self.is_log { " (logarithmic)" } else { "" }
    }

    /// Vertical lines with their values below, and what they count.
    fn vertical(&self, height: f64, axis: &str) -> String {
        let mut out = String::new();
        for tick in self.ticks() {
            let x = self.at(tick);
            let anchor = if x < self.low + 8.0 { "start" } else { "middle" };
            let _ = write!(
                out,
                "<line class='grid' x1='{x:.1}' x2='{x:.1}' y1='0' y2='{height:.1}'/>\
                 <text class='tick' x='{x:.1}' y='{:.1}' text-anchor='{anchor}'>{}</text>",
                height + 15.0,
                compact(tick)
            );
        }
        let _ = write!(
            out,
            "<text class='tick' x='{:.1}' y='{:.1}' text-anchor='middle'>{}{}</text>",
            f64::midpoint(self.low, self.high),
            height + 33.0,
            escaped(axis),
            self.in_words()
        );
        out
    }
}

/// A value beside its bar: three digits that count, thousands apart.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || value == 0.0 {
        let digits = format!("{value:.0}");
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) && digits.len() > 4 {
                out.push('\u{202f}');
            }
            out.push(digit);
        }
        return out;
    }
    let decimals = if size >= 10.0 {
        1
    } else if size >= 0.1 {
        2
    } else {
        3
    };
    format!("{value:.decimals$}")
}

/// A round value on an axis.
fn compact(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    // Steps are 1, 2 or 5 of some decade, so that the sum of many has a digit or two at most.
    format!("{}{unit}", (value * 1e6).round() / 1e6)
}

#[allow(clippy::cast_precision_loss)] // a handful
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bars(values: &[f64]) -> Bars {
        let bars = values.iter().map(|value| (0, Some(Range { median: *value, min: value * 0.9, max: value * 1.1 })));
        Bars {
            title: "<T>".into(),
            axis: "µs",
            series: vec!["a & b".into(), "c".into()],
            groups: vec![("g".into(), bars.collect())],
            ..Bars::default()
        }
    }

    #[test]
    fn a_range_has_its_ends_or_is_a_point() {
        let row = json!({ "a": 2_000.0, "a_min": 1_000.0, "a_max": 4_000.0, "b": 7 });
        assert_eq!(Range::of(&row, "a", 1e3), Some(Range { median: 2.0, min: 1.0, max: 4.0 }));
        assert_eq!(Range::of(&row, "b", 1.0), Some(Range { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(Range::of(&row, "c", 1.0), None);
    }

    #[test]
    fn bars_have_whiskers_an_axis_with_its_unit_and_escaped_names() {
        let drawn = bars(&[50.0, 100.0]).draw();
        assert_eq!(drawn.matches("<rect").count(), 2);
        assert_eq!(drawn.matches("class='w0'").count(), 2);
        assert!(drawn.contains(">µs<") && drawn.contains("&lt;T&gt;") && drawn.contains("a &amp; b"));
        assert!(!drawn.contains("<T>") && !drawn.contains("logarithmic") && !drawn.contains("NaN"));
        assert!(bars(&[1.0, 1_000.0]).draw().contains("µs (logarithmic)"));
        assert_eq!(bars(&[]).draw(), "");
    }

    #[test]
    fn scales_have_round_marks_and_everything_in_them() {
        let linear = Scale::of(&[Range::at(34.0)], 0.0, 340.0);
        assert_eq!(linear.ticks(), [0.0, 10.0, 20.0, 30.0]);
        assert!((linear.at(17.0) - 170.0).abs() < 1e-9);
        let log = Scale::of(&[Range::at(1.0), Range::at(1_000.0)], 0.0, 100.0);
        assert_eq!((log.ticks().len(), log.is_log), (5, true));
        assert!(log.at(1.0) > 10.0 && (log.at(1_000.0) - 100.0).abs() < 1e-9);
        assert_eq!(
            (short(81_413.0), short(0.429), short(21.11)),
            ("81\u{202f}413".into(), "0.43".into(), "21.1".into())
        );
        assert_eq!((compact(50_000.0), compact(0.2), compact(2e6)), ("50k".into(), "0.2".into(), "2M".into()));
    }

    #[test]
    fn lines_name_their_points() {
        let points = vec![(100.0, "100 B".to_owned(), Range::at(5.0)), (1024.0, "1 KiB".to_owned(), Range::at(6.0))];
        let lines = Lines { title: "t".into(), across: "size", up: "µs", points, is_course: false };
        let drawn = lines.draw();
        assert!(
            drawn.contains(">1 KiB<") && drawn.contains(">size<") && drawn.contains(">µs<") && !drawn.contains("NaN")
        );
        assert_eq!(Lines::default().draw(), "");
        let points = (0..30).map(|minute| (f64::from(minute), format!("m{minute}"), Range::at(5.0)));
        let course = Lines { points: points.collect(), is_course: true, ..lines }.draw();
        assert!(course.contains(">m0<") && course.contains(">m4<") && course.contains(">m28<"));
        assert!(!course.contains(">m1<") && !course.contains("NaN"), "from 0, and evenly");
        assert_eq!((course.matches("<circle").count(), course.matches("class='value'").count()), (30, 8));
    }
}
