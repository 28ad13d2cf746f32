//! What the parts of the hot path, and sends as a whole, may cost: the figures that were accepted last.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Where they stand.
const FILE: &str = "crates/xtask/accepted-costs.toml";
const HEAD: &str = "\
# What the parts of the hot path, and sends as a whole, were last accepted to cost. Figures come from
#   cargo xtask bench micro --accept
#   cargo xtask bench gate --accept
# and are compared with by the same commands without it. Tolerances are parts of the accepted figure, written by hand.
";

/// What is asked of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// These parts alone.
    pub only: Vec<String>,
    /// Print one JSON object on the last line.
    pub json: bool,
    /// Take what is measured as accepted.
    pub accept: bool,
    /// Rounds of a slowdown to plant.
    pub plant: Option<String>,
    /// What is planted must be seen.
    pub must_fail: bool,
}

impl Asked {
    /// Reads `--json`, `--accept`, `--plant N`, `--must-fail` and, where there are parts, `--only NAME`.
    ///
    /// # Errors
    /// Names what it does not know, and what contradicts.
    pub fn parse(args: &[OsString], has_parts: bool) -> Result<Self> {
        let mut asked = Self::default();
        let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => asked.json = true,
                "--accept" => asked.accept = true,
                "--must-fail" => asked.must_fail = true,
                "--only" if has_parts => asked.only.push(args.next().context("--only needs the name of an operation")?),
                "--plant" => asked.plant = Some(args.next().context("--plant needs a number of rounds")?),
                _ => bail!("unknown argument {arg}; see cargo xtask bench --help"),
            }
        }
        ensure!(!asked.must_fail || asked.plant.is_some(), "--must-fail is for --plant");
        ensure!(!asked.accept || asked.plant.is_none(), "what is planted is not to be accepted");
        Ok(asked)
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Instructions of the parts.
    pub micro: Micro,
    /// Sends beside the skeleton.
    pub sends: Sends,
}

/// Instructions of one unit of each operation, and what they were counted with.
#[derive(Clone, Debug, PartialEq)]
pub struct Micro {
    /// How much more an operation may come to.
    pub tolerance: f64,
    /// The same where other tools count: another compiler makes other code of the same source.
    pub tolerance_elsewhere: f64,
    /// By name: compiler, tool that counts, C library, processor.
    pub tools: BTreeMap<String, String>,
    /// By name of the operation.
    pub instructions: BTreeMap<String, f64>,
}

/// Medians of sends, as parts of what the skeleton came to in the same minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sends {
    /// How much less the fraction may come to.
    pub tolerance_fraction: f64,
    /// How much more CPU time may come to.
    pub tolerance_cpu: f64,
    /// Messages a second, as a fraction of the skeleton's.
    pub fraction_of_skeleton: Option<f64>,
    /// CPU time of a message, as a multiple of the skeleton's.
    pub cpu_of_skeleton: Option<f64>,
}

impl Default for Accepted {
    fn default() -> Self {
        Self {
            micro: Micro {
                tolerance: 0.03,
                tolerance_elsewhere: 0.15,
                tools: BTreeMap::new(),
                instructions: BTreeMap::new(),
            },
            sends: Sends {
                tolerance_fraction: 0.4,
                tolerance_cpu: 0.3,
                fraction_of_skeleton: None,
                cpu_of_skeleton: None,
            },
        }
    }
}

impl Accepted {
    /// Reads the file; what is not there is not accepted yet.
    ///
    /// # Errors
    /// It is not TOML.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("reading {}", path.display())),
            Err(_) => Ok(Self::default()),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let file: toml::Table = text.parse()?;
        let table = |names: &[&str]| {
            let mut table = &file;
            for name in names {
                table = table.get(*name)?.as_table()?;
            }
            Some(table)
        };
        let number = |group: &str, name: &str| table(&[group])?.get(name).and_then(as_number);
        let tools = table(&["micro", "tools"]).into_iter().flatten();
        let instructions = table(&["micro", "instructions"]).into_iter().flatten();
        let Self { micro, sends } = Self::default();
        Ok(Self {
            micro: Micro {
                tolerance: number("micro", "tolerance").unwrap_or(micro.tolerance),
                tolerance_elsewhere: number("micro", "tolerance_elsewhere").unwrap_or(micro.tolerance_elsewhere),
                tools: tools.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect(),
                instructions: instructions
                    .filter_map(|(name, value)| Some((name.clone(), as_number(value)?)))
                    .collect(),
            },
            sends: Sends {
                tolerance_fraction: number("sends", "tolerance_fraction").unwrap_or(sends.tolerance_fraction),
                tolerance_cpu: number("sends", "tolerance_cpu").unwrap_or(sends.tolerance_cpu),
                fraction_of_skeleton: number("sends", "fraction_of_skeleton"),
                cpu_of_skeleton: number("sends", "cpu_of_skeleton"),
            },
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(FILE);
        fs::write(&path, self.to_text()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn to_text(&self) -> String {
        let Self { micro, sends } = self;
        let mut text = HEAD.to_owned();
        let _ = writeln!(text, "\n[micro]\ntolerance = {}", micro.tolerance);
        let _ = writeln!(text, "tolerance_elsewhere = {}\n\n[micro.tools]", micro.tolerance_elsewhere);
        for (name, value) in &micro.tools {
            let _ = writeln!(text, "{name} = {}", toml::Value::from(value.as_str()));
        }
        text.push_str("\n[micro.instructions]\n");
        for (name, value) in &micro.instructions {
            let _ = writeln!(text, "{name} = {value}");
        }
        let _ = writeln!(text, "\n[sends]\ntolerance_fraction = {}", sends.tolerance_fraction);
        let _ = writeln!(text, "tolerance_cpu = {}", sends.tolerance_cpu);
        let medians =
            [("fraction_of_skeleton", sends.fraction_of_skeleton), ("cpu_of_skeleton", sends.cpu_of_skeleton)];
        for (name, value) in medians {
            if let Some(value) = value {
                let _ = writeln!(text, "{name} = {value}");
            }
        }
        text
    }
}

/// TOML tells 3 and 3.0 apart; nobody else does.
fn as_number(value: &toml::Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_file_of_the_clone_can_be() {
        let mut accepted = Accepted::default();
        assert_eq!(Accepted::parse("").expect("nothing is TOML"), accepted);
        accepted.micro.tolerance = 0.05;
        accepted.micro.tools.insert("rustc".into(), "rustc \"1\"".into());
        accepted.micro.instructions.insert("crc32".into(), 558.0);
        accepted.micro.instructions.insert("apply".into(), 1234.5);
        accepted.sends.cpu_of_skeleton = Some(2.0);
        assert_eq!(Accepted::parse(&accepted.to_text()).expect("readable"), accepted);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(root.join(FILE)).expect("the file is there");
        assert_eq!(Accepted::parse(&text).expect("readable").to_text(), text, "edit tolerances only");
    }

    #[test]
    fn a_missing_file_accepts_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Accepted::read(dir.path()).expect("nothing is no error"), Accepted::default());
        fs::create_dir_all(dir.path().join("crates/xtask")).expect("made");
        Accepted::default().write(dir.path()).expect("written");
        assert_eq!(Accepted::read(dir.path()).expect("readable"), Accepted::default());
    }
}
