//! Answers of weak consistency, and from the results cache.

use super::*;
use crate::adx::{Alike, StaleAnswers};

/// A table of one row, and another that has just come.
async fn two_rows() -> Setup {
    let setup = setup().await;
    setup.adx.run(".create table T (n:long)").unwrap();
    setup.adx.run(".set-or-append T <| print n = 1").unwrap();
    setup.clock.advance(Duration::from_secs(600));
    setup.adx.run(".set-or-append T <| print n = 2").unwrap();
    setup
}

fn count(answer: &Answer) -> Json {
    answer.frame("PrimaryResult")["Rows"][0][0].clone()
}

fn is_cached(answer: &Answer) -> bool {
    let properties = answer.frame("QueryProperties")["Rows"].clone();
    properties.as_array().unwrap().iter().any(|row| row[1] == "ServerCache")
}

#[tokio::test]
async fn a_weak_query_sees_what_was_there_and_a_strong_one_what_is() {
    let setup = two_rows().await;
    assert_eq!(count(&setup.ask(V2, "T | count").await), 2);
    setup.adx.answer_weakly(Duration::from_secs(60));
    assert_eq!(count(&setup.ask(V2, "T | count").await), 1);
    let strong = json!({ "queryconsistency": "strongconsistency" });
    assert_eq!(count(&setup.with_options(V2, "T | count", strong).await), 2);
    assert_eq!(setup.adx.stale_answers(), StaleAnswers { weak: 1, cached: 0 });
}

#[tokio::test]
async fn an_answer_from_the_cache_says_so_and_is_for_the_same_text() {
    let setup = two_rows().await;
    setup.adx.answer_from_cache(Duration::from_secs(300), Alike::ByText);
    assert!(!is_cached(&setup.ask(V2, "T | count").await));
    setup.adx.run(".set-or-append T <| print n = 3").unwrap();
    let again = setup.ask(V2, "T | count").await;
    assert_eq!((count(&again), is_cached(&again)), (json!(2), true));
    assert_eq!(count(&setup.ask(V2, "// another\nT | count").await), 3);
    setup.clock.advance(Duration::from_secs(301));
    assert_eq!(count(&setup.ask(V2, "T | count").await), 3);

    setup.adx.answer_from_cache(Duration::from_secs(300), Alike::ButForComments);
    setup.ask(V2, "// one\nT | count").await;
    setup.adx.run(".set-or-append T <| print n = 4").unwrap();
    let alike = setup.ask(V2, "// two\nT | count").await;
    assert_eq!((count(&alike), is_cached(&alike)), (json!(3), true));
}
