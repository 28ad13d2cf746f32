//! Latencies: recorded in microseconds from 1 µs to 60 s with three digits, told in milliseconds.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde_json::{Map, Value};

/// Longest latency that is told apart, in microseconds. A longer one counts as this.
const MAX_US: u64 = 60_000_000;
/// Significant digits.
const DIGITS: u8 = 3;
/// Names and quantiles, as the OpenMessaging Benchmark has them.
const QUANTILES: [(&str, f64); 7] = [
    ("50pct", 0.5),
    ("75pct", 0.75),
    ("90pct", 0.9),
    ("95pct", 0.95),
    ("99pct", 0.99),
    ("999pct", 0.999),
    ("9999pct", 0.9999),
];

/// A distribution of latencies.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_US, DIGITS).expect("the bounds are in order");
        Self { histogram }
    }

    /// Adds a latency in nanoseconds.
    pub(crate) fn record(&mut self, nanos: u64) {
        // Rounded up: nothing takes no time, and no latency is told smaller than it was.
        self.histogram.saturating_record(nanos.div_ceil(1_000).clamp(1, MAX_US));
    }

    /// How many latencies there are.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency in microseconds that this part of all did not exceed; 0 if there are none.
    pub(crate) fn quantile_us(&self, quantile: f64) -> u64 {
        if self.count() == 0 { 0 } else { self.histogram.value_at_quantile(quantile).min(MAX_US) }
    }

    /// The longest, in microseconds; 0 if there are none.
    pub(crate) fn max_us(&self) -> u64 {
        self.histogram.max().min(MAX_US)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.histogram.reset();
    }

    /// Puts average, quantiles and maximum in milliseconds into `figures`; nothing (null) where there is no latency.
    pub(crate) fn put(&self, prefix: &str, figures: &mut Map<String, Value>) {
        let told = |us: f64| if self.count() == 0 { Value::Null } else { (us / 1e3).into() };
        #[allow(clippy::cast_precision_loss)] // at most 60 million
        let ms = |us: u64| told(us as f64);
        figures.insert(format!("{prefix}Avg"), told((self.histogram.mean() * 10.0).round() / 10.0));
        for (name, quantile) in QUANTILES {
            figures.insert(format!("{prefix}{name}"), ms(self.quantile_us(quantile)));
        }
        figures.insert(format!("{prefix}Max"), ms(self.max_us()));
    }

    /// Writes the whole distribution in the text form that HdrHistogram's plotters read, values in milliseconds.
    ///
    /// # Errors
    /// Writing fails.
    pub(crate) fn write_hgrm(&self, out: &mut impl Write) -> io::Result<()> {
        const TICKS_PER_HALF: u32 = 5;
        writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
        let mut below = 0;
        #[allow(clippy::cast_precision_loss)] // three digits are told
        let ms = |us: u64| us as f64 / 1e3;
        for step in self.histogram.iter_quantiles(TICKS_PER_HALF) {
            below += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            write!(out, "{:>12.3} {quantile:>14.12} {below:>10}", ms(step.value_iterated_to().min(MAX_US)))?;
            match quantile < 1.0 {
                true => writeln!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?,
                false => writeln!(out)?,
            }
        }
        let (mean, deviation) = (self.histogram.mean() / 1e3, self.histogram.stdev() / 1e3);
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", ms(self.max_us()), self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thousand() -> Latency {
        let mut latency = Latency::new();
        (1..=1_000u64).for_each(|us| latency.record(us * 1_000));
        latency
    }

    #[test]
    fn quantiles_are_of_all_that_was_recorded() {
        let latency = thousand();
        assert_eq!((latency.quantile_us(0.5), latency.quantile_us(0.99), latency.max_us()), (500, 990, 1_000));
        let mut figures = Map::new();
        latency.put("publishLatency", &mut figures);
        assert_eq!(figures["publishLatency50pct"], 0.5);
        assert_eq!(figures["publishLatency999pct"], 0.999);
        assert_eq!(figures["publishLatencyMax"], 1.0);
        assert_eq!(figures["publishLatencyAvg"], 0.5005);
    }

    #[test]
    fn nothing_is_told_shorter_than_it_was_nor_dropped() {
        let mut latency = Latency::new();
        [0, 1, 1_001, 3_600_000_000_000].into_iter().for_each(|nanos| latency.record(nanos));
        assert_eq!(latency.count(), 4);
        assert_eq!((latency.quantile_us(0.5), latency.quantile_us(0.75)), (1, 2));
        assert_eq!(latency.max_us(), MAX_US, "an hour counts as the longest that is told apart");
    }

    #[test]
    fn no_latency_is_no_number() {
        let mut figures = Map::new();
        Latency::new().put("publishLatency", &mut figures);
        assert!(figures.values().all(Value::is_null), "{figures:?}");
    }

    #[test]
    fn the_file_holds_every_latency() {
        let mut text = Vec::new();
        thousand().write_hgrm(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let fields: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(fields, ["1.000", "1.000000000000", "1000"]);
        assert!(text.contains("Total count    =         1000"), "{text}");
    }
}
