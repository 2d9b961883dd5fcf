//! A small record for the tests of this crate.

use crate::chart::{Axis, Chart, Limit, Point, Series};
use crate::record::{Environment, FORMAT, Measured, Outcome, Record, VERSION, Verdict};

/// One experiment that measured, and one that was skipped.
pub fn record() -> Record {
    let series = |name: &str, values: [f64; 2]| Series {
        name: name.into(),
        points: vec![
            Point::exact(1.0, values[0]),
            Point { x: 50.0, median: values[1], low: values[1] / 2.0, high: values[1] * 2.0, exact: false },
        ],
    };
    let chart = Chart {
        name: "calls".into(),
        title: "System calls of one round trip".into(),
        x: Axis::log("busy connections"),
        y: Axis::linear("system calls"),
        series: vec![series("epoll-lt", [3.0, 2.02]), series("uring", [2.0, 0.041])],
        limits: vec![Limit::at_y("one call", 1.0)],
    };
    let measured = Outcome {
        verdict: Verdict::HoldsIf("clients are busy".into()),
        found: "2 calls at one client, 0.041 at 50".into(),
        charts: vec![chart],
        notes: vec!["counted with ptrace".into()],
    };
    let one = |name: &str, outcome: Outcome| Measured {
        name: name.into(),
        claim: "A ring batches.".into(),
        seconds: 1.5,
        repeated: 1,
        disturbed: 0,
        outcome,
    };
    Record {
        format: FORMAT.into(),
        version: VERSION,
        quick: true,
        interrupted: None,
        environment: Environment {
            kernel: "Linux 6.18".into(),
            cpu: "EPYC".into(),
            cores: 2,
            mitigations: vec![("meltdown".into(), "Not affected".into())],
            limits: vec![("descriptors".into(), "1024, 20000".into())],
            load_before: 0.5,
            load_after: 1.25,
            date: "2026-11-27 21:30".into(),
            commit: "abc+".into(),
        },
        experiments: vec![one("syscalls", measured), one("reads", Outcome::skipped("no io_uring"))],
    }
}
