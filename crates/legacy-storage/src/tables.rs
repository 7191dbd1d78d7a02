//! Rows and transactions on `azure_data_tables`. Knows no queue.

use crate::entity::{self, Escaped};
use crate::failure::Failure;
use crate::requests::{Operations, context};
use crate::wire;
use adxingestor_ports::storage::{
    Continuation, ETag, Error, Key, Operation, Page, Properties, Range, Row, TableStore, limits,
};
use async_trait::async_trait;
use azure_core::Continuable;
use azure_data_tables::clients::{EntityClient, TableClient};
use azure_data_tables::operations::QueryEntityResponse;
use azure_data_tables::{Filter, IfMatchCondition, Top};
use futures_util::StreamExt;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

type Json = Map<String, Value>;

/// How many rows a page asks for: fewer when they are too large to be answered together.
const PAGE_ROWS: [u32; 3] = [1000, 100, 10];

/// More than the headers and the URL of an operation of a transaction, with keys of the longest.
const PART_BYTES: usize = 8 * 1024;

/// One table.
pub(crate) struct Tables {
    table: TableClient,
}

impl Tables {
    pub(crate) fn new(table: TableClient) -> Self {
        Self { table }
    }

    fn entity(&self, key: &Key) -> EntityClient {
        self.table.partition_key_client(quoted(key.partition())).entity_client(quoted(key.row()))
    }

    async fn create(&self) -> Result<(), Error> {
        match self.table.create().await.map_err(Failure::from) {
            Ok(_) => Ok(()),
            Err(failure) if failure.code() == "TableAlreadyExists" => Ok(()),
            Err(failure) => Err(failure.into_error(None, || format!("the table {}", self.table.table_name()))),
        }
    }

    async fn apply(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Failure> {
        match operations {
            [operation] => Ok(vec![self.apply_one(operation).await?]),
            _ => self.apply_together(operations).await,
        }
    }

    async fn apply_one(&self, operation: &Operation) -> Result<Option<ETag>, Failure> {
        // A row at its limit fits into a request even if each of its characters is escaped.
        let json = |key: &Key, properties: &Properties| entity::to_json(key, properties, Escaped::NonAscii);
        let etag = match operation {
            Operation::Insert(key, properties) => self.table.insert::<_, Value>(json(key, properties)?)?.await?.etag,
            Operation::Replace(key, properties, etag) => {
                self.entity(key).update(json(key, properties)?, matching(etag))?.await?.etag
            }
            Operation::Merge(key, properties, etag) => {
                self.entity(key).merge(json(key, properties)?, matching(etag))?.await?.etag
            }
            Operation::Delete(key, etag) => {
                self.entity(key).delete().if_match(matching(etag)).await?;
                return Ok(None);
            }
        };
        Ok(Some(ETag(etag.to_string())))
    }

    async fn apply_together(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Failure> {
        let partition = operations.first().map_or("", |operation| operation.key().partition());
        let mut transaction = self.table.partition_key_client(quoted(partition)).transaction();
        for (operation, json) in operations.iter().zip(transaction_json(operations)?) {
            let row = quoted(operation.key().row());
            transaction = match operation {
                Operation::Insert(..) => transaction.insert(json),
                Operation::Replace(_, _, etag) => transaction.update(row, json, Some(matching(etag))),
                Operation::Merge(_, _, etag) => transaction.merge(row, json, Some(matching(etag))),
                Operation::Delete(_, etag) => transaction.delete(row, Some(matching(etag))),
            }?;
        }
        let answer = transaction.context(context(Operations(operations.len()))).await?;
        // The answer has been judged before the crate read it; this holds should the crate read it differently.
        if answer.operation_responses.len() != operations.len() {
            return Err(Failure::Garbled("a transaction of other operations".to_owned()));
        }
        let etags = answer.operation_responses.into_iter().zip(operations).map(|(part, operation)| {
            match (operation, part.status_code.is_success(), part.etag) {
                (Operation::Delete(..), true, _) => Ok(None),
                (_, true, Some(etag)) => Ok(Some(ETag(etag.to_string()))),
                _ => Err(Failure::Garbled("a transaction without versions".to_owned())),
            }
        });
        etags.collect()
    }

    async fn query(
        &self,
        range: &Range,
        rows: u32,
        after: Option<&(String, Option<String>)>,
    ) -> Result<QueryEntityResponse<Json>, Failure> {
        let mut query = self.table.query().filter(Filter::new(filter(range))).top(Top::new(rows));
        if let Some((partition, row)) = after {
            query = query.initial_partition_key(partition.clone());
            if let Some(row) = row {
                query = query.initial_row_key(row.clone());
            }
        }
        // Each item of the stream is one request, and one is enough.
        match query.into_stream::<Json>().next().await {
            Some(page) => Ok(page?),
            None => Err(Failure::Garbled("no page".to_owned())),
        }
    }
}

#[async_trait]
impl TableStore for Tables {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        match self.entity(key).get::<Json>().await.map_err(Failure::from) {
            Ok(answer) => entity::from_json(&answer.entity, Some(answer.etag.to_string())).map(Some),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure.into_error(None, || format!("the row {key}"))),
        }
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        limits::transaction(operations)?;
        sendable(operations)?;
        let mut result = self.apply(operations).await;
        if let Err(failure) = &result
            && is_missing_table(failure, operations)
        {
            self.create().await?;
            result = self.apply(operations).await;
        }
        result.map_err(|failure| {
            let index = failure.index(operations.len());
            failure.into_error(index, || match index.and_then(|index| Some((index, operations.get(index)?))) {
                Some((index, operation)) => format!("operation {index}: the row {}", operation.key()),
                None => "a row of the transaction".to_owned(),
            })
        })
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        let after: Option<(String, Option<String>)> = match after {
            Some(Continuation(text)) => Some(serde_json::from_str(text).map_err(|_| {
                Error::Invalid("the continuation is not one that a page of this store gave".to_owned())
            })?),
            None => None,
        };
        let mut answer = Err(Failure::TooLong(wire::MAX_ANSWER_BYTES));
        for rows in PAGE_ROWS {
            answer = self.query(range, rows, after.as_ref()).await;
            if !matches!(answer, Err(Failure::TooLong(_))) {
                break;
            }
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) if failure.is_not_found() => return Ok(Page { rows: Vec::new(), next: None }),
            Err(failure) => return Err(failure.into_error(None, || format!("the partition {}", range.partition))),
        };
        let rows = answer.entities.iter().map(|json| entity::from_json(json, None)).collect::<Result<_, _>>()?;
        let next = answer.continuation().map(|next| Continuation(serde_json::json!(next).to_string()));
        Ok(Page { rows, next })
    }
}

/// The JSON of each operation, nothing for a delete. The limits count bytes before they are escaped: what is too large
/// for a request with all of them goes out with the few.
fn transaction_json(operations: &[Operation]) -> Result<Vec<Option<Box<RawValue>>>, Failure> {
    let all = |escaped| -> Result<Vec<_>, Failure> {
        let json = |operation: &Operation| match operation {
            Operation::Insert(key, properties)
            | Operation::Replace(key, properties, _)
            | Operation::Merge(key, properties, _) => entity::to_json(key, properties, escaped).map(Some),
            Operation::Delete(..) => Ok(None),
        };
        operations.iter().map(json).collect()
    };
    let ascii = all(Escaped::NonAscii)?;
    let bytes: usize = ascii.iter().flatten().map(|json| json.get().len() + PART_BYTES).sum();
    if bytes > limits::MAX_TRANSACTION_BYTES { all(Escaped::LineEnds) } else { Ok(ascii) }
}

/// An insert can miss nothing but its table.
fn is_missing_table(failure: &Failure, operations: &[Operation]) -> bool {
    let refused = failure.index(operations.len()).and_then(|index| operations.get(index));
    failure.code() == "TableNotFound" || (failure.is_not_found() && matches!(refused, Some(Operation::Insert(..))))
}

/// A version with characters that no header can hold was given by no service; in a transaction's text it could pass for
/// another header.
fn sendable(operations: &[Operation]) -> Result<(), Error> {
    for (index, operation) in operations.iter().enumerate() {
        if let Operation::Replace(_, _, etag) | Operation::Merge(_, _, etag) | Operation::Delete(_, etag) = operation
            && !etag.0.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        {
            return Err(Error::Conflict { index });
        }
    }
    Ok(())
}

fn matching(etag: &ETag) -> IfMatchCondition {
    IfMatchCondition::Etag(etag.0.as_str().into())
}

/// A quote within quotes is doubled (rest-api-ref `Querying-Tables-and-Entities`).
fn quoted(key: &str) -> String {
    key.replace('\'', "''")
}

fn filter(range: &Range) -> String {
    let mut filter = format!("PartitionKey eq '{}' and RowKey ge '{}'", quoted(&range.partition), quoted(&range.from));
    if let Some(to) = &range.to {
        filter += &format!(" and RowKey lt '{}'", quoted(to));
    }
    filter
}
