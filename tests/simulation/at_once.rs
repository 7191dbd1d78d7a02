//! Workers that come to the end of a table at the same instant, over a cluster that goes by no tags.

use super::gate::Odds;
use super::oracle::{Copied, Findings};
use super::world::{Setting, SimulatedTable, World};
use super::{each, simulated};
use std::time::Duration;

const TABLES: [&str; 2] = ["DeviceEvents", "EmailEvents"];

/// What is wrong with the audit of a run whose messages all come twice.
async fn audited(seed: u64) -> Findings {
    let tables = TABLES.map(|name| SimulatedTable { name, rows: 20, days: 2 });
    let mut setting = Setting::quiet(seed, tables.to_vec());
    setting.processes = 3;
    setting.odds = Odds { double: 800, delay: 200, ..Odds::default() };
    setting.ignores_tags = true;
    let mut world = World::new(&setting);
    let id = world.start().await;
    world.ended(&id, Duration::from_secs(24 * 3600)).await.unwrap();
    world.settled(Duration::from_secs(7_200)).await;
    let mut findings = Findings::new();
    for name in TABLES {
        findings.extend(world.check_metadata(Copied::under_its_name(name)).await);
    }
    findings
}

#[test]
fn workers_at_one_instant_write_one_audit_row() {
    let found = each((0..60).collect(), |seed: &u64| {
        let findings = simulated(async || audited(*seed).await);
        (!findings.is_empty()).then(|| format!("seed {seed}: {findings:#?}"))
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}
