//! Every key of the table: values read back, bounds hold, and all ways to set one agree.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use timbermq_config::table::{ENV_PREFIX, KEYS, RESERVED_ENV, keys};
use timbermq_config::{ConfigError, Key, Kind, Layers, Role, Value, env_name};

fn duration(min: Duration, max: Duration) -> BoxedStrategy<Duration> {
    let seconds = min.as_secs()..=max.as_secs();
    // What the units can say: whole nanoseconds.
    (seconds, 0..1_000_000_000_u32)
        .prop_map(move |(seconds, nanos)| Duration::new(seconds, nanos).clamp(min, max))
        .boxed()
}

/// A value that fits a kind.
fn value(kind: &Kind) -> BoxedStrategy<Value> {
    match *kind {
        Kind::Text => "[a-zA-Z0-9_./:=-]{1,20}".prop_map(Value::Text).boxed(),
        Kind::List => proptest::collection::vec("[a-zA-Z0-9@/:._-]{1,12}", 0..4).prop_map(Value::List).boxed(),
        Kind::Word(words) => prop::sample::select(words).prop_map(|word| Value::Text(word.to_owned())).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Number(min, max) => prop_oneof![min..=max, Just(min), Just(max)].prop_map(Value::Number).boxed(),
        Kind::Time(min, max) => prop_oneof![duration(min, max), Just(min), Just(max)].prop_map(Value::Time).boxed(),
        Kind::Bytes(min, max) => {
            let exponent = (0..64_u32, any::<u64>()).prop_map(move |(shift, bits)| (bits >> shift).clamp(min, max));
            prop_oneof![exponent, Just(min), Just(max)].prop_map(Value::Bytes).boxed()
        }
        Kind::Ratio => prop_oneof![0.0..=1.0_f64, Just(0.0), Just(1.0)].prop_map(Value::Ratio).boxed(),
    }
}

fn setting() -> impl Strategy<Value = (Key, Value)> {
    prop::sample::select(KEYS).prop_flat_map(|key| value(&key.kind).prop_map(move |value| (key, value)))
}

/// The values next to the bounds that do not fit.
fn beyond(kind: &Kind) -> Vec<String> {
    let tick = Duration::from_nanos(1);
    match *kind {
        Kind::Text | Kind::List => Vec::new(),
        Kind::Word(words) => words.iter().map(|word| format!("{word}x")).chain([String::new()]).collect(),
        Kind::Bool => ["yes", "1", "TRUE", ""].map(str::to_owned).to_vec(),
        Kind::Number(min, max) => {
            let outside = [min.checked_sub(1), max.checked_add(1)].into_iter().flatten().map(|n| n.to_string());
            outside.chain(["-1", "1.5", "", "18446744073709551616", "one"].map(str::to_owned)).collect()
        }
        Kind::Time(min, max) => {
            let outside = [min.checked_sub(tick), max.checked_add(tick)].into_iter().flatten();
            let outside = outside.map(|time| Value::Time(time).to_string());
            outside.chain(["5", "-5s", "", "5 parsecs"].map(str::to_owned)).collect()
        }
        Kind::Bytes(min, max) => {
            let outside = [min.checked_sub(1), max.checked_add(1)].into_iter().flatten();
            let outside = outside.map(|bytes| Value::Bytes(bytes).to_string());
            outside.chain(["-1B", "", "5 XiB"].map(str::to_owned)).collect()
        }
        Kind::Ratio => ["101%", "1.01", "-0.1", "-1%", "NaN", "inf", "", "%"].map(str::to_owned).to_vec(),
    }
}

/// TOML text that sets a key, as text or in TOML's own type.
fn toml(key: &Key, value: &Value, own_type: bool) -> String {
    let (section, name) = key.name.rsplit_once('.').unwrap();
    let quoted = |text: &str| format!("{text:?}");
    let right = match value {
        Value::List(items) if own_type => {
            format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
        }
        // TOML's whole numbers have a sign.
        Value::Number(number) if own_type && i64::try_from(*number).is_ok() => number.to_string(),
        Value::Bool(flag) if own_type => flag.to_string(),
        Value::Ratio(ratio) if own_type => format!("{ratio:?}"),
        other => quoted(&other.to_string()),
    };
    format!("[{section}]\n{name} = {right}\n")
}

fn set_by_env(role: Role, name: &str, text: &str) -> Result<Layers, ConfigError> {
    let mut layers = Layers::defaults(role);
    layers.env(std::iter::once((name.to_owned(), text.to_owned())))?;
    Ok(layers)
}

fn set_by_flag(role: Role, name: &str, text: &str) -> Result<Layers, ConfigError> {
    let mut layers = Layers::defaults(role);
    layers.flag(name, text)?;
    Ok(layers)
}

fn set_by_file(role: Role, text: &str) -> Result<Layers, ConfigError> {
    let mut layers = Layers::defaults(role);
    layers.file("a.toml", text)?;
    Ok(layers)
}

/// The suggestion of an error about an unknown key.
fn suggestion(set: Result<Layers, ConfigError>) -> Option<&'static str> {
    match set.unwrap_err() {
        ConfigError::Unknown { suggestion, .. } => suggestion,
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_printed_reads_back((key, value) in setting()) {
        let text = value.to_string();
        prop_assert_eq!(Value::parse(&key.kind, &text).map_err(|error| error.to_string()), Ok(value.clone()));
        prop_assert_eq!(Value::parse(&key.kind, &format!("  {text} ")), Ok(value));
    }

    #[test]
    fn file_environment_and_flag_agree((key, value) in setting(), own_type: bool) {
        let role = Role::Any;
        let text = value.to_string();
        let mut ways = vec![
            set_by_env(role, &env_name(&key), &text),
            set_by_flag(role, key.name, &text),
            set_by_file(role, &toml(&key, &value, own_type)),
        ];
        if let Some(alias) = key.alias {
            ways.push(set_by_flag(role, alias, &text));
            ways.push(set_by_file(role, &format!("{alias} = {text:?}\n")));
        }
        for layers in ways {
            let layers = layers.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&layers.get(key.name).unwrap().value, &value);
            // And nothing else changed.
            let defaults = Layers::defaults(role);
            for (other, setting) in layers.all().filter(|(other, _)| other.name != key.name) {
                prop_assert_eq!(setting, defaults.get(other.name));
            }
        }
    }

    /// One letter too few, too many, wrong or swapped: the error names the key that was meant, or one that is as near.
    #[test]
    fn a_slip_of_the_pen_is_told(key in prop::sample::select(KEYS), at: prop::sample::Index, slip in 0..4, letter in "[a-z]") {
        let mut letters: Vec<char> = key.name.chars().collect();
        let at = at.index(letters.len() - 1);
        let letter = letter.chars().next().unwrap();
        match slip {
            0 => { letters.remove(at); }
            1 => letters.insert(at, letter),
            2 => letters[at] = letter,
            _ => letters.swap(at, at + 1),
        }
        let name: String = letters.into_iter().collect();
        let near = |other: &str| strsim::osa_distance(&name, other) <= strsim::osa_distance(&name, key.name);
        prop_assume!(!KEYS.iter().any(|other| other.name == name));
        let flag = suggestion(set_by_flag(Role::Any, &name, "1"));
        prop_assert!(flag.is_some_and(&near), "{} for {name}, meant was {}", flag.unwrap_or("none"), key.name);
        let variable = format!("{ENV_PREFIX}{}", name.replace('.', "_").to_uppercase());
        prop_assume!(!RESERVED_ENV.contains(&variable.as_str()) && !KEYS.iter().any(|other| env_name(other) == variable));
        let env = suggestion(set_by_env(Role::Any, &variable, "1"));
        prop_assert!(env.is_some_and(near), "{} for {}, meant was {}", env.unwrap_or("none"), variable, key.name);
    }

    #[test]
    fn any_file_is_read_or_refused(text in "[a-z\\[\\]=\".,0-9\n# ']{0,60}", name in "\\PC{0,20}", value in "\\PC{0,20}") {
        let _ = set_by_file(Role::Server, &text);
        let _ = set_by_flag(Role::Server, &name, &value);
        let _ = set_by_env(Role::Server, &format!("{ENV_PREFIX}{name}"), &value);
        for key in KEYS {
            let _ = Value::parse(&key.kind, &value);
        }
    }
}

#[test]
fn bounds_are_part_of_the_range_and_nothing_beyond_is() {
    for key in KEYS {
        for text in beyond(&key.kind) {
            for set in [set_by_flag(Role::Any, key.name, &text), set_by_env(Role::Any, &env_name(key), &text)] {
                match set.map(|layers| layers.get(key.name).cloned()) {
                    Err(ConfigError::Value { name, error, .. }) => {
                        assert_eq!(name, key.name);
                        assert_eq!(error.expected, key.kind.describe());
                    }
                    other => panic!("{} = {text:?}: {other:?}", key.name),
                }
            }
        }
    }
}

#[test]
fn a_process_reads_its_own_keys_and_passes_over_those_of_others() {
    for (role, other) in [(Role::Server, Role::Namesrv), (Role::Namesrv, Role::Server)] {
        for key in keys(other).filter(|key| key.role == other) {
            assert!(set_by_flag(role, key.name, key.default).is_err(), "{}", key.name);
            let text = if key.default.is_empty() { "1" } else { key.default };
            assert_eq!(set_by_env(role, &env_name(key), text).unwrap().get(key.name), None);
        }
    }
}
