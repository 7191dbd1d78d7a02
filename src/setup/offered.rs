//! What the tenant offers of a list of tables: asked in one call where the service passes over what it does not have, and in as
//! few as the service's refusals allow where it does not.

use crate::adx::template::fill;
use crate::defender::Rows;
use crate::functions::hunting::{Error, Hunting};
use crate::kql::{Identifier, Text};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};

/// Tables in one call: as many as are documented fit.
const MOST_TABLES: usize = 80;

/// The columns of a table with their types.
pub type Columns = BTreeMap<String, String>;

/// What the tenant offers of the tables that it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered {
    /// The tables with their columns.
    pub tables: BTreeMap<String, Columns>,
    /// Tables that the service refused for another reason than that they are not there.
    pub refused: Vec<(String, String)>,
}

/// What is asked of each table.
#[derive(Debug, Clone, Copy)]
enum Question {
    Columns,
    Arrival,
}

impl Question {
    fn leg(self, table: &Identifier) -> String {
        let file = match self {
            Self::Columns => include_str!("../../kql/setup/columns_of.kql"),
            Self::Arrival => include_str!("../../kql/setup/arrival_of.kql"),
        };
        fill(file, &[("table", table), ("name", &Text(table.as_str()))])
    }

    fn query(self, tables: &[Identifier], passing_over: bool) -> String {
        if let ([one], false) = (tables, passing_over) {
            return self.leg(one);
        }
        let legs = tables.iter().map(|table| format!("    ({})", self.leg(table))).collect::<Vec<_>>().join(",\n");
        let file = if passing_over {
            include_str!("../../kql/setup/offered.kql")
        } else {
            include_str!("../../kql/setup/offered_all.kql")
        };
        fill(file, &[("legs", &legs)])
    }
}

/// The query that asks for the columns of tables.
pub fn columns_query(tables: &[Identifier], passing_over: bool) -> String {
    Question::Columns.query(tables, passing_over)
}

/// The query that asks whether the rows of tables have arrival times.
pub fn arrival_query(tables: &[Identifier], passing_over: bool) -> String {
    Question::Arrival.query(tables, passing_over)
}

/// Which of `tables` the tenant offers, and their columns.
///
/// # Errors
/// [`Error`] of a hunting call, where it is not about a table.
pub async fn offered(hunting: &mut Hunting<'_>, tables: &[Identifier]) -> Result<Offered, Error> {
    let (answers, refused) = ask(hunting, tables, Question::Columns).await?;
    Ok(Offered { tables: columns_of(&answers), refused })
}

/// The columns of each table in the answers of [`columns_query`].
pub fn columns_of(answers: &[Map<String, Value>]) -> BTreeMap<String, Columns> {
    let column = |text: &Value| text.as_str()?.rsplit_once(' ').map(|(name, ty)| (name.to_owned(), ty.to_owned()));
    let table = |row: &Map<String, Value>| {
        let columns = row.get("Columns")?.as_array()?;
        Some((table_of(row)?, columns.iter().filter_map(column).collect()))
    };
    answers.iter().filter_map(table).collect()
}

/// Whether the rows of each of `tables` have an arrival time; a table that shows no row is not among them.
///
/// # Errors
/// [`Error`] of a hunting call, where it is not about a table.
pub async fn arrivals(hunting: &mut Hunting<'_>, tables: &[Identifier]) -> Result<BTreeMap<String, bool>, Error> {
    let (answers, _) = ask(hunting, tables, Question::Arrival).await?;
    let told = |row: Map<String, Value>| Some((table_of(&row)?, row.get("ArrivedAt").is_some_and(Value::is_string)));
    Ok(answers.into_iter().filter_map(told).collect())
}

fn table_of(row: &Map<String, Value>) -> Option<String> {
    row.get("SourceTable").and_then(Value::as_str).map(str::to_owned)
}

/// Who is asked.
trait Asked {
    async fn rows(&mut self, query: &str) -> Result<Rows, Error>;
}

impl Asked for Hunting<'_> {
    async fn rows(&mut self, query: &str) -> Result<Rows, Error> {
        Hunting::rows(self, query).await
    }
}

type Answers = (Vec<Map<String, Value>>, Vec<(String, String)>);

/// Asks all tables the same; gives the rows, and the tables that were refused with the reason.
async fn ask(asked: &mut impl Asked, tables: &[Identifier], question: Question) -> Result<Answers, Error> {
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    let mut open: VecDeque<(Vec<Identifier>, bool)> =
        tables.chunks(MOST_TABLES).map(|tables| (tables.to_vec(), true)).collect();
    while let Some((mut tables, passing_over)) = open.pop_front() {
        let error = match asked.rows(&question.query(&tables, passing_over)).await {
            Ok(answer) => {
                rows.extend(answer.rows);
                continue;
            }
            Err(error) => error,
        };
        let Some((is_unknown, message)) = refusal(&error) else { return Err(error) };
        // Not one of them is there, or the service does not pass over what is not there.
        if passing_over {
            open.push_back((tables, false));
            continue;
        }
        match tables.iter().position(|table| is_unknown && message.contains(&format!("'{}'", table.as_str()))) {
            Some(named) => drop(tables.remove(named)),
            None if tables.len() > 1 => open.push_back((tables.split_off(tables.len() / 2), false)),
            None => {
                if !is_unknown && let Some(table) = tables.pop() {
                    refused.push((table.as_str().to_owned(), message));
                }
                tables.clear();
            }
        }
        if !tables.is_empty() {
            open.push_back((tables, false));
        }
    }
    Ok((rows, refused))
}

/// Whether the service says that it does not have a table, and its words; `None` where the query is not what is wrong.
fn refusal(error: &Error) -> Option<(bool, String)> {
    match error {
        Error::Call(call @ crate::defender::Error::Refused { message, .. }) => {
            Some((call.is_unknown_table(), message.clone()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defender;
    use serde_json::json;

    /// A service that has some tables, and knows `isfuzzy` or not.
    struct Service {
        has: Vec<&'static str>,
        passes_over: bool,
        names_what_is_missing: bool,
        calls: usize,
    }

    impl Asked for Service {
        async fn rows(&mut self, query: &str) -> Result<Rows, Error> {
            self.calls += 1;
            let refused =
                |message: String| Err(Error::Call(defender::Error::Refused { code: "BadRequest".to_owned(), message }));
            let fuzzy = query.contains("isfuzzy");
            if fuzzy && !self.passes_over {
                return refused("Unknown parameter".to_owned());
            }
            let asked: Vec<&str> =
                query.split("SourceTable = \"").skip(1).filter_map(|r| r.split('"').next()).collect();
            let missing = asked.iter().find(|name| !self.has.contains(name));
            if let Some(missing) = missing.filter(|_| !fuzzy) {
                let named = if self.names_what_is_missing { missing } else { "it" };
                return refused(format!("Failed to resolve table or column expression named '{named}'."));
            }
            let row = |name: &&&str| {
                let row = json!({"SourceTable": name, "Columns": ["Timestamp datetime", "A B string"]});
                row.as_object().cloned().unwrap()
            };
            let rows = asked.iter().filter(|name| self.has.contains(name)).map(|name| row(&name)).collect();
            Ok(Rows { columns: Vec::new(), rows })
        }
    }

    async fn found(service: &mut Service, names: &[&str]) -> Vec<String> {
        let tables: Vec<Identifier> = names.iter().map(|name| Identifier::new(name).unwrap()).collect();
        let (rows, refused) = ask(service, &tables, Question::Columns).await.unwrap();
        assert_eq!(refused, []);
        let mut found: Vec<String> = rows.iter().filter_map(table_of).collect();
        found.sort();
        found
    }

    #[tokio::test]
    async fn a_service_that_passes_over_what_it_has_not_is_asked_once() {
        let mut service = Service { has: vec!["A", "C"], passes_over: true, names_what_is_missing: true, calls: 0 };
        assert_eq!(found(&mut service, &["A", "B", "C"]).await, ["A", "C"]);
        assert_eq!(service.calls, 1);
    }

    #[tokio::test]
    async fn another_is_asked_again_without_the_tables_that_it_names() {
        let mut service = Service { has: vec!["A", "C"], passes_over: false, names_what_is_missing: true, calls: 0 };
        assert_eq!(found(&mut service, &["A", "B", "C", "D"]).await, ["A", "C"]);
        assert_eq!(service.calls, 4);
    }

    #[tokio::test]
    async fn one_that_names_none_is_asked_by_halves() {
        let mut service = Service { has: vec!["A", "C"], passes_over: false, names_what_is_missing: false, calls: 0 };
        assert_eq!(found(&mut service, &["A", "B", "C", "D"]).await, ["A", "C"]);
        let mut nothing = Service { has: vec![], ..service };
        assert_eq!(found(&mut nothing, &["A", "B"]).await, Vec::<String>::new());
    }
}
