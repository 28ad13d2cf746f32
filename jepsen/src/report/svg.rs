//! Drawing: scales, escaping, marks.

use std::fmt::Write as _;

use timbermq_check::history::Micros;

/// Width of every drawing, in its own units.
pub const WIDTH: f64 = 1160.0;
/// Room for names at the left.
pub const LEFT: f64 = 120.0;
/// Room at the right.
pub const RIGHT: f64 = 16.0;

/// Text as HTML.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Microseconds as seconds.
#[must_use]
#[allow(clippy::cast_precision_loss)] // for a person
pub fn seconds(time: Micros) -> f64 {
    time as f64 / 1e6
}

/// A duration for a person.
#[must_use]
pub fn duration(time: Micros) -> String {
    match time {
        0..1_000 => format!("{time} µs"),
        1_000..10_000 => format!("{:.1} ms", seconds(time) * 1e3),
        10_000..1_000_000 => format!("{:.0} ms", seconds(time) * 1e3),
        _ => format!("{:.2} s", seconds(time)),
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Time from left to right.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// What stands at the left end.
    pub from: Micros,
    /// What stands at the right end.
    pub to: Micros,
}

impl Time {
    /// Where a time stands; what is outside stands at the nearer end.
    #[must_use]
    pub fn x(&self, at: Micros) -> f64 {
        let span = seconds(self.to.saturating_sub(self.from)).max(1e-6);
        let part = seconds(at.clamp(self.from, self.to.max(self.from)) - self.from) / span;
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }

    /// Seconds between two marks: few enough to be read.
    #[must_use]
    pub fn step(&self) -> u64 {
        let span = self.to.saturating_sub(self.from) / 1_000_000;
        [1, 2, 5, 10, 20, 30, 60, 120, 300, 600].into_iter().find(|step| span / step <= 14).unwrap_or(1_200)
    }

    /// The marks and their names in seconds of the history, below `y`, with lines up to `top`.
    #[must_use]
    pub fn axis(&self, top: f64, y: f64) -> String {
        let mut out = String::new();
        let step = self.step();
        for n in seconds_above(self.from).div_ceil(step).. {
            let at = n * step * 1_000_000;
            if at > self.to {
                break;
            }
            let x = self.x(at);
            let _ = write!(
                out,
                "<line class='grid' x1='{x:.1}' x2='{x:.1}' y1='{top:.1}' y2='{y:.1}'/>\
                 <text class='tick' x='{x:.1}' y='{:.1}' text-anchor='middle'>{} s</text>",
                y + 15.0,
                n * step
            );
        }
        out
    }
}

/// Whole seconds, rounded up.
fn seconds_above(time: Micros) -> u64 {
    time.div_ceil(1_000_000)
}

/// A value from bottom to top on a logarithmic scale.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The value at the bottom.
    pub min: f64,
    /// The value at the top.
    pub max: f64,
    /// Where the bottom is.
    pub bottom: f64,
    /// Where the top is.
    pub top: f64,
}

impl Log {
    /// Where a value stands; what is outside stands at the nearer end.
    #[must_use]
    pub fn y(&self, value: f64) -> f64 {
        let part = (value.clamp(self.min, self.max) / self.min).ln() / (self.max / self.min).ln();
        self.bottom - part * (self.bottom - self.top)
    }
}

/// The beginning of a drawing of some height, with a name for those who do not see it.
#[must_use]
pub fn open(height: f64, name: &str) -> String {
    format!("<svg viewBox='0 0 {WIDTH} {height:.0}' role='img' aria-label='{}'>", escaped(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_keep_what_is_outside_at_their_ends() {
        let time = Time { from: 1_000_000, to: 11_000_000 };
        assert!((time.x(0) - LEFT).abs() < 1e-9);
        assert!((time.x(99_000_000) - (WIDTH - RIGHT)).abs() < 1e-9);
        assert!((time.x(6_000_000) - (LEFT + WIDTH - RIGHT) / 2.0).abs() < 1e-6);
        let log = Log { min: 1.0, max: 100.0, bottom: 200.0, top: 0.0 };
        assert!((log.y(10.0) - 100.0).abs() < 1e-9);
        assert!((log.y(0.0) - 200.0).abs() < 1e-9);
        assert!((log.y(1e9) - 0.0).abs() < 1e-9);
    }

    #[test]
    fn marks_are_whole_steps_of_the_history() {
        let axis = Time { from: 1_200_000, to: 21_000_000 }.axis(0.0, 10.0);
        assert!(axis.contains(">2 s<") && axis.contains(">20 s<") && !axis.contains(">0 s<"), "{axis}");
    }

    #[test]
    fn text_is_escaped_and_numbers_are_for_people() {
        assert_eq!(escaped("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(123), "123");
        assert_eq!(
            [duration(900), duration(1_500), duration(25_000), duration(2_500_000)],
            ["900 µs", "1.5 ms", "25 ms", "2.50 s"]
        );
    }
}
