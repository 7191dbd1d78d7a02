//! The devices, people and programs of the tenant: what many rows have in common.

use super::dice::Dice;
use std::sync::Arc;
use uuid::Uuid;

/// A computer.
pub(crate) struct Device {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// A person or a service account.
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) display_name: Arc<str>,
    pub(crate) given_name: Arc<str>,
    pub(crate) surname: Arc<str>,
    pub(crate) domain: Arc<str>,
    pub(crate) upn: Arc<str>,
    pub(crate) sid: Arc<str>,
    pub(crate) object_id: Arc<str>,
}

/// A program file.
pub(crate) struct Program {
    pub(crate) file: Arc<str>,
    pub(crate) folder: Arc<str>,
    pub(crate) company: Arc<str>,
    pub(crate) product: Arc<str>,
    pub(crate) arguments: &'static str,
}

/// All of them.
pub(crate) struct Pools {
    pub(crate) devices: Vec<Device>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) programs: Vec<Program>,
}

const SITES: [&str; 8] = ["ws", "lt", "srv", "dc", "büro", "kiosk", "vdi", "québec"];
const DOMAINS: [&str; 4] = ["contoso.com", "fabrikam.net", "contoso.de", "corp.example.org"];
const GIVEN: [&str; 16] = [
    "Anna", "Björn", "Chloé", "Dmitri", "Élodie", "Fatima", "Grzegorz", "Hana", "Iñigo", "Jürgen", "Kenji", "Łucja",
    "Mary", "Noa", "Øystein", "Пётр",
];
const FAMILY: [&str; 16] = [
    "Andersson",
    "Brontë",
    "Čapek",
    "Dupont",
    "Eriksen",
    "Fernández",
    "Großmann",
    "Hashimoto",
    "Ivanova",
    "O'Brien",
    "Kowalski",
    "李",
    "Müller",
    "Nguyễn",
    "\"Red\" Smith",
    "Žižek",
];

/// File, folder, company, product, arguments; `{0}` to `{2}` in the arguments are filled in per row.
const PROGRAMS: [(&str, &str, &str, &str, &str); 24] = [
    ("svchost.exe", r"C:\Windows\System32", "Microsoft Corporation", "Windows", "-k netsvcs -p -s Schedule{0}"),
    (
        "powershell.exe",
        r"C:\Windows\System32\WindowsPowerShell\v1.0",
        "Microsoft Corporation",
        "Windows",
        r#"-NoProfile -Command "Get-ChildItem 'C:\Users\{0}\*.txt' | Where-Object { $_.Length -gt {1} }""#,
    ),
    (
        "cmd.exe",
        r"C:\Windows\System32",
        "Microsoft Corporation",
        "Windows",
        r#"/c "echo {0} & type "C:\temp\{1}.log"""#,
    ),
    (
        "chrome.exe",
        r"C:\Program Files\Google\Chrome\Application",
        "Google LLC",
        "Chrome",
        "--type=renderer --lang={0} --id={1}",
    ),
    (
        "msedge.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application",
        "Microsoft Corporation",
        "Edge",
        "--no-startup-window /prefetch:{1}",
    ),
    (
        "OUTLOOK.EXE",
        r"C:\Program Files\Microsoft Office\root\Office16",
        "Microsoft Corporation",
        "Office",
        r#"/eml "C:\Users\{0}\Téléchargements\{1}.eml""#,
    ),
    (
        "WINWORD.EXE",
        r"C:\Program Files\Microsoft Office\root\Office16",
        "Microsoft Corporation",
        "Office",
        r#"/n "\\srv-011\Freigaben\Verträge für {0}\{1}.docx" /o """#,
    ),
    (
        "EXCEL.EXE",
        r"C:\Program Files\Microsoft Office\root\Office16",
        "Microsoft Corporation",
        "Office",
        r#"/dde "C:\Users\{0}\Zahlen {1} €.xlsx""#,
    ),
    ("explorer.exe", r"C:\Windows", "Microsoft Corporation", "Windows", ""),
    ("services.exe", r"C:\Windows\System32", "Microsoft Corporation", "Windows", ""),
    ("lsass.exe", r"C:\Windows\System32", "Microsoft Corporation", "Windows", ""),
    ("wmiprvse.exe", r"C:\Windows\System32\wbem", "Microsoft Corporation", "Windows", "-secured -Embedding"),
    (
        "MsMpEng.exe",
        r"C:\ProgramData\Microsoft\Windows Defender\Platform\4.18.26090.3-0",
        "Microsoft Corporation",
        "Defender",
        "",
    ),
    (
        "MsSense.exe",
        r"C:\Program Files\Windows Defender Advanced Threat Protection",
        "Microsoft Corporation",
        "Defender",
        "",
    ),
    (
        "rundll32.exe",
        r"C:\Windows\System32",
        "Microsoft Corporation",
        "Windows",
        r#"C:\Users\{0}\AppData\Local\Temp\{1}.dll,#{2}"#,
    ),
    (
        "schtasks.exe",
        r"C:\Windows\System32",
        "Microsoft Corporation",
        "Windows",
        r#"/create /tn "\Näyttö\{0}" /tr "C:\tools\run.bat {1}" /sc minute"#,
    ),
    (
        "git.exe",
        r"C:\Program Files\Git\cmd",
        "The Git Development Community",
        "Git",
        r#"commit -m "fix: \"{0}\" überarbeitet 🎉 {1}""#,
    ),
    ("python3.12", "/usr/bin", "", "", r#"-c 'import json; print(json.dumps({"{0}": "{1}"}))'"#),
    ("bash", "/usr/bin", "", "", r#"-lc "grep -rn '{0}' /var/log | awk '{print $1}' > /tmp/{1}""#),
    ("sshd", "/usr/sbin", "", "", "-D -R"),
    ("systemd", "/usr/lib/systemd", "", "", "--switched-root --system --deserialize {1}"),
    (
        "java.exe",
        r"C:\Program Files\Eclipse Adoptium\jdk-21\bin",
        "Eclipse Adoptium",
        "OpenJDK",
        r"-Xmx{1}m -Dfile.encoding=UTF-8 -jar D:\apps\{0}\server.jar",
    ),
    (
        "Teams.exe",
        r"C:\Users\Public\AppData\Local\Microsoft\Teams\current",
        "Microsoft Corporation",
        "Teams",
        "--process-start-args --enable-{0}",
    ),
    (
        "setup.tmp",
        r"C:\Users\ADMINI~1\AppData\Local\Temp\is-7Q2LM.tmp",
        "",
        "Setup/Uninstall",
        r#"/SL5="$5{1},832512,C:\Users\{0}\Downloads\setup.exe" /SILENT"#,
    ),
];

impl Pools {
    pub(crate) fn new(dice: Dice, devices: u32) -> Self {
        let devices = devices.max(1);
        Self {
            devices: (0..devices).map(|index| device(dice.named("device").of(index.into()), index)).collect(),
            accounts: (0..devices.max(40) * 3 / 4)
                .map(|index| account(dice.named("account").of(index.into()), index))
                .collect(),
            programs: PROGRAMS
                .iter()
                .map(|(file, folder, company, product, arguments)| Program {
                    file: (*file).into(),
                    folder: (*folder).into(),
                    company: (*company).into(),
                    product: (*product).into(),
                    arguments,
                })
                .collect(),
        }
    }
}

fn device(dice: Dice, index: u32) -> Device {
    let name = format!("{}-{index:04}.{}", dice.of(1).pick(&SITES), dice.of(2).pick(&DOMAINS));
    Device { id: hex(dice.of(3), 40).into(), name: name.into() }
}

fn account(dice: Dice, index: u32) -> Account {
    let (given, family) = (*dice.of(1).pick(&GIVEN), *dice.of(2).pick(&FAMILY));
    let domain = *dice.of(3).pick(&DOMAINS);
    let letters: String = given.chars().chain(family.chars()).filter(char::is_ascii_alphabetic).take(6).collect();
    let name = format!("{}{index}", letters.to_lowercase());
    let sid =
        format!("S-1-5-21-{}-{}-{}-{}", dice.of(4).below(1 << 32), dice.of(5).below(1 << 32), 1_000_203, 1000 + index);
    Account {
        display_name: format!("{given} {family}").into(),
        given_name: given.into(),
        surname: family.into(),
        upn: format!("{name}@{domain}").into(),
        domain: domain.split('.').next().unwrap_or(domain).into(),
        sid: sid.into(),
        object_id: guid(dice.of(6)).to_string().into(),
        name: name.into(),
    }
}

/// `digits` lower-case hex digits.
pub(crate) fn hex(dice: Dice, digits: usize) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(digits);
    let mut bits = 0;
    for index in 0..digits {
        if index % 16 == 0 {
            bits = dice.of(index as u64).bits();
        }
        text.push(char::from(DIGITS[(bits & 15) as usize]));
        bits >>= 4;
    }
    text
}

/// A version-4 GUID.
pub(crate) fn guid(dice: Dice) -> Uuid {
    let bits = u128::from(dice.of(1).bits()) << 64 | u128::from(dice.of(2).bits());
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
}
