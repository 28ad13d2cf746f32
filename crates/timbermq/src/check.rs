//! `timbermq check`: would a broker start here, and would it do well?

mod disk;
mod host;
mod network;

use clap::Args;
use serde_json::json;
use timbermq_config::{Role, ServerSettings};
use timbermq_host::env;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{self, Format, plural};
use crate::process;
use crate::settings::SettingsArgs;

/// Arguments of `timbermq check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// How one check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Ok,
    /// A broker starts, but somebody should look.
    Warn,
    /// A broker does not start.
    Fail,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        }
    }
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    name: &'static str,
    verdict: Verdict,
    detail: String,
}

impl Finding {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, detail: detail.into() }
    }

    fn warn(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, detail: detail.into() }
    }

    fn fail(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, detail: detail.into() }
    }
}

/// Runs all checks.
///
/// # Errors
/// A configuration that cannot be read, or at least one check that failed.
pub fn run(global: &Global, args: &CheckArgs) -> Result<(), Failure> {
    let layers = args.settings.load(Role::Server)?;
    let settings = ServerSettings::from_layers(&layers)?;
    let mut findings = vec![configuration(&settings)];
    let data = disk::DataDir::find(&settings);
    process::runtime()?.block_on(async {
        let env = env();
        findings.push(host::clock(&env, &data));
        findings.push(host::open_files(&settings));
        findings.extend(disk::checks(&env, &settings, &data));
        findings.extend(network::ports(&env, &settings, data.held_by.is_some()).await);
        findings.extend(network::namesrv(&env, &settings).await);
    });
    print(global.output, &findings)?;
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::failed(format!("{} failed", plural(failed, "check"))))
}

fn configuration(settings: &ServerSettings) -> Finding {
    let me = settings.me();
    let detail = format!(
        "node {} of group {} ({}), {}, broker address {}",
        settings.node,
        settings.group,
        plural(settings.members.len(), "replica"),
        settings.durability,
        me.broker
    );
    match settings.members.len() {
        1 => Finding::warn("configuration", format!("{detail}: NOT replicated")),
        _ => Finding::ok("configuration", detail),
    }
}

fn print(format: Format, findings: &[Finding]) -> Result<(), Failure> {
    let value = findings
        .iter()
        .map(|finding| json!({"check": finding.name, "result": finding.verdict.word().to_lowercase(), "detail": finding.detail}))
        .collect();
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    output::either(format, &value, || {
        let line =
            |finding: &Finding| format!("{:<4}  {:<width$}  {}", finding.verdict.word(), finding.name, finding.detail);
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}
