//! Where the host's own lines and those of the handler go. Knows no logging framework: what the host prints
//! is its user interface, as that of Core Tools.

use crate::timestamp::Clock;
use std::io::Write;
use std::sync::Arc;
use uuid::Uuid;

/// How much an [`Entry`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The ordinary course.
    Information,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
}

/// One line of the host's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How much it matters.
    pub level: Level,
    /// Who says it: [`HANDLER`], [`STARTUP`], [`HOST`] or `Function.<name>.User`.
    pub category: String,
    /// The call it belongs to.
    pub invocation: Option<Uuid>,
    /// The line, without a line break.
    pub text: String,
}

/// The category of the handler's own output.
pub const HANDLER: &str = "Host.Function.Console";
/// The category of the list of functions.
pub const STARTUP: &str = "Host.Startup";
/// The category of everything else that the host says.
pub const HOST: &str = "Host";

/// Takes the host's lines.
pub trait Console: Send + Sync {
    /// Takes one line.
    fn write(&self, entry: Entry);
}

/// Prints to standard output, and the handler's standard error to standard error. The handler's lines and the list
/// of functions appear as they are, the host's own with the time before them.
pub struct StandardOutput {
    clock: Arc<dyn Clock>,
    as_json: bool,
}

impl StandardOutput {
    /// A console whose lines bear the time of `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, as_json: false }
    }

    /// The same, with the host's own lines as JSON: `timestamp`, `level`, `message`, `category` and `invocation`.
    #[must_use]
    pub fn as_json(self) -> Self {
        Self { as_json: true, ..self }
    }

    fn json(&self, entry: &Entry) -> String {
        let level = match entry.level {
            Level::Information => "INFO",
            Level::Warning => "WARN",
            Level::Error => "ERROR",
        };
        let mut line = serde_json::json!({
            "timestamp": self.clock.now().to_string(),
            "level": level,
            "message": entry.text,
            "category": entry.category,
        });
        if let Some(id) = entry.invocation {
            line["invocation"] = id.to_string().into();
        }
        format!("{line}\n")
    }
}

impl Console for StandardOutput {
    fn write(&self, entry: Entry) {
        let line = match entry.category.as_str() {
            HANDLER => format!("{}\n", entry.text),
            _ if self.as_json => self.json(&entry),
            STARTUP => format!("{}\n", entry.text),
            _ => {
                let level = match entry.level {
                    Level::Information => "",
                    Level::Warning => "warning: ",
                    Level::Error => "error: ",
                };
                let invocation = entry.invocation.map(|id| format!(" (Id={id})")).unwrap_or_default();
                format!("[{}] {level}{}{invocation}\n", self.clock.now(), entry.text)
            }
        };
        // Nobody may be reading any more; that must not end the host.
        let _ = if entry.category == HANDLER && entry.level > Level::Information {
            std::io::stderr().lock().write_all(line.as_bytes())
        } else {
            std::io::stdout().lock().write_all(line.as_bytes())
        };
    }
}

/// Shorthands for the host's own lines.
pub(crate) trait Say {
    fn say(&self, level: Level, text: impl Into<String>);
}

impl Say for Arc<dyn Console> {
    fn say(&self, level: Level, text: impl Into<String>) {
        self.write(Entry { level, category: HOST.to_owned(), invocation: None, text: text.into() });
    }
}
