//! Mixed with Apache RocketMQ's own servers: our group behind a stock NameServer, a stock broker behind ours.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::admin::Admin;
use timbermq_host::testing::free_ports;

use crate::cluster::{Cluster, Options, ended_within};
use crate::matrix::{Bench, Row};
use crate::stock::{STOCK, clients_dir};

/// How long a stock server may take to start, or a route to change.
const PATIENCE: Duration = Duration::from_secs(90);

/// A stock server in the foreground of a child process.
struct StockServer {
    child: Child,
}

impl StockServer {
    fn start(args: &[String]) -> Result<Self> {
        let script = script();
        let mut child = Command::new("bash")
            .arg(&script)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("starting {}", script.display()))?;
        let out = child.stdout.take().context("stdout was asked for")?;
        let server = Self { child };
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line.contains("boot success") {
                    // The test may have given up already.
                    let _ = tell.send(());
                }
            }
        });
        if told.recv_timeout(PATIENCE).is_err() {
            bail!("the stock server {args:?} did not start within {PATIENCE:?}");
        }
        Ok(server)
    }
}

impl Drop for StockServer {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if !ended_within(&mut self.child, Duration::from_secs(20)).unwrap_or(false) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/apache.sh")
}

fn build() -> Result<()> {
    let output = Command::new("bash").arg(script()).arg("build").output()?;
    ensure!(output.status.success(), "apache.sh build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Runs both mixtures.
#[must_use]
pub fn run(binary: &Path, dir: &Path) -> Vec<Row> {
    type Test = fn(&Path, &Path) -> Result<()>;
    let tests: [(&str, Test); 2] =
        [("stock-namesrv", behind_a_stock_namesrv), ("stock-broker", stock_broker_behind_ours)];
    tests
        .into_iter()
        .map(|(name, test)| {
            let started = Instant::now();
            let outcome = build().and_then(|()| test(binary, &dir.join(name)));
            let row = Row {
                client: "apache".into(),
                version: "5.3.3".into(),
                test: name.into(),
                failure: outcome.err().map(|error| format!("{error:#}")),
                seconds: started.elapsed().as_secs_f64(),
            };
            row.tell();
            row
        })
        .collect()
}

fn java() -> Result<&'static crate::stock::Stock> {
    let java = STOCK.iter().rfind(|stock| stock.client == "java").context("no Java client")?;
    java.build(&clients_dir())?;
    Ok(java)
}

/// Our group registers with a stock NameServer; its clients follow a takeover, and the deposed leader does not get its
/// place back there.
fn behind_a_stock_namesrv(binary: &Path, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let port = free_ports(1);
    let namesrv = format!("127.0.0.1:{port}");
    let args = ["namesrv".to_owned(), port.to_string(), dir.join("namesrv").display().to_string()];
    let _server = StockServer::start(&args)?;
    let options = Options { more_namesrv: vec![namesrv.clone()], ..Options::in_dir(dir.join("cluster")) };
    let mut cluster = Cluster::start(binary, &options)?;
    let admin = Admin::new(&namesrv)?;
    let first = admin.wait_for_leader(PATIENCE)?;
    let bench = Bench::new(&admin, java()?, "reference", dir);
    bench.round_trip("before", 300)?;
    let victim = cluster.replica_at(&first).context("the leader is one of ours")?;
    cluster.kill(victim)?;
    let deadline = Instant::now() + PATIENCE;
    let second = loop {
        match admin.leader() {
            Ok(Some(leader)) if leader != first => break leader,
            _ if Instant::now() > deadline => bail!("the stock NameServer still names {first} as the leader"),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    cluster.restart(victim)?;
    // Registrations come every few seconds; the returned replica must not have taken the leader's place with one.
    std::thread::sleep(Duration::from_secs(8));
    ensure!(admin.leader()?.as_ref() == Some(&second), "{first} took the leader's place back from {second}");
    bench.round_trip("after", 300)?;
    cluster.stop()
}

/// A stock broker registers with our NameServer and serves stock clients through it.
fn stock_broker_behind_ours(binary: &Path, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let options = Options { replicas: 0, ..Options::in_dir(dir.join("cluster")) };
    let cluster = Cluster::start(binary, &options)?;
    let port = free_ports(4) + 2;
    let args = ["broker".to_owned(), cluster.namesrv(), port.to_string(), dir.join("broker").display().to_string()];
    let _server = StockServer::start(&args)?;
    let admin = Admin::new(&cluster.namesrv())?;
    let deadline = Instant::now() + PATIENCE;
    while admin.leader()?.is_none() {
        ensure!(Instant::now() < deadline, "the stock broker did not register with our NameServer");
        std::thread::sleep(Duration::from_millis(100));
    }
    Bench::new(&admin, java()?, "stockbroker", dir).round_trip("through_ours", 300)
}
