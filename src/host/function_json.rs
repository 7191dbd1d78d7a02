//! The function folders: `<name>/function.json` with its trigger and outputs, checked as a whole
//! (azure-docs `articles/azure-functions/functions-triggers-bindings.md`).

use super::environment::{Environment, parse_bool};
use super::host_json::HostJson;
use super::json::Json;
use super::problem::{Problem, Report};
use super::retry::Retry;
use super::route::Template;
use super::schedule::{Schedule, time_zone};
use jiff::tz::TimeZone;
use std::path::Path;

/// A function of the app.
#[derive(Debug)]
pub(crate) struct Function {
    /// The name of its folder.
    pub(crate) name: String,
    pub(crate) trigger: Trigger,
    /// Its queue outputs.
    pub(crate) outputs: Vec<QueueOutput>,
    /// The name of its HTTP output.
    pub(crate) http_output: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Trigger {
    Http(HttpTrigger),
    Queue { binding: String, queue: String, binary: bool },
    Timer(TimerTrigger),
}

#[derive(Debug)]
pub(crate) struct HttpTrigger {
    pub(crate) binding: String,
    pub(crate) level: AuthLevel,
    /// In upper case; `None`: all.
    pub(crate) methods: Option<Vec<String>>,
    /// Prefix and route, without a leading slash, as shown to people.
    pub(crate) route: String,
    pub(crate) template: Template,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthLevel {
    Anonymous,
    Function,
    Admin,
}

#[derive(Debug)]
pub(crate) struct TimerTrigger {
    pub(crate) binding: String,
    pub(crate) schedule: Schedule,
    pub(crate) use_monitor: bool,
    pub(crate) run_on_startup: bool,
    pub(crate) retry: Option<Retry>,
}

/// A queue that what a function gives out under `binding` is put on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueOutput {
    pub(crate) binding: String,
    pub(crate) queue: String,
    pub(crate) binary: bool,
}

impl Function {
    /// Whether its request may be passed on as it is: nothing but one HTTP trigger and one HTTP output.
    pub(crate) fn is_http_only(&self) -> bool {
        matches!(self.trigger, Trigger::Http(_)) && self.http_output.is_some() && self.outputs.is_empty()
    }

    /// The trigger's type, as in function.json.
    pub(crate) fn trigger_type(&self) -> &'static str {
        match self.trigger {
            Trigger::Http(_) => "httpTrigger",
            Trigger::Queue { .. } => "queueTrigger",
            Trigger::Timer(_) => "timerTrigger",
        }
    }
}

/// Reads all enabled functions below `app_root`, by name. What is wrong is added to `problems`.
pub(crate) fn read_functions(
    app_root: &Path,
    host: &HostJson,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Vec<Function> {
    let zone = time_zone(environment).unwrap_or_else(|(setting, message)| {
        Report::new("settings", problems).add(setting, message);
        TimeZone::UTC
    });
    let mut functions = Vec::new();
    for name in folders(app_root, problems) {
        let listed = host.functions.as_ref().is_none_or(|list| list.iter().any(|f| f.eq_ignore_ascii_case(&name)));
        if !listed || is_disabled_by_setting(&name, environment) {
            continue;
        }
        let file = format!("{name}/function.json");
        let count = problems.len();
        let mut report = Report::new(file.as_str(), problems);
        let Some(json) = report.read_object(&app_root.join(&file)) else { continue };
        let mut reader = Reader { environment, zone: &zone, prefix: &host.route_prefix, report };
        let function = reader.function(name, &json);
        functions.extend(function.filter(|_| problems.len() == count));
    }
    functions
}

/// The folders that hold a function.json, sorted.
pub(crate) fn folders(app_root: &Path, problems: &mut Vec<Problem>) -> Vec<String> {
    let entries = match std::fs::read_dir(app_root) {
        Ok(entries) => entries,
        Err(error) => {
            Report::new(".", problems).add("", format!("the app root cannot be listed: {error}"));
            return Vec::new();
        }
    };
    let with_function = entries.flatten().filter(|entry| entry.path().join("function.json").is_file());
    let mut names: Vec<String> = with_function.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is_disabled_by_setting(name: &str, environment: &Environment) -> bool {
    // The second form is for shells that do not take a dot in a name.
    let names = [format!("AzureWebJobs.{name}.Disabled"), format!("AzureWebJobs_{name}_Disabled")];
    names.iter().any(|name| environment.get(name).and_then(parse_bool).unwrap_or(false))
}

/// Reads one function.json.
struct Reader<'a> {
    environment: &'a Environment,
    zone: &'a TimeZone,
    prefix: &'a str,
    report: Report<'a>,
}

impl Reader<'_> {
    fn function(&mut self, name: String, json: &Json) -> Option<Function> {
        if self.is_disabled(json) {
            return None;
        }
        let mut letters = name.chars();
        let good = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            && name.len() <= 128
            && !name.eq_ignore_ascii_case("host");
        if !good {
            self.report.add(
                "",
                "the folder's name must be a letter, then up to 127 letters, digits, `_` or `-`, and not `host`",
            );
        }
        let retry = json
            .member("retry")
            .filter(|retry| !retry.is_null())
            .and_then(|retry| Retry::read(retry).map_err(|(field, message)| self.report.add(field, message)).ok());
        let Some(Json::Array(bindings)) = json.member("bindings") else {
            self.report.add("bindings", "must be a list with one trigger");
            return None;
        };
        let mut triggers = Vec::new();
        let mut outputs = Vec::new();
        let mut http_outputs = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for (index, binding) in bindings.iter().enumerate() {
            let mut fields = Fields { reader: self, path: format!("bindings[{index}]"), json: binding };
            let Some(binding_name) = fields.required("name") else { continue };
            if names.iter().any(|name| name.eq_ignore_ascii_case(&binding_name)) {
                fields.add("name", format!("`{binding_name}` is used twice"));
            }
            names.push(binding_name.clone());
            match fields.required("type").as_deref().map(str::to_ascii_lowercase).as_deref() {
                Some("httptrigger") => triggers.extend(fields.http_trigger(&name, binding_name)),
                Some("queuetrigger") => triggers.extend(fields.queue_trigger(binding_name)),
                Some("timertrigger") => triggers.extend(fields.timer_trigger(binding_name, retry)),
                Some("http") => {
                    fields.direction("out");
                    http_outputs.push(binding_name);
                }
                Some("queue") => outputs.extend(fields.queue_output(binding_name)),
                Some(_) => fields.add(
                    "type",
                    "is not supported by this host; known are httpTrigger, http, queueTrigger, queue and timerTrigger",
                ),
                None => {}
            }
        }
        let is_http = triggers.iter().any(|trigger| matches!(trigger, Trigger::Http(_)));
        if triggers.len() > 1
            || http_outputs.len() > 1
            || (!http_outputs.is_empty() && !is_http && !triggers.is_empty())
        {
            self.report.add("bindings", "must hold one trigger, and at most one `http` output, with an httpTrigger");
        } else if !bindings.iter().any(is_trigger) {
            self.report.add("bindings", "holds no trigger");
        }
        if retry.is_some() && !triggers.iter().any(|trigger| matches!(trigger, Trigger::Timer(_))) {
            self.report.add("retry", "is for timers alone; remove it");
        }
        Some(Function { name, trigger: triggers.pop()?, outputs, http_output: http_outputs.pop() })
    }

    fn is_disabled(&mut self, json: &Json) -> bool {
        match json.member("disabled") {
            None | Some(Json::Null) => false,
            Some(Json::Bool(value)) => *value,
            // A text names a setting, or is the value itself.
            Some(Json::String(text)) => {
                self.environment.get(text).map_or_else(|| parse_bool(text), parse_bool).unwrap_or(false)
            }
            Some(other) => {
                self.report
                    .add("disabled", format!("must be true, false or the name of a setting, not {}", other.compact()));
                false
            }
        }
    }
}

fn is_trigger(binding: &Json) -> bool {
    matches!(binding.member("type"), Some(Json::String(kind)) if kind.to_ascii_lowercase().ends_with("trigger"))
}

/// The fields of one binding.
struct Fields<'a, 'b> {
    reader: &'a mut Reader<'b>,
    path: String,
    json: &'a Json,
}

impl Fields<'_, '_> {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.reader.report.add(format!("{}.{field}", self.path), message);
    }

    fn text(&mut self, field: &str) -> Option<String> {
        match self.json.member(field)? {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => {
                self.add(field, format!("must be a text, not {}", other.compact()));
                None
            }
        }
    }

    fn required(&mut self, field: &str) -> Option<String> {
        let present = self.json.member(field).is_some_and(|value| !value.is_null());
        let text = self.text(field);
        if !present || text.as_deref() == Some("") {
            self.add(field, "is missing");
            return None;
        }
        text
    }

    /// A required text with its settings filled in.
    fn resolved(&mut self, field: &str) -> Option<String> {
        let text = self.required(field)?;
        self.resolve(field, &text)
    }

    fn resolve(&mut self, field: &str, text: &str) -> Option<String> {
        match self.reader.environment.resolve(text) {
            Ok(resolved) => Some(resolved),
            Err(name) => {
                self.add(field, format!("`{text}` needs the setting `{name}`, which is not set"));
                None
            }
        }
    }

    fn flag(&mut self, field: &str, default: bool) -> bool {
        match self.json.member(field) {
            None | Some(Json::Null) => default,
            Some(Json::Bool(value)) => *value,
            Some(other) => {
                self.add(field, format!("must be true or false, not {}", other.compact()));
                default
            }
        }
    }

    fn direction(&mut self, expected: &str) {
        let direction = self.text("direction").unwrap_or_else(|| "in".to_owned());
        if !direction.eq_ignore_ascii_case(expected) {
            self.add("direction", format!("must be `{expected}`, not `{direction}`"));
        }
    }

    fn binary(&mut self) -> bool {
        let data_type = self.text("dataType").unwrap_or_default().to_ascii_lowercase();
        if !matches!(data_type.as_str(), "" | "string" | "binary" | "stream") {
            self.add("dataType", format!("must be `string`, `binary` or `stream`, not `{data_type}`"));
        }
        matches!(data_type.as_str(), "binary" | "stream")
    }

    fn queue_name(&mut self) -> Option<String> {
        let name = self.resolved("queueName")?.to_lowercase();
        let characters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let dashes = !name.starts_with('-') && !name.ends_with('-') && !name.contains("--");
        if characters && dashes && (3..=63).contains(&name.len()) {
            return Some(name);
        }
        self.add("queueName", format!("must have 3 to 63 letters, digits and single dashes, not `{name}`"));
        None
    }

    fn http_trigger(&mut self, function: &str, binding: String) -> Option<Trigger> {
        self.direction("in");
        let level = match self.text("authLevel").unwrap_or_default().to_ascii_lowercase().as_str() {
            "" | "function" => AuthLevel::Function,
            "anonymous" => AuthLevel::Anonymous,
            "admin" => AuthLevel::Admin,
            other => {
                self.add("authLevel", format!("must be `anonymous`, `function` or `admin`, not `{other}`"));
                AuthLevel::Admin
            }
        };
        let methods = match self.json.member("methods") {
            None | Some(Json::Null) => None,
            Some(Json::Array(methods)) if methods.iter().all(|method| matches!(method, Json::String(_))) => {
                Some(methods.iter().map(|method| method.scalar_text().to_ascii_uppercase()).collect())
            }
            Some(other) => {
                self.add("methods", format!("must be a list of HTTP methods, not {}", other.compact()));
                None
            }
        };
        let route = match self.text("route") {
            Some(route) => self.resolve("route", &route)?,
            None => function.to_owned(),
        };
        let route = format!("{}/{}", self.reader.prefix.trim_matches('/'), route.trim_matches('/'));
        let route = route.trim_matches('/').to_owned();
        match Template::parse(&route) {
            Ok(template) => Some(Trigger::Http(HttpTrigger {
                binding,
                level,
                // An empty list stands for all, as a missing one.
                methods: methods.filter(|methods: &Vec<String>| !methods.is_empty()),
                route,
                template,
            })),
            Err(message) => {
                self.add("route", format!("`{route}` {message}"));
                None
            }
        }
    }

    fn queue_trigger(&mut self, binding: String) -> Option<Trigger> {
        self.direction("in");
        let binary = self.binary();
        Some(Trigger::Queue { binding, queue: self.queue_name()?, binary })
    }

    fn queue_output(&mut self, binding: String) -> Option<QueueOutput> {
        self.direction("out");
        let binary = self.binary();
        Some(QueueOutput { binding, queue: self.queue_name()?, binary })
    }

    fn timer_trigger(&mut self, binding: String, retry: Option<Retry>) -> Option<Trigger> {
        self.direction("in");
        let use_monitor = self.flag("useMonitor", true);
        let run_on_startup = self.flag("runOnStartup", false);
        let written = self.required("schedule")?;
        let text = self.resolve("schedule", &written)?;
        match Schedule::parse(&text, self.reader.zone.clone()) {
            Ok(schedule) => {
                Some(Trigger::Timer(TimerTrigger { binding, schedule, use_monitor, run_on_startup, retry }))
            }
            Err(message) => {
                let setting = written.strip_prefix('%').and_then(|name| name.strip_suffix('%'));
                let from = setting.map(|name| format!("; correct the setting {name}")).unwrap_or_default();
                self.add("schedule", message + &from);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)], settings: &[(&str, &str)]) -> (Vec<Function>, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        let host = r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}"#;
        std::fs::write(root.path().join("host.json"), host).unwrap();
        for (name, text) in files {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join("function.json"), text).unwrap();
        }
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let environment = Environment::new(settings);
        let mut problems = Vec::new();
        let host = HostJson::read(root.path(), &environment, 1, &mut problems);
        let functions = read_functions(root.path(), &host, &environment, &mut problems);
        (functions, problems.iter().map(ToString::to_string).collect())
    }

    const WORKER: &str = r#"{"bindings":[{"type":"queueTrigger","name":"msg","direction":"in","queueName":"%Q%"}]}"#;

    #[test]
    fn settings_fill_in_queue_names_in_lower_case() {
        let (functions, problems) = read(&[("Worker", WORKER)], &[("Q", "Jobs")]);
        assert_eq!(problems, [""; 0]);
        assert!(matches!(&functions[0].trigger, Trigger::Queue { queue, binary: false, .. } if queue == "jobs"));
    }

    #[test]
    fn a_missing_setting_is_named_with_file_and_field() {
        let (_, problems) = read(&[("Worker", WORKER)], &[]);
        assert_eq!(
            problems,
            ["Worker/function.json: `bindings[0].queueName` `%Q%` needs the setting `Q`, which is not set"]
        );
    }

    #[test]
    fn a_schedule_that_is_none_is_named_with_its_setting() {
        let nightly = r#"{"bindings":[{"type":"timerTrigger","name":"t","schedule":"%NIGHTLY%"}]}"#;
        let (_, problems) = read(&[("nightly", nightly)], &[("NIGHTLY", "at two")]);
        assert!(problems[0].starts_with("nightly/function.json: `bindings[0].schedule` must be"), "{problems:?}");
        assert!(problems[0].ends_with("not `at two`; correct the setting NIGHTLY"), "{problems:?}");
    }

    #[test]
    fn a_retry_policy_is_that_of_a_timer_with_a_fixed_delay() {
        let timer = |retry: &str| {
            let bindings = r#"[{"type":"timerTrigger","name":"t","schedule":"0 0 2 * * *"}]"#;
            read(&[("nightly", &format!(r#"{{"bindings":{bindings},"retry":{retry}}}"#))], &[])
        };
        let policy =
            |max: &str| format!(r#"{{"strategy":"fixedDelay","maxRetryCount":{max},"delayInterval":"00:00:10"}}"#);
        for (written, max) in [("3", Some(3)), ("-1", None)] {
            let (functions, problems) = timer(&policy(written));
            assert_eq!(problems, [""; 0]);
            let Trigger::Timer(timer) = &functions[0].trigger else { panic!("{functions:?}") };
            assert_eq!(timer.retry, Some(Retry { max, delay: std::time::Duration::from_secs(10) }));
        }
        for (retry, expected) in [
            (policy("-2"), "`retry.maxRetryCount` must be a whole number, or -1 for no end, not `-2`"),
            (r#"{"strategy":"exponentialBackoff"}"#.to_owned(), "`retry.strategy` must be `fixedDelay` at this host"),
            (r#"{"strategy":"fixedDelay","maxRetryCount":1}"#.to_owned(), "`retry.delayInterval` must be a time span"),
        ] {
            let (_, problems) = timer(&retry);
            assert!(problems[0].contains(expected), "{problems:?}");
        }
        let queue = r#"{"bindings":[{"type":"queueTrigger","name":"m","queueName":"abc"}],"retry":"#.to_owned();
        let (_, problems) = read(&[("Worker", &format!("{queue}{}}}", policy("1")))], &[]);
        assert_eq!(problems, ["Worker/function.json: `retry` is for timers alone; remove it"]);
    }

    #[test]
    fn all_broken_files_are_reported_at_once() {
        let (functions, problems) = read(
            &[
                ("a", "{"),
                ("b", r#"{"bindings":[{"type":"cosmosDBTrigger","name":"x"}]}"#),
                ("c", r#"{"bindings":[{"type":"timerTrigger","name":"t","schedule":"often"}]}"#),
                ("d", r#"{"bindings":[{"type":"httpTrigger","name":"r","authLevel":"none","route":"{x"}]}"#),
                ("e", r#"{"bindings":[{"type":"queue","name":"o","direction":"in","queueName":"abc"}]}"#),
                ("host", WORKER),
            ],
            &[("Q", "abc")],
        );
        assert!(functions.is_empty());
        for expected in [
            "a/function.json: is not valid JSON",
            "b/function.json: `bindings[0].type` is not supported",
            "c/function.json: `bindings[0].schedule` must be",
            "d/function.json: `bindings[0].authLevel` must be",
            "d/function.json: `bindings[0].route` `api/{x` has no",
            "e/function.json: `bindings[0].direction` must be",
            "e/function.json: `bindings` holds no trigger",
            "host/function.json: the folder's name",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}: {problems:#?}");
        }
    }

    #[test]
    fn functions_are_disabled_by_file_or_setting() {
        let off = r#"{"disabled":true,"bindings":[]}"#;
        let named = r#"{"disabled":"OFF","bindings":[]}"#;
        let settings = [("OFF", "1"), ("Q", "abc"), ("AzureWebJobs.worker.Disabled", "true")];
        let (functions, problems) = read(&[("off", off), ("named", named), ("Worker", WORKER)], &settings);
        assert!(functions.is_empty() && problems.is_empty(), "{functions:?} {problems:?}");
    }

    #[test]
    fn a_third_binding_keeps_a_request_from_being_passed_on() {
        let http = r#"{"type":"httpTrigger","name":"req"},{"type":"http","name":"res","direction":"out"}"#;
        let queue = r#"{"type":"queue","name":"out","direction":"out","queueName":"abc"}"#;
        let (functions, problems) = read(
            &[
                ("plain", &format!(r#"{{"bindings":[{http}]}}"#)),
                ("with-queue", &format!(r#"{{"bindings":[{http},{queue}]}}"#)),
            ],
            &[],
        );
        assert_eq!(problems, [""; 0]);
        assert!(functions[0].is_http_only());
        assert!(!functions[1].is_http_only());
    }
}
