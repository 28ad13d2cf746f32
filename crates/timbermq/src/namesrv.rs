//! `timbermq namesrv`: a NameServer.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use timbermq_config::{NamesrvSettings, Role};
use timbermq_namesrv::{NameServer, NamesrvConfig};

use crate::failure::Failure;
use crate::logging;
use crate::process::{self, Lifeline};
use crate::settings::SettingsArgs;
use crate::signals::StopSignals;

/// How long running requests may take to end when the process is asked to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Arguments of `timbermq namesrv`.
#[derive(Args, Debug)]
pub struct NamesrvArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    lifeline: Lifeline,
}

/// Runs a NameServer until SIGTERM or SIGINT; a second signal ends it at once.
///
/// # Errors
/// Wrong settings, or an address that cannot be listened on.
pub fn run(args: &NamesrvArgs) -> Result<(), Failure> {
    args.lifeline.tie()?;
    let layers = args.settings.load(Role::Namesrv)?;
    let settings = NamesrvSettings::from_layers(&layers);
    logging::start(&layers)?;
    process::raise_open_files();
    process::runtime()?.block_on(serve(settings))
}

async fn serve(settings: NamesrvSettings) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    let mut config = NamesrvConfig {
        listen: vec![settings.listen],
        scan_interval: settings.scan_interval,
        ..NamesrvConfig::default()
    };
    config.limits.broker_timeout = settings.broker_expiry;
    let server = NameServer::start(&timbermq_host::env(), config).await.context("NameServer")?;
    eprintln!("timbermq {} NameServer ready on {}", env!("CARGO_PKG_VERSION"), server.addr());
    let signal = signals.next().await;
    tracing::info!(signal, "process.stopping");
    tokio::select! {
        () = server.shutdown(GRACE) => Ok(()),
        _ = signals.next() => Err(Failure::failed("stopped at once by a second signal")),
    }
}
