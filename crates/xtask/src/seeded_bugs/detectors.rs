//! The commands that are to see the bugs.

use std::process::ExitStatus;

use timbermq_bugs::Layer;

/// One command that is to see one bug.
#[derive(Clone, Copy, Debug)]
pub struct Detector {
    /// Whose command it is.
    pub layer: Layer,
    pub how: How,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// Tests of a package; the bug is planted by the environment and at least one of them must fail.
    Tests {
        package: &'static str,
        /// `lib`, or the name of an integration test.
        target: &'static str,
        /// Tests, or with a `::` at the end modules of tests.
        names: &'static [&'static str],
    },
    /// Seeds of the simulation, until one fails that passes without the bug.
    Simulation,
    /// A specification, which has the bug under a name of its own.
    Model { spec: &'static str, bug: &'static str },
}

impl Detector {
    /// What it is called in tables.
    pub fn describe(&self) -> String {
        match self.how {
            How::Tests { package, target, names } => {
                let target = if target == "lib" { String::new() } else { format!(" --test {target}") };
                format!("{package}{target} {}", names.join(" "))
            }
            How::Simulation => SIMULATION.to_owned(),
            How::Model { spec, bug } => format!("{MODEL} find --spec {spec} --bug {bug}"),
        }
    }

    /// Directory of the package and name of the target.
    pub fn built_from(&self) -> (&'static str, &'static str) {
        let dir = |package: &'static str| package.strip_prefix("timbermq-").unwrap_or(package);
        match self.how {
            How::Tests { package, target, .. } => (dir(package), target),
            How::Simulation => (dir(SIMULATION), SIMULATION),
            How::Model { .. } => (dir(MODEL), MODEL),
        }
    }

    /// Whether a run with the bug saw it; if not, why.
    pub fn judge(&self, status: ExitStatus, output: &str) -> Result<(), String> {
        match (&self.how, status.code()) {
            (_, Some(0)) => Err("it passed".to_owned()),
            // What is not a failed test must be the end of the process: something died of the bug.
            (How::Tests { .. }, None) => Ok(()),
            (How::Tests { .. }, Some(_)) if output.contains("test result: FAILED") => Ok(()),
            (How::Model { .. }, Some(1)) => Ok(()),
            (_, code) => Err(format!("it ended with {code:?}, which is no verdict")),
        }
    }

    /// Whether a run without a bug passed and had something to do; if not, why.
    pub fn judge_control(&self, status: ExitStatus, output: &str) -> Result<(), String> {
        if !status.success() {
            let failed: Vec<&str> = output.lines().filter(|line| line.ends_with("FAILED")).take(3).collect();
            return Err(format!("it ended with {:?} {}", status.code(), failed.join(", ")));
        }
        let How::Tests { names, .. } = self.how else { return Ok(()) };
        // A test that was renamed would leave nothing to run.
        let ran: Vec<&str> =
            output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok")).collect();
        match names.iter().find(|name| !ran.iter().any(|test| test.contains(*name))) {
            None => Ok(()),
            Some(name) => Err(format!("there is no test {name}")),
        }
    }
}

const fn tests(layer: Layer, package: &'static str, target: &'static str, names: &'static [&'static str]) -> Detector {
    Detector { layer, how: How::Tests { package, target, names } }
}

const fn unit(package: &'static str, target: &'static str, names: &'static [&'static str]) -> Detector {
    tests(Layer::Unit, package, target, names)
}

/// The program that explores specifications.
pub const MODEL: &str = "timbermq-model";

const fn model(spec: &'static str, bug: &'static str) -> Detector {
    Detector { layer: Layer::Model, how: How::Model { spec, bug } }
}

/// Crash points, damage and failing disks, enumerated.
const fn crash(names: &'static [&'static str]) -> Detector {
    tests(Layer::Crash, "timbermq-commitlog", "lib", names)
}

/// The program that simulates clusters.
pub const SIMULATION: &str = "timbermq-sim";

const SIMULATED: Detector = Detector { layer: Layer::Simulation, how: How::Simulation };

/// For each bug of the catalogue that can be had, by name.
pub const DETECTORS: &[(&str, &[Detector])] = &[
    (
        "ack-before-fsync",
        &[
            unit("timbermq-commitlog", "lib", &["tests::random::after_any_crash_the_log_is_what_it_promised"]),
            crash(&["tests::crash::a_crash_after_any_operation_loses_nothing_acknowledged"]),
            SIMULATED,
        ],
    ),
    (
        "leader-counts-unsynced",
        &[
            unit("timbermq-replica", "cluster", &["what_only_one_replica_has_on_disk_is_applied_nowhere"]),
            model("log_store", "leader_counts_unsynced"),
            SIMULATED,
        ],
    ),
    (
        "follower-acks-unsynced",
        &[
            unit("timbermq-replica", "cluster", &["what_only_one_replica_has_on_disk_is_applied_nowhere"]),
            model("log_store", "ack_unsynced"),
            SIMULATED,
        ],
    ),
    (
        "vote-in-memory",
        &[
            unit("timbermq-commitlog", "lib", &["tests::random::after_any_crash_the_log_is_what_it_promised"]),
            crash(&["tests::crash::a_crash_after_any_operation_loses_nothing_acknowledged"]),
            model("log_store", "vote_unsynced"),
            SIMULATED,
        ],
    ),
    (
        "truncate-off-by-one",
        &[
            unit(
                "timbermq-replica",
                "lib",
                &["log_store::tests::what_conflicts_is_gone_after_a_truncation_whatever_its_term"],
            ),
            SIMULATED,
        ],
    ),
    (
        "conflicting-suffix-kept",
        &[
            unit(
                "timbermq-replica",
                "lib",
                &["log_store::tests::what_conflicts_is_gone_after_a_truncation_whatever_its_term"],
            ),
            SIMULATED,
        ],
    ),
    (
        "applied-apart",
        &[
            unit("timbermq-machine", "lib", &["and_the_log_give_the_same_state"]),
            model("dispatch", "applied_apart"),
            SIMULATED,
        ],
    ),
    (
        "torn-tail-anywhere",
        &[
            unit("timbermq-commitlog", "lib", &["tests::damage::a_durable_entry_that_is_gone_is_refused"]),
            crash(&["tests::damage::any_flipped_bit_in_durable_frames_is_refused_or_reported_when_read"]),
            SIMULATED,
        ],
    ),
    (
        "read-unverified",
        &[
            unit("timbermq-commitlog", "lib", &["tests::damage::a_read_of_a_damaged_entry_names_the_place"]),
            crash(&["tests::damage::any_flipped_bit_in_durable_frames_is_refused_or_reported_when_read"]),
            SIMULATED,
        ],
    ),
    (
        "frame-without-place",
        &[
            unit("timbermq-commitlog", "lib", &["frame::tests::a_frame_reads_back_and_no_single_bit_may_change"]),
            crash(&["tests::damage::a_frame_that_lies_where_another_belongs_is_not_read"]),
            SIMULATED,
        ],
    ),
    (
        "fsync-error-retried",
        &[
            unit("timbermq-commitlog", "lib", &["tests::random::after_any_crash_the_log_is_what_it_promised"]),
            crash(&["tests::crash::the_first_failed_sync_ends_the_log"]),
            SIMULATED,
        ],
    ),
    (
        "hard-state-reset",
        &[
            unit(
                "timbermq-commitlog",
                "lib",
                &["tests::damage::a_hard_state_that_is_gone_unreadable_or_old_is_refused"],
            ),
            crash(&["tests::damage::a_hard_state_damaged_anywhere_in_all_copies_is_refused"]),
            SIMULATED,
        ],
    ),
    (
        "wiped-node-votes",
        &[unit("timbermq-replica", "cluster", &["a_replica_that_lost_its_data_is_not_let_in_again"]), SIMULATED],
    ),
    (
        "deposed-leader-reads",
        &[unit("timbermq-replica", "cluster", &["a_leader_without_followers_says_so"]), SIMULATED],
    ),
    (
        "lease-on-wall-clock",
        &[
            unit(
                "timbermq-replica",
                "cluster",
                &["a_wall_clock_that_is_set_back_does_not_make_a_leader_trust_an_old_majority"],
            ),
            SIMULATED,
        ],
    ),
    (
        "pull-above-commit",
        &[
            unit("timbermq-replica", "cluster", &["what_only_one_replica_has_on_disk_is_applied_nowhere"]),
            model("dispatch", "apply_uncommitted"),
            SIMULATED,
        ],
    ),
    (
        "offset-counter-cached",
        &[unit("timbermq-machine", "lib", &["tests::properties::the_machine_does_what_the_model_does"]), SIMULATED],
    ),
    (
        "served-before-applied",
        &[
            unit("timbermq-replica", "cluster", &["a_new_leader_serves_nothing_before_it_has_applied_everything"]),
            model("order_lock", "before_start"),
            SIMULATED,
        ],
    ),
    (
        "stale-leader-registers",
        &[
            unit("timbermq-route", "table", &["an_old_leader_never_wins_in_either_order"]),
            unit(
                "timbermq-broker",
                "broker",
                &["register::registrations_carry_the_term_and_a_leader_without_a_majority_sends_none"],
            ),
            model("group_role", "no_fence"),
            SIMULATED,
        ],
    ),
    (
        "offset-in-memory",
        &[
            unit(
                "timbermq-broker",
                "broker",
                &["offsets::commits_are_stored_with_and_without_an_answer_and_with_a_pull"],
            ),
            model("offsets", "in_flight"),
            SIMULATED,
        ],
    ),
    (
        "late-commit-lowers",
        &[
            unit("timbermq-broker", "broker", &["offsets::only_the_present_owner_may_lower_an_offset"]),
            model("offsets", "late_commit"),
            SIMULATED,
        ],
    ),
    (
        "locks-not-replicated",
        &[
            unit(
                "timbermq-machine",
                "lib",
                &["tests::scenarios::a_lock_lasts_until_its_expiry_and_a_new_leader_lets_it_live"],
            ),
            model("order_lock", "unlogged"),
            SIMULATED,
        ],
    ),
    (
        "lock-renewed-after-expiry",
        &[
            unit(
                "timbermq-machine",
                "lib",
                &["tests::scenarios::a_lock_lasts_until_its_expiry_and_a_new_leader_lets_it_live"],
            ),
            model("order_lock", "takeover"),
            SIMULATED,
        ],
    ),
    (
        "tag-hash-unsigned",
        &[
            unit("timbermq-session", "lib", &["subscription::tests::a_tag_matches_by_its_hash_of_either_sign"]),
            SIMULATED,
        ],
    ),
    (
        "retention-too-much",
        &[
            unit(
                "timbermq-replica",
                "lib",
                &["retention::tests::age_and_size_take_the_newest_mark_they_allow_and_a_full_disk_takes_one_step"],
            ),
            SIMULATED,
        ],
    ),
    (
        "snapshot-without-offsets",
        &[
            unit(
                "timbermq-machine",
                "lib",
                &["tests::properties::a_snapshot_and_the_rest_of_the_log_give_the_same_state"],
            ),
            SIMULATED,
        ],
    ),
    (
        "late-wake-up-check",
        &[
            unit("timbermq-session", "lib", &["parked::tests::what_arrived_before_the_parking_is_not_missed"]),
            SIMULATED,
        ],
    ),
    (
        "apply-before-durable",
        &[
            unit(
                "timbermq-replica",
                "cluster",
                &["nothing_is_applied_before_it_is_durable_here_and_heartbeats_do_not_wait_for_the_disk"],
            ),
            model("dispatch", "gate_open"),
            SIMULATED,
        ],
    ),
    (
        "frame-length-unchecked",
        &[unit("timbermq-remoting", "lib", &["frame::tests::a_bad_length_is_refused_before_the_frame_has_arrived"])],
    ),
    (
        "batch-split",
        &[unit("timbermq-broker", "broker", &["send::batches_of_several_producers_stay_together"]), SIMULATED],
    ),
    (
        "full-disk-ignored",
        &[
            unit("timbermq-commitlog", "lib", &["tests::random::after_any_crash_the_log_is_what_it_promised"]),
            crash(&["tests::crash::a_full_disk_ends_the_log_and_nothing_acknowledged_is_lost"]),
            SIMULATED,
        ],
    ),
    (
        "search-by-time-off-by-one",
        &[unit("timbermq-machine", "lib", &["tests::properties::the_machine_does_what_the_model_does"]), SIMULATED],
    ),
    (
        "purge-before-index",
        &[unit("timbermq-replica", "cluster", &["what_was_purged_is_in_the_index_after_a_power_cut"]), SIMULATED],
    ),
    ("older-term-committed", &[model("log_store", "older_term")]),
    ("transaction-committed-twice", &[model("transaction", "applied_twice")]),
    ("rollback-after-commit", &[model("transaction", "overturned")]),
    ("delay-fires-again", &[model("delay", "fires_again")]),
    ("delay-on-node-clock", &[model("delay", "trusts_driver")]),
    ("dedupe-window-lost", &[model("dedupe", "window_lost")]),
];
