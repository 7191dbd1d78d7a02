//! What one cell holds: chosen from the column's name and type when the table is laid out, computed from the
//! row's number when asked for.

use super::bags;
use super::dice::Dice;
use super::kind::{Kind, Who};
use super::pool::{Account, Device, Pools, Program, guid, hex};
use super::ticks;
use crate::kql::Value;
use std::sync::Arc;

/// How a column's cells are made.
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    /// Columns with the same role speak of the same person, device or program.
    pub(crate) role: u64,
    /// Tells the column from its neighbours.
    pub(crate) salt: u64,
    /// How many cells of a thousand are null or empty.
    pub(crate) empty_per_mille: u64,
}

/// The row that a cell belongs to.
pub(crate) struct Row<'a> {
    pub(crate) dice: Dice,
    pub(crate) pools: &'a Pools,
    /// When the event happened; `None` where the row has no time.
    pub(crate) happened: &'a dyn Fn() -> Option<i64>,
    /// When the row arrived.
    pub(crate) arrived: &'a dyn Fn() -> i64,
}

impl Cell {
    pub(crate) fn value(&self, row: &Row<'_>) -> Value {
        let dice = row.dice.of(self.salt);
        if self.kind == Kind::Timestamp {
            return (row.happened)().map_or(Value::Null, Value::Datetime);
        }
        if dice.of(1).chance(self.empty_per_mille) {
            return if self.kind.is_text() { Value::String("".into()) } else { Value::Null };
        }
        let role = row.dice.of(self.role);
        match self.kind {
            Kind::Timestamp => Value::Null,
            Kind::Earlier => {
                let at = (row.happened)().unwrap_or_else(row.arrived);
                let back = if dice.of(2).chance(700) { ticks::HOUR } else { 40 * ticks::DAY };
                Value::Datetime(at - dice.of(3).below(back as u64) as i64)
            }
            Kind::Bool => Value::Bool(dice.of(2).chance(400)),
            Kind::Port => Value::Int(*dice.of(2).pick(&[443, 80, 445, 389, 53, 3389, 22, 50_123, 61_999])),
            Kind::Int(limit) => Value::Int(dice.of(2).below(limit) as i32),
            Kind::ReportNumber { large } => Value::Long(report_number(dice, large)),
            Kind::FileSize => Value::Long(program_of(role, row.pools).1.below(1 << 27) as i64),
            Kind::Long(limit) => Value::Long(dice.of(2).below(limit) as i64),
            Kind::Real => Value::Real(dice.of(2).below(2_000) as f64 / 16.0),
            Kind::Guid => Value::Guid(guid(dice)),
            Kind::Timespan => Value::Timespan(dice.of(2).below(ticks::DAY as u64) as i64),
            Kind::Decimal => {
                Value::Decimal(format!("{}.{:02}", dice.of(2).below(10_000), dice.of(3).below(100)).into())
            }
            Kind::Dynamic => Value::Dynamic(Arc::new(bags::dynamic(dice, row.pools))),
            Kind::Strings => Value::Dynamic(Arc::new(bags::strings(dice, 4))),
            kind => Value::String(text(kind, dice, role, row.pools)),
        }
    }
}

fn text(kind: Kind, dice: Dice, role: Dice, pools: &Pools) -> Arc<str> {
    match kind {
        Kind::DeviceId => device_of(role, pools).id.clone(),
        Kind::DeviceName => device_of(role, pools).name.clone(),
        Kind::Account(who) => account_text(account_of(role, pools), who),
        Kind::FileName => program_of(role, pools).0.file.clone(),
        Kind::FolderPath => {
            let program = program_of(role, pools).0;
            let separator = if program.folder.starts_with('/') { '/' } else { '\\' };
            format!("{}{separator}{}", program.folder, program.file).into()
        }
        Kind::CommandLine => command_line(program_of(role, pools).0, dice, account_of(role, pools)).into(),
        Kind::Company => program_of(role, pools).0.company.clone(),
        Kind::Product => program_of(role, pools).0.product.clone(),
        Kind::Hash(digits) => hex(program_of(role, pools).1.of(u64::from(digits)), digits.into()).into(),
        Kind::Version => version(dice).into(),
        Kind::Words(words) => (*dice.of(2).pick(words)).into(),
        Kind::Phrase(words) => bags::phrase(dice.of(2), dice.of(3).below(words) + 1).into(),
        Kind::GuidText => guid(dice).to_string().into(),
        Kind::ReportText => format!("{}-{}", guid(dice), dice.of(3).below(100_000)).into(),
        Kind::Ip => ip(dice).into(),
        Kind::Ipv6 => format!("2001:db8:{:x}:{:x}::{:x}", dice.of(2).below(65_536), dice.of(3).below(65_536), dice.of(4).below(4096)).into(),
        Kind::Url => format!("https://{}.example.{}/{}?q={}&x=%20", hex(dice.of(2), 6), dice.of(3).pick(&["com", "org"]), hex(dice.of(4), 8), dice.of(5).below(1000)).into(),
        Kind::Domain => format!("{}.example.com", hex(dice.of(2), 6)).into(),
        Kind::Email => format!("<{}@example.com>", hex(dice.of(2), 8)).trim_matches(['<', '>']).into(),
        Kind::Cve => format!("CVE-{}-{}", 2015 + dice.of(2).below(12), 1000 + dice.of(3).below(40_000)).into(),
        Kind::AzureResource => {
            format!("/subscriptions/{}/resourceGroups/rg-{}/providers/Microsoft.Compute/virtualMachines/vm{}", guid(dice), dice.of(2).below(20), dice.of(3).below(500)).into()
        }
        Kind::RegistryKey => format!(r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Run\{}", hex(dice.of(2), 6)).into(),
        Kind::Mac => hex(dice.of(2), 12).to_uppercase().into(),
        Kind::UserAgent => format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36", 100 + dice.of(2).below(40)).into(),
        Kind::NumberText => dice.of(2).below(1 << 45).to_string().into(),
        Kind::BagText => bags::bag(dice, pools).to_string().into(),
        Kind::SignedInText => bags::signed_in(dice, pools).to_string().into(),
        Kind::StringsText => bags::strings(dice, 3).to_string().into(),
        _ => "".into(),
    }
}

fn account_text(account: &Account, who: Who) -> Arc<str> {
    let text = match who {
        Who::Name => &account.name,
        Who::Domain => &account.domain,
        Who::Upn => &account.upn,
        Who::Sid => &account.sid,
        Who::ObjectId => &account.object_id,
        Who::DisplayName => &account.display_name,
        Who::GivenName => &account.given_name,
        Who::Surname => &account.surname,
    };
    text.clone()
}

fn device_of(role: Dice, pools: &Pools) -> &Device {
    role.of(101).pick(&pools.devices)
}

fn account_of(role: Dice, pools: &Pools) -> &Account {
    role.of(102).pick(&pools.accounts)
}

/// A program, and the dice of one of its few versions.
fn program_of(role: Dice, pools: &Pools) -> (&Program, Dice) {
    let index = role.of(103).below(pools.programs.len() as u64);
    (&pools.programs[index as usize], Dice::new(index).of(role.of(104).below(5)))
}

fn command_line(program: &Program, dice: Dice, account: &Account) -> String {
    let arguments = program
        .arguments
        .replace("{0}", &account.name)
        .replace("{1}", &dice.of(2).below(1 << 20).to_string())
        .replace("{2}", &dice.of(3).below(200).to_string());
    let file = &program.file;
    let quoted =
        if program.folder.contains(' ') { format!("\"{}\\{file}\"", program.folder) } else { file.to_string() };
    if arguments.is_empty() { quoted } else { format!("{quoted} {arguments}") }
}

fn version(dice: Dice) -> String {
    format!(
        "{}.{}.{}.{}",
        1 + dice.of(2).below(20),
        dice.of(3).below(10),
        10_000 + dice.of(4).below(16_000),
        dice.of(5).below(4_000)
    )
}

fn ip(dice: Dice) -> String {
    match dice.of(2).below(4) {
        0 => format!("198.51.100.{}", dice.of(3).below(256)),
        1 => format!("::ffff:10.{}.{}.{}", dice.of(3).below(4), dice.of(4).below(256), dice.of(5).below(256)),
        _ => format!("10.{}.{}.{}", dice.of(3).below(4), dice.of(4).below(256), dice.of(5).below(256)),
    }
}

/// A counter that repeats, or one beyond the integers that a double can tell apart.
fn report_number(dice: Dice, large: bool) -> i64 {
    if large || dice.of(2).chance(50) {
        639_199_803_770_463_703 + dice.of(3).below(1 << 40) as i64
    } else {
        dice.of(3).below(120_000) as i64
    }
}
